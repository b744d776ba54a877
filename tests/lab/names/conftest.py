"""The names of a cloud, answered for one test."""

from collections.abc import AsyncIterator

import pytest

from tests.lab.names.server import Cloud, running


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with running() as found:
        yield found
