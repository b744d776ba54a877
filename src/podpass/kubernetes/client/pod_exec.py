"""Run one command in a container of a pod, by WebSocket, and read its output.

Source: kubernetes/kubernetes, staging/src/k8s.io/apimachinery/pkg/util/remotecommand (channel.k8s.io, v4).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from podpass.kubernetes.client.client import KubeClient
from podpass.kubernetes.client.errors import KubeError

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR = 0, 1, 2, 3
_CHUNK = 32 * 1024
_NO_SUCH_PROGRAM = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """The result of a command.

    `error` has the API server's text if the command could not be started or was killed; `output` and
    `messages` are stdout and stderr.
    """

    exit_code: int
    output: str
    messages: str
    error: str = ""


async def run_command(
    client: KubeClient,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    *,
    seconds: float = 10.0,
    max_bytes: int = 256 * 1024,
    given: bytes = b"",
) -> CommandResult:
    """Run a command and return its result.

    `given` is written to its standard input, whose end older API servers cannot signal: the command must know
    how much to read. Units: the command is abandoned after `seconds`; output beyond `max_bytes` ends it too.
    Raises KubeError, with status 504 after `seconds`.
    """
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/exec"
    params = [("container", container), ("stdout", "true"), ("stderr", "true")]
    params += [("stdin", "true")] if given else []
    params += [("command", word) for word in command]
    try:
        async with asyncio.timeout(seconds):
            socket = await client.websocket(path, params, _PROTOCOLS, seconds)
            async with socket:
                for start in range(0, len(given), _CHUNK):
                    await socket.send_bytes(bytes([_STDIN]) + given[start : start + _CHUNK])
                return await _read(socket, max_bytes)
    except TimeoutError as exc:
        message = f"the command in container {container} did not end within {seconds:.0f} seconds"
        raise KubeError(504, "Timeout", message) from exc


async def _read(socket: aiohttp.ClientWebSocketResponse, max_bytes: int) -> CommandResult:
    streams = {_STDOUT: bytearray(), _STDERR: bytearray(), _ERROR: bytearray()}
    total = 0
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        total += len(message.data)
        if total > max_bytes:
            raise KubeError(502, "TooLarge", f"the command printed more than {max_bytes} bytes")
        if (stream := streams.get(message.data[0])) is not None:
            stream += message.data[1:]
    # A complete stream ends with a Status. Without it, the connection was interrupted.
    content = bytes(streams[_ERROR])
    try:
        status = orjson.loads(content)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        raise KubeError(502, "BadAnswer", "the stream of the command ended without a result")
    exit_code = _exit_code(status)
    return CommandResult(
        exit_code=exit_code,
        output=streams[_STDOUT].decode("utf-8", "replace"),
        messages=streams[_STDERR].decode("utf-8", "replace"),
        error="" if exit_code == 0 else str(status.get("message", ""))[:1024],
    )


def _exit_code(status: dict[str, Any]) -> int:
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    for cause in causes:
        text = str(cause.get("message", ""))
        if cause.get("reason") == "ExitCode" and text.isdecimal():
            return int(text)
    # The runtime could not start the program, for example because the image does not have it.
    return _NO_SUCH_PROGRAM
