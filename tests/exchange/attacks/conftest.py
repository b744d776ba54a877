"""Fixtures: one service for many attacks on its issuer; each test starts long after the previous one."""

import pytest_asyncio

from tests.exchange.world import World

LONG = 100_000  # longer than the cache time of all issuer data


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(shared: World) -> World:
    """Return the service of the module, with an issuer that responds correctly and is not cached."""
    shared.now += LONG
    shared.site.answers.clear()
    shared.site.hits.clear()
    return shared
