"""Long work in short parts: whoever asks in between does not wait for its end."""

import asyncio
import time

_TURN_SECONDS = 0.005


class Pace:
    """Gives the loop away each time a few milliseconds of work are done."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._since >= _TURN_SECONDS

    async def step(self) -> None:
        """Go on, or first let others run if it is their turn."""
        if self.is_due:
            await asyncio.sleep(0)
            self._since = time.monotonic()


class Turns:
    """Lets those who come at once go on one after the other, one in each turn of the loop."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()

    async def next(self) -> None:
        """Wait for a turn of one's own."""
        async with self._door:
            await asyncio.sleep(0)
