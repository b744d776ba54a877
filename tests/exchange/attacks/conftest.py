"""One world for many attacks on its issuer: each begins long after the one before it."""

from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from tests.exchange.world import World

LONG = 100_000  # beyond everything that is remembered of an issuer


@pytest_asyncio.fixture(loop_scope="module")
async def later(shared: "World") -> "World":
    """Give the module's world, with an issuer that answers truly and of which nothing is known."""
    shared.now += LONG
    shared.site.answers.clear()
    shared.site.hits.clear()
    return shared
