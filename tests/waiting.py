"""Wait for a condition."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def eventually(check: Callable[[], Any], seconds: float = 30) -> Any:
    """Return the first true value of a check, which may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = check()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)


def wait_until(check: Callable[[], Any], seconds: float = 60) -> None:
    """Wait in a program without an event loop until a check returns a true value."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
