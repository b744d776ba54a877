"""The cache of issuers' keys: keys have a limited age, and a slow issuer does not delay another.

The tests set the clock; `docs/security.md` promises the times.
"""

import asyncio
from collections.abc import Coroutine

import pytest

from podpass.crypto import key_cache
from podpass.exchange.client_auth import issuer_keys as module
from podpass.exchange.client_auth.issuer_discovery import IssuerUnavailable
from podpass.exchange.client_auth.issuer_keys import IssuerKeyCache
from podpass.settings import AuthoritySettings
from tests.exchange.fake_issuers import ISSUER, JWKS, KEY, FakeIssuers, settle

SETTINGS = AuthoritySettings()
FRESH, STALE = SETTINGS.issuer_fresh_seconds, SETTINGS.issuer_stale_seconds
RETRY, REFETCH = SETTINGS.issuer_retry_seconds, SETTINGS.issuer_refetch_seconds
SECOND = {**KEY, "kid": "second"}


@pytest.fixture
def web() -> FakeIssuers:
    return FakeIssuers()


@pytest.fixture
def issuers(web: FakeIssuers) -> IssuerKeyCache:
    return IssuerKeyCache(web, SETTINGS, web.clock)


async def has_key(issuers: IssuerKeyCache, key_id: str = "first", issuer: str = ISSUER) -> bool:
    """Return whether the cache has a key; False if the issuer is unavailable."""
    try:
        return bool(await issuers.find_keys(issuer, key_id))
    except IssuerUnavailable:
        return False


async def without_waiting(asked: Coroutine[None, None, bool]) -> bool:
    """Return the result of a call that must not wait."""
    task = asyncio.create_task(asked)
    await settle()
    assert task.done()
    return task.result()


# --------------------------------------------------------------------------------------------- key age


