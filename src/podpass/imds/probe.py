"""Wait until a sidecar answers: the command of the postStart hook."""

import http.client
import time

from podpass.errors import Error

ATTEMPTS = 7
# Attempts while nothing listens: on a busy node, the sidecar itself may need this time to start.
REFUSED_ATTEMPTS = 30
_INTERVAL_SECONDS, _TIMEOUT_SECONDS = 1.0, 5.0


class ProbeFailed(Error):
    """The sidecar did not become ready."""

    code = "probe_failed"
    hint = "see the log of the container azwi-proxy"


def wait_until_ready(
    port: int, address: str = "127.0.0.1", *, interval_seconds: float = _INTERVAL_SECONDS
) -> None:
    """Poll `/readyz` until it succeeds.

    azure-workload-identity exits immediately if nothing listens yet. Its hook then kills a container that
    only starts slowly, so here a refused connection is one more failed attempt.

    Raises ProbeFailed after `ATTEMPTS` other failures or `REFUSED_ATTEMPTS` refused connections.
    """
    refused, failed = 0, 0
    while True:
        reason, is_refused = _unready_reason(address, port)
        if not reason:
            return
        refused, failed = refused + is_refused, failed + (not is_refused)
        if failed == ATTEMPTS or refused == REFUSED_ATTEMPTS:
            raise ProbeFailed(f"failed to probe: {reason}")
        time.sleep(interval_seconds)


def _unready_reason(address: str, port: int) -> tuple[str, bool]:
    """Return why the sidecar is not ready, or an empty string, and whether nothing listens yet."""
    reason, is_refused = _ask(address, port)
    # A host without IPv4: the sidecar listens on ::1. At a pod's address, another program may listen there.
    if reason and address == "127.0.0.1" and not _ask("::1", port)[0]:
        return "", False
    return reason, is_refused


def _ask(host: str, port: int) -> tuple[str, bool]:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        return f"{type(exc).__name__}: {exc}", isinstance(exc, ConnectionRefusedError)
    finally:
        connection.close()
    return ("" if status == 200 else f"/readyz answered {status}"), False
