"""The client of a command in a container, whatever its protocol: input, output, terminal size, result."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kubeling.kubelet.errors import KubeletError
from kubeling.kubelet.process import StartError
from kubeling.kubelet.streaming.inbox import Inbox

Status = dict[str, Any]


def exit_status(code: int) -> Status:
    """Return the Status of a command that has ended; clients read the exit code from its cause."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def start_error_status(error: StartError) -> Status:
    """Return the Status of a command that could not be started."""
    return internal_error(f"error executing command in container: {error.message}")


def internal_error(message: str) -> Status:
    """Return the Status of an error of the kubelet."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


STDOUT, STDERR = "stdout", "stderr"
_MAX_SIZE = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """The streams that a client requests."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def parse_stream_options(query: Mapping[str, Sequence[str]]) -> StreamOptions:
    """Parse the parameters of an exec or attach request. Raises KubeletError (400)."""
    flags = {name: query.get(name, [""])[0] == "1" for name in ("input", "output", "error", "tty")}
    options = StreamOptions(
        stdin=flags["input"],
        stdout=flags["output"],
        # A terminal has only one output.
        stderr=flags["error"] and not flags["tty"],
        tty=flags["tty"],
    )
    if not (options.stdin or options.stdout or options.stderr):
        raise KubeletError(400, "you must specify at least 1 of stdin, stdout, stderr")
    return options


class WindowSize:
    """The last size of the client's terminal."""

    def __init__(self) -> None:
        self._size: tuple[int, int] | None = None
        self._changed = asyncio.Event()

    def update(self, message: bytes) -> None:
        """Use a size in JSON, such as `{"Width": 80, "Height": 24}`; ignore anything else."""
        try:
            size = json.loads(message)
            width, height = size["Width"], size["Height"]
        except (ValueError, KeyError, TypeError):
            return
        if all(type(each) is int and 0 < each <= _MAX_SIZE for each in (width, height)):
            self._size = (width, height)
            self._changed.set()

    async def next(self) -> tuple[int, int]:
        """Wait for a size that was not returned yet; return width and height."""
        await self._changed.wait()
        self._changed.clear()
        assert self._size is not None
        return self._size


class CommandClient(Protocol):
    """A connection with the streams of one command."""

    stdin: Inbox
    size: WindowSize

    async def run(self) -> None:
        """Receive input and terminal sizes until the client disconnects."""

    async def write(self, stream: str, data: bytes) -> None:
        """Send output; empty data is its end. Raises OSError if the client disconnected."""

    async def ping(self) -> None:
        """Check the connection to the client. Raises OSError if the client disconnected."""

    async def finish(self, status: Status) -> None:
        """Send the result as the last message. Raises OSError if the client disconnected."""
