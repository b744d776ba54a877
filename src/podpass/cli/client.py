"""How the command line reaches a running instance: its control API and its public endpoints.

Standard library only, since these commands should answer at once. The instance's authority is the only one
trusted, and connections go to loopback whatever the environment says of proxies.
"""

import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Any

from podpass.cli.output import patience
from podpass.errors import Error, UsageError
from podpass.local.datadir import DataDir, check_version, load_facts
from podpass.local.lock import holder

_CONTROL = "localhost"
_SECONDS = 30.0
_HEALTH_SECONDS = 2.0


class NotRunning(Error):
    """No instance runs on this data dir."""

    code = "not_running"


class NotAnswering(Error):
    """A process holds the data dir and does not answer: stopped, stuck, or out of memory."""

    code = "not_answering"


class Refused(Error):
    """The instance refused a request; message and hint are its own."""

    code = "instance_refused"


def not_running(data_dir: DataDir, start: str) -> NotRunning:
    return NotRunning(f"nothing runs on {data_dir.root}", hint=f"start it with `{start}`")


def read_status(data_dir: DataDir) -> dict[str, Any] | None:
    """Read what a running instance says of itself, or None when none is ready."""
    check_version(data_dir)
    pid = holder(data_dir.lock_file)
    if pid is None:
        return None
    try:
        status: dict[str, Any] = json.loads(data_dir.status_file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    # One that was killed leaves its status behind; the next has not removed it at its very first moment.
    return status if status["pids"]["podpass"] == pid else None


def check_answers(data_dir: DataDir, pid: int) -> None:
    """Check that an instance that says it is ready answers.

    Errors:  NotAnswering.
    """
    from podpass.cli.options import as_command

    port = load_facts(data_dir).ports["control"]
    try:
        status, _ = _ask(port, data_dir.ca_file, "GET", "/healthz", seconds=_HEALTH_SECONDS)
    except (OSError, http.client.HTTPException):
        status = 0
    if status != 200:
        raise NotAnswering(
            f"process {pid} holds {data_dir.root} but does not answer",
            hint=f"stop it with `{as_command(data_dir, 'down')}` and start it again",
        )


def require_status(data_dir: DataDir) -> dict[str, Any]:
    """Read the status of an instance that has to be running.

    Errors:  NotRunning.
    """
    from podpass.cli.options import as_command

    status = read_status(data_dir)
    if status is None:
        raise not_running(data_dir, as_command(data_dir, "up --detach"))
    return status


def control(data_dir: DataDir, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    """Ask the instance's control API.

    Errors:  NotRunning, Refused; UsageError where the instance says that the caller is at fault.
    """
    require_status(data_dir)
    facts = load_facts(data_dir)
    status, answer = request(
        facts.ports["control"],
        data_dir.ca_file,
        method,
        path,
        body=body,
        headers={"Authorization": f"Bearer {facts.control_token.reveal()}"},
    )
    if status != 200:
        error = answer.get("error", {})
        refused = UsageError if error.get("code") == UsageError.code else Refused
        raise refused(str(error.get("message", f"status {status}")), hint=error.get("hint") or None)
    return answer


def request(
    port: int,
    ca_file: Path,
    method: str,
    path: str,
    *,
    host: str = _CONTROL,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Ask a loopback service under the name `host`, as clients behind the gateway do.

    Errors:  Error when it does not answer, or not with JSON.
    """
    who = "the instance" if host == _CONTROL else f"{host} of this instance"
    try:
        with patience(
            f"waiting for {who} to answer on port {port}, for up to {_SECONDS:.0f} seconds"
        ):
            status, text = _ask(port, ca_file, method, path, host=host, body=body, headers=headers)
        answer = json.loads(text or b"{}")
    except TimeoutError as exc:
        raise Error(
            f"{who} has not answered on port {port} for {_SECONDS:.0f} seconds",
            hint="it is busy or stuck: try again, see `podpass status` and its log",
        ) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise Error(
            f"{who} does not answer on port {port}: {type(exc).__name__}",
            hint="stop it with `podpass down` and start it again",
        ) from exc
    return status, answer if isinstance(answer, dict) else {}


def _ask(
    port: int,
    ca_file: Path,
    method: str,
    path: str,
    *,
    host: str = _CONTROL,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    seconds: float = _SECONDS,
) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(ca_file))
    connection = http.client.HTTPSConnection(host, timeout=seconds, context=context)
    try:
        plain = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        connection.sock = plain  # closed with the connection if the handshake fails
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
