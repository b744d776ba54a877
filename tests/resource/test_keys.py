"""The authority's keys: fetched only when needed, and trusted for a limited time."""

import asyncio
from typing import Any

import pytest

from podpass.crypto import jose
from podpass.http.fetcher import FetchError
from podpass.resource.authority_keys import (
    REFRESH_SECONDS,
    STALE_SECONDS,
    KeysUnavailable,
    PublishedKeys,
)
from tests.authority import ManualClock

URL = "https://login.microsoftonline.com/common/discovery/v2.0/keys"


class Jwks:
    """A source of keys that counts its requests."""

    def __init__(self, *keys: jose.SigningKey) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.down = False

    async def get_json(self, url: str) -> dict[str, Any]:
        assert url == URL
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise FetchError("the address cannot be read", reason="unreachable")
        return {"keys": [jose.rsa_jwk(key.key.public_key(), key.kid) for key in self.keys]}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def jwks(signing_keys: list[jose.SigningKey]) -> Jwks:
    return Jwks(signing_keys[0])


async def test_known_key_is_fetched_once(jwks: Jwks, clock: ManualClock) -> None:
    keys = PublishedKeys(jwks, URL, clock)
    for _ in range(5):
        assert await keys.find("key-0") is not None
    assert jwks.asked == 1


async def test_many_callers_share_one_fetch(jwks: Jwks, clock: ManualClock) -> None:
    keys = PublishedKeys(jwks, URL, clock)
    found = await asyncio.gather(*(keys.find("key-0") for _ in range(50)))
    assert all(found)
    assert jwks.asked == 1


async def test_many_unknown_keys_cause_one_fetch_per_interval(
    jwks: Jwks, clock: ManualClock
) -> None:
    keys = PublishedKeys(jwks, URL, clock, interval_seconds=10)
    for number in range(100):
        assert await keys.find(f"made-up-{number}") is None
    assert jwks.asked == 1
    clock.now += 10
    await asyncio.gather(*(keys.find(f"more-{number}") for number in range(100)))
    assert jwks.asked == 2


async def test_new_key_is_found_after_the_interval(
    jwks: Jwks, clock: ManualClock, signing_keys: list[jose.SigningKey]
) -> None:
    keys = PublishedKeys(jwks, URL, clock, interval_seconds=10)
    await keys.find("key-0")
    jwks.keys.append(signing_keys[1])
    clock.now += 10
    assert await keys.find("key-1") is not None


@pytest.mark.parametrize("seconds", [REFRESH_SECONDS, -10 * 365 * 86400], ids=["later", "set-back"])
async def test_withdrawn_key_is_not_trusted_after_interval_or_clock_set_back(
    jwks: Jwks, clock: ManualClock, signing_keys: list[jose.SigningKey], seconds: float
) -> None:
    keys = PublishedKeys(jwks, URL, clock)
    await keys.find("key-0")
    jwks.keys[:] = [signing_keys[1]]
    clock.now += seconds
    assert await keys.find("key-0") is None


async def test_cached_keys_from_the_future_are_not_used_while_authority_is_down(
    jwks: Jwks, clock: ManualClock
) -> None:
    keys = PublishedKeys(jwks, URL, clock)
    await keys.find("key-0")
    jwks.down = True
    clock.now -= 86400
    with pytest.raises(KeysUnavailable):
        await keys.find("key-0")


async def test_cached_keys_are_used_for_limited_time_while_authority_is_down(
    jwks: Jwks, clock: ManualClock
) -> None:
    keys = PublishedKeys(jwks, URL, clock)
    await keys.find("key-0")
    jwks.down = True
    clock.now += STALE_SECONDS - 1
    assert await keys.find("key-0") is not None
    clock.now += 1
    with pytest.raises(KeysUnavailable):
        await keys.find("key-0")


async def test_failed_first_fetch_is_retried(jwks: Jwks, clock: ManualClock) -> None:
    keys = PublishedKeys(jwks, URL, clock, interval_seconds=300)
    jwks.down = True
    for _ in range(3):
        with pytest.raises(KeysUnavailable) as caught:
            await keys.find("key-0")
    assert caught.value.status == 503
    assert jwks.asked == 1
    jwks.down = False
    clock.now += 1
    assert await keys.find("key-0") is not None


async def test_cancelled_caller_does_not_cancel_shared_fetch(
    jwks: Jwks, clock: ManualClock
) -> None:
    keys = PublishedKeys(jwks, URL, clock)
    first = asyncio.ensure_future(keys.find("key-0"))
    second = asyncio.ensure_future(keys.find("key-0"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None


async def test_clock_set_back_does_not_stop_fetching(jwks: Jwks, clock: ManualClock) -> None:
    keys = PublishedKeys(jwks, URL, clock, interval_seconds=10)
    await keys.find("unknown")
    clock.now -= 3600
    await keys.find("unknown")
    assert jwks.asked == 2
