"""One world for many attacks on its issuer: each test starts long after the previous one."""

from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from tests.exchange.world import World

LONG = 100_000  # longer than any data of an issuer is cached


@pytest_asyncio.fixture(loop_scope="module")
async def later(shared: "World") -> "World":
    """Return the module's world, with an issuer that responds correctly and is not cached."""
    shared.now += LONG
    shared.site.answers.clear()
    shared.site.hits.clear()
    return shared
