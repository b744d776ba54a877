"""The output of a container's program: written to its log, and sent to the clients that are attached."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from kubeling.kubelet.logs import LogWriter
from kubeling.kubelet.process import Sink

# A client that reads nothing for so long is detached, so that it does not stop the container.
STUCK_SECONDS = 30.0


class ContainerOutput:
    """Writes the output of a container to its log and to attached clients."""

    def __init__(self, log: LogWriter) -> None:
        self._log = log
        self._attached: set[Sink] = set()

    async def write(self, stream: str, data: bytes) -> None:
        """Write data to the log, and wait until each attached client has taken it."""
        self._log.write(stream, data)
        for sink in tuple(self._attached):
            try:
                async with asyncio.timeout(STUCK_SECONDS):
                    await sink(stream, data)
            except (OSError, TimeoutError):
                self._attached.discard(sink)

    @contextmanager
    def attached(self, sink: Sink) -> Iterator[None]:
        """Send the container's output, from now on, to an additional client."""
        self._attached.add(sink)
        try:
            yield
        finally:
            self._attached.discard(sink)
