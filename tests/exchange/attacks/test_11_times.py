"""Group 11: invalid times, and times at the limits."""

from typing import Any

import pytest

from tests.exchange.world import Start, World

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOW = 1_750_000_000
DAY = 86_400


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": None}, 90014),
        ({"exp": "1750003600"}, 90014),
        ({"exp": True}, 90014),
        ({"exp": [1]}, 90014),
        ({"exp": -1}, 700024),
        ({"exp": 0}, 700024),
        ({"exp": NOW}, 700024),
        ({"exp": NOW - 1}, 700024),
        ({"exp": 10**30}, 70023),
        ({"exp": 1e300}, 70023),
        ({"iat": None}, 70023),
        ({"iat": "x"}, 70023),
        ({"iat": True}, 70023),
        ({"iat": -(10**30)}, 70023),
        ({"iat": 10**30, "exp": 10**30 + 5}, 700024),
        ({"nbf": "x"}, 90014),
        ({"nbf": False}, 90014),
        ({"nbf": NOW + 301}, 700024),
        ({"iat": NOW + 301}, 700024),
        ({"iat": NOW + 301, "nbf": NOW - 5}, 700024),
        ({"nbf": 10**30}, 700024),
        ({"iat": NOW - 90_001 + 3600}, 70023),
        ({"exp": NOW + 2 * DAY + 1}, 70023),
        ({"exp": NOW + 10 * 365 * DAY}, 70023),
    ],
)
async def test_invalid_times_are_refused(shared: World, changes: dict[str, Any], code: int) -> None:
    assert (await shared.present(shared.mint(**changes))).code == code


@pytest.mark.parametrize(
    "changes",
    [
        *({"exp": NOW + 1}, {"exp": NOW + 0.5}, {"nbf": None}, {"nbf": NOW + 300}),
        *({"iat": NOW + 300}, {"exp": NOW + 90_000}),
    ],
)
async def test_times_at_the_limits_are_accepted(shared: World, changes: dict[str, Any]) -> None:
    assert (await shared.present(shared.mint(**changes))).status == 200


@pytest.mark.asyncio(loop_scope="function")
async def test_only_the_configured_clock_skew_is_accepted(start: Start) -> None:
    world = await start(early_seconds=0)
    assert (await world.present(world.mint(iat=NOW + 1))).code == 700024
    assert (await world.present(world.mint(nbf=NOW + 1))).code == 700024
    assert (await world.request_token()).status == 200
