"""Client of a running instance: its control API and its public endpoints.

It uses only the standard library, so that commands start fast. It trusts only the CA of the instance, and
connects to loopback without a proxy.
"""

import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from podpass.cli.output import slow_notice
from podpass.errors import Error, UsageError
from podpass.lab.data.datadir import DataDir, check_version, load_config
from podpass.lab.data.lock import check_lock_file, lock_holder
from podpass.lab.data.process import is_stopped

_CONTROL_HOST = "localhost"
_TIMEOUT_SECONDS = 30.0
# The event loop of a process that works completes a handshake long before, also on a slow machine.
_HANDSHAKE_SECONDS = 10.0
_HEALTH_TIMEOUT_SECONDS = 2.0


class NotRunning(Error):
    """No instance is running in this data directory."""

    code = "not_running"


class NotResponding(Error):
    """The process of the instance does not respond: it is stopped, blocked, or out of memory."""

    code = "not_responding"


class NoCluster(UsageError):
    """The instance is the cloud half alone, and the command needs a cluster."""

    code = "no_cluster"


class RequestRefused(Error):
    """The instance refused a request; message and hint come from the instance."""

    code = "request_refused"


def not_running(data_dir: DataDir, start: str) -> NotRunning:
    """Return the error of a command that needs a running instance. Raises LockRemoved."""
    check_lock_file(data_dir.lock_file)
    return NotRunning(f"no instance is running in {data_dir.root}", hint=f"start it with `{start}`")


def read_status(data_dir: DataDir) -> dict[str, Any] | None:
    """Read the status of the running instance; None if no instance is ready."""
    check_version(data_dir)
    pid = lock_holder(data_dir.lock_file)
    if pid is None:
        return None
    try:
        status: dict[str, Any] = json.loads(data_dir.status_file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    # A killed instance leaves its status file; the next instance removes it shortly after its start.
    return status if status["pids"]["podpass"] == pid else None


def check_health(data_dir: DataDir, pid: int) -> None:
    """Check that an instance with the status ready responds. Raises NotResponding."""
    from podpass.cli.options import format_command

    check_not_stopped(data_dir, pid)
    port = load_config(data_dir).ports["control"]
    try:
        status, _ = _send(
            port, data_dir.ca_file, "GET", "/healthz", seconds=_HEALTH_TIMEOUT_SECONDS
        )
    except (OSError, http.client.HTTPException):
        status = 0
    if status != 200:
        raise NotResponding(
            f"the instance in {data_dir.root}, process {pid}, does not respond",
            hint=f"stop it with `{format_command(data_dir, 'down')}`, then start it again",
        )


def check_not_stopped(data_dir: DataDir, pid: int) -> None:
    """Check that no signal has stopped the instance: connections to it are accepted, and never answered.

    Raises NotResponding.
    """
    if is_stopped(pid):
        raise NotResponding(
            f"the instance in {data_dir.root}, process {pid}, does not respond: a signal has stopped it",
            hint=f"continue it with `kill -CONT {pid}`, or with `fg` in the terminal where Ctrl-Z stopped it",
        )


def require_status(data_dir: DataDir) -> dict[str, Any]:
    """Read the status of the running instance. Raises NotRunning."""
    from podpass.cli.options import format_command

    status = read_status(data_dir)
    if status is None:
        raise not_running(data_dir, format_command(data_dir, "up --detach"))
    return status


def is_cloud_alone(status: dict[str, Any]) -> bool:
    """Return whether this is the status of `podpass cloud serve`, which has no cluster half."""
    return bool(status["kubernetes"]["kind"] == "external")


def check_has_cluster(data_dir: DataDir, status: dict[str, Any]) -> None:
    """Check that the instance has a cluster half, for commands that need its API server or its console.

    Raises NoCluster.
    """
    if is_cloud_alone(status):
        raise NoCluster(
            f"the instance in {data_dir.root} is `podpass cloud serve`, process"
            f" {status['pids']['podpass']}: it has no cluster and no console",
            hint="use an instance of `podpass up` with another --data-dir D",
        )


def call_control(
    data_dir: DataDir, method: str, path: str, body: bytes | None = None
) -> dict[str, Any]:
    """Send a request to the control API of the instance.

    Raises NotRunning, NotResponding, RequestRefused; UsageError if the instance reports a wrong request.
    """
    check_not_stopped(data_dir, require_status(data_dir)["pids"]["podpass"])
    config = load_config(data_dir)
    status, answer = request(
        config.ports["control"],
        data_dir.ca_file,
        method,
        path,
        body=body,
        headers={"Authorization": f"Bearer {config.control_token.reveal()}"},
    )
    if status != 200:
        error = answer.get("error", {})
        refused = UsageError if error.get("code") == UsageError.code else RequestRefused
        raise refused(str(error.get("message", f"status {status}")), hint=error.get("hint") or None)
    return answer


def list_identities(data_dir: DataDir) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Read all identities, page by page, and a message and a hint for each that cannot be read."""
    identities: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    query = ""
    while True:
        page = call_control(data_dir, "GET", f"/identities{query}")
        identities += page["value"]
        skipped += page["damaged"]
        if page["after"] is None:
            return identities, skipped
        query = "?" + urlencode({"after": page["after"]})


def request(
    port: int,
    ca_file: Path,
    method: str,
    path: str,
    *,
    host: str = _CONTROL_HOST,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Send a request to a loopback service with the host name `host`, as clients of the gateway do.

    Raises Error if the service does not respond, or not with JSON.
    """
    service = "the instance" if host == _CONTROL_HOST else f"{host} of this instance"
    try:
        with slow_notice(
            f"waiting for {service} to respond on port {port}, for up to {_TIMEOUT_SECONDS:.0f} seconds"
        ):
            status, text = _send(port, ca_file, method, path, host=host, body=body, headers=headers)
        answer = json.loads(text or b"{}")
    except TimeoutError as exc:
        waited = _HANDSHAKE_SECONDS if isinstance(exc, _HandshakeTimeout) else _TIMEOUT_SECONDS
        raise NotResponding(
            f"{service} did not respond on port {port} within {waited:.0f} seconds",
            hint="try again; if it fails again, check `podpass status` and podpass.log in the data directory",
        ) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise Error(
            f"{service} does not respond on port {port}: {type(exc).__name__}",
            hint="stop it with `podpass down`, then start it again",
        ) from exc
    return status, answer if isinstance(answer, dict) else {}


class _HandshakeTimeout(TimeoutError):
    """The service accepted no connection, or did not complete the TLS handshake."""


def _send(
    port: int,
    ca_file: Path,
    method: str,
    path: str,
    *,
    host: str = _CONTROL_HOST,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    seconds: float = _TIMEOUT_SECONDS,
) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(ca_file))
    connection = http.client.HTTPSConnection(host, timeout=seconds, context=context)
    first = min(seconds, _HANDSHAKE_SECONDS)
    try:
        try:
            plain = socket.create_connection(("127.0.0.1", port), timeout=first)
            connection.sock = plain  # so that close() closes it if the handshake fails
            connection.sock = context.wrap_socket(plain, server_hostname=host)
        except TimeoutError as exc:
            raise _HandshakeTimeout from exc
        connection.sock.settimeout(seconds)
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