async def test_fresh_keys_are_used_without_a_fetch(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    for _ in range(5):
        assert [key.kid for key in await issuers.find_keys(ISSUER, "first")] == ["first"]
    web.now += FRESH / 2 - 1
    assert await has_key(issuers)
    await settle()
    assert web.fetches == 1


async def test_request_does_not_wait_for_background_refresh(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    for _ in range(20):
        web.now += FRESH / 2
        release = web.hold()
        # The request returns although the fetch that it started hangs.
        assert await without_waiting(has_key(issuers))
        assert await without_waiting(has_key(issuers))
        release.set()
        await settle()
    assert web.fetches == 21


async def test_request_with_expired_keys_waits_for_a_fetch(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.now += FRESH
    release = web.hold()
    waiting = asyncio.create_task(has_key(issuers))
    await settle()
    assert not waiting.done()
    release.set()
    assert await waiting
    assert web.fetches == 2


async def test_keys_are_fetched_again_after_a_short_fresh_time(web: FakeIssuers) -> None:
    """Fails if the retry delay also applies after a success: keys would be used longer than configured."""
    issuers = IssuerKeyCache(web, AuthoritySettings(issuer_fresh_seconds=1), web.clock)
    await issuers.find_keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": []}
    web.now += 1
    assert not await has_key(issuers)


# ---------------------------------------------------------------------------------------- withdrawn keys


async def test_withdrawn_key_stops_at_the_next_fetch(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += FRESH / 2 - 1
    assert await has_key(issuers)
    web.now += 1
    assert await has_key(issuers)  # the request that starts the refresh
    await settle()
    assert not await has_key(issuers)


async def test_withdrawn_key_of_an_idle_issuer_stops_after_fresh_time(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += FRESH
    assert not await has_key(issuers)


async def test_hanging_refresh_does_not_extend_the_fresh_time(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += FRESH - 1
    release = web.hold()
    assert await has_key(issuers)
    web.now += 1
    late = asyncio.create_task(has_key(issuers))
    await settle()
    assert not late.done()
    release.set()
    assert not await late


async def test_withdrawn_key_stops_after_a_fetch_for_an_unknown_key(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += REFETCH
    assert await has_key(issuers, "second")
    assert not await has_key(issuers, "first")


async def test_withdrawn_key_stops_when_the_issuer_recovers_or_keys_are_stale(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.down = True
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += FRESH + STALE - 1
    assert await has_key(issuers)
    web.now += 1
    assert not await has_key(issuers)
    web.down = False
    web.now += RETRY
    assert await has_key(issuers, "second")
    assert not await has_key(issuers, "first")


async def test_clock_set_back_does_not_extend_the_key_lifetime(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": []}
    web.now -= 100_000
    assert not await has_key(issuers)


# --------------------------------------------------------------------------------------------- outages


async def test_stored_keys_are_used_during_an_outage_up_to_a_limit(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.down = True
    web.now += FRESH + STALE - 1
    assert await has_key(issuers)
    web.now += 1
    with pytest.raises(IssuerUnavailable):
        await issuers.find_keys(ISSUER, "first")


async def test_request_does_not_wait_for_unavailable_issuer_while_keys_are_usable(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.down = True
    web.now += FRESH
    assert await has_key(issuers)  # this request waited, and the fetch failed
    for _ in range(40):
        web.now += RETRY
        release = web.hold()
        assert await without_waiting(has_key(issuers))
        release.set()
        await settle()
    web.down = False
    web.now += RETRY * module.MAX_RETRY_FACTOR
    web.documents[JWKS] = {"keys": [SECOND]}
    await has_key(issuers)
    await settle()
    assert not await has_key(issuers)


async def test_request_waits_for_a_fetch_long_after_a_failure(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.down = True
    web.now += FRESH
    assert await has_key(issuers)
    web.down = False
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += 2 * RETRY
    assert not await has_key(issuers)


async def test_retry_delay_grows_with_each_failure(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    web.down = True
    for pause in (RETRY, 2 * RETRY, 4 * RETRY, 6 * RETRY, 6 * RETRY, 6 * RETRY):
        before = web.fetches
        for _ in range(20):
            with pytest.raises(IssuerUnavailable) as caught:
                await issuers.find_keys(ISSUER, "first")
            assert caught.value.facts["reason"] == "unreachable"
        assert web.fetches == before + 1
        web.now += pause - 1
        assert not await has_key(issuers)
        assert web.fetches == before + 1
        web.now += 1
    web.down = False
    assert await has_key(issuers)
    web.down = True
    web.now += FRESH + STALE
    assert not await has_key(issuers)
    web.down = False
    web.now += RETRY
    assert await has_key(issuers)


# ----------------------------------------------------------------------------------------------- flood


async def test_new_key_is_found_before_old_keys_expire(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [KEY, SECOND]}
    web.now += REFETCH - 1
    assert not await has_key(issuers, "second")
    web.now += 1
    assert await has_key(issuers, "second")


async def test_flood_of_unknown_key_ids_causes_one_fetch_per_interval(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.now += REFETCH
    floods = [issuers.find_keys(ISSUER, f"unknown-{n}") for n in range(500)]
    assert await asyncio.gather(*floods) == [()] * 500
    assert web.fetches == 2


async def test_request_with_known_key_does_not_wait_for_an_unknown_key(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    await issuers.find_keys(ISSUER, "first")
    web.now += REFETCH
    release = web.hold()
    unknown = asyncio.create_task(has_key(issuers, "unknown"))
    await settle()
    assert await without_waiting(has_key(issuers))
    assert not unknown.done()
    release.set()
    assert not await unknown


async def test_concurrent_requests_share_one_fetch(
    web: FakeIssuers, issuers: IssuerKeyCache
) -> None:
    release = web.hold()
    waiting = [asyncio.create_task(issuers.find_keys(ISSUER, "first")) for _ in range(50)]
    await settle()
    waiting[0].cancel()
    release.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(not isinstance(keys, BaseException) and len(keys) == 1 for keys in found[1:])
    assert len(web.asked) == 2
    assert not key_cache._TASKS


@pytest.mark.processes
async def test_slow_issuers_do_not_delay_issuers_in_use(
    web: FakeIssuers, issuers: IssuerKeyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who may create credentials can register any number of issuers that never respond."""
    await issuers.find_keys(ISSUER, "first")
    web.now += FRESH
    web.hold("https://slow.test/")
    monkeypatch.setattr(module, "FETCH_SECONDS", 1.5)
    slow = [
        asyncio.create_task(has_key(issuers, issuer=f"https://slow.test/{n}/"))
        for n in range(3 * module.MAX_FETCHES)
    ]
    await settle()
    assert web.in_flight == module.MAX_FETCHES
    assert await has_key(issuers)
    assert not any(task.done() for task in slow)
    assert await asyncio.gather(*slow) == [False] * len(slow)
    assert (web.most, web.in_flight) == (module.MAX_FETCHES + 1, 0)
    for n in range(3 * module.MAX_FETCHES):
        with pytest.raises(IssuerUnavailable) as caught:
            await issuers.find_keys(f"https://slow.test/{n}/", "first")
        assert caught.value.facts["reason"] == "timeout"


async def test_slow_issuers_use_no_fetch_slots_of_fast_issuers(
    web: FakeIssuers, issuers: IssuerKeyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if slow issuers use the slots of fast issuers: a few hundred would occupy them all."""
    monkeypatch.setattr(module, "FAST_SECONDS", 0.0)
    await issuers.find_keys(ISSUER, "first")
    release = web.hold("https://slow.test/")
    monkeypatch.setattr(module, "FETCH_SECONDS", 60.0)
    web.now += FRESH
    slow = [
        asyncio.create_task(has_key(issuers, issuer=f"https://slow.test/{n}/"))
        for n in range(module.MAX_FETCHES)
    ]
    await settle()
    waiting = asyncio.create_task(has_key(issuers))
    await settle()
    assert (web.in_flight, web.asked.count(JWKS)) == (module.MAX_FETCHES, 1)
    release.set()
    assert await waiting
    await asyncio.gather(*slow)


# ---------------------------------------------------------------------------------------------- memory


async def test_number_of_cached_issuers_is_bounded(
    web: FakeIssuers, issuers: IssuerKeyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if entries are never evicted, or if new issuers evict one that is in use."""
    monkeypatch.setattr(module, "MAX_ISSUERS", 3)
    assert await has_key(issuers)
    for n in range(10):
        assert not await has_key(issuers, issuer=f"https://oidc.test/{n}/")
        assert await has_key(issuers)
    assert len(issuers._entries) == 3
    assert web.asked.count(JWKS) == 1


async def test_number_of_cached_keys_is_bounded(
    web: FakeIssuers, issuers: IssuerKeyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer may publish a hundred keys of 4096 bits."""
    monkeypatch.setattr(module, "MAX_KEYS", 10)
    several = [{**KEY, "kid": f"k{n}"} for n in range(4)]
    for n in range(9):
        web.add(f"https://oidc.test/{n}/", *several)
        assert await has_key(issuers, "k0", f"https://oidc.test/{n}/")
    assert len(issuers._entries) == 2
    assert issuers._key_count == 8
    web.add("https://oidc.test/8/", KEY)
    web.now += FRESH
    assert await has_key(issuers, issuer="https://oidc.test/8/")
    assert issuers._key_count == 5
