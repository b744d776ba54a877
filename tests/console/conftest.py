"""A console that runs for one test."""

from collections.abc import AsyncIterator

import pytest

from tests.console.consoles import RunningConsole, running_console


@pytest.fixture
async def console() -> AsyncIterator[RunningConsole]:
    async with running_console() as running:
        yield running
