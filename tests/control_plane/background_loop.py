"""An event loop in a thread, for servers that run longer than the loop of a test."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_TIMEOUT_SECONDS = 150

T = TypeVar("T")


class BackgroundLoop:
    """An event loop in a separate thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = _TIMEOUT_SECONDS) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
