"""Issuers' keys are kept for a while and never for ever, and nobody pays for another's issuer.

The clock is turned by hand; `docs/security.md` promises the times.
"""

import asyncio
from collections.abc import Coroutine

import pytest

from podpass.exchange.client_auth import issuer_keys as module
from podpass.exchange.client_auth.issuer_discovery import IssuerDown
from podpass.exchange.client_auth.issuer_keys import Issuers
from podpass.settings import AuthoritySettings
from tests.exchange.issuer_web import ISSUER, JWKS, KEY, Web, settle

SETTINGS = AuthoritySettings()
FRESH, STALE = SETTINGS.issuer_fresh_seconds, SETTINGS.issuer_stale_seconds
RETRY, REFETCH = SETTINGS.issuer_retry_seconds, SETTINGS.issuer_refetch_seconds
SECOND = {**KEY, "kid": "second"}


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def issuers(web: Web) -> Issuers:
    return Issuers(web, SETTINGS, web.clock)


async def works(issuers: Issuers, key_id: str = "first", issuer: str = ISSUER) -> bool:
    """Tell whether a token signed with a key would be checked with it; False too when the issuer is down."""
    try:
        return bool(await issuers.keys(issuer, key_id))
    except IssuerDown:
        return False


async def at_once(asked: Coroutine[None, None, bool]) -> bool:
    """Give an answer that waits for nobody."""
    task = asyncio.create_task(asked)
    await settle()
    assert task.done()
    return task.result()


# ----------------------------------------------------------------------------------- fresh, due, stale


async def test_young_keys_are_used_without_asking(web: Web, issuers: Issuers) -> None:
    for _ in range(5):
        assert [key.kid for key in await issuers.keys(ISSUER, "first")] == ["first"]
    web.now += FRESH / 2 - 1
    assert await works(issuers)
    await settle()
    assert web.fetches == 1


async def test_no_request_pays_for_the_refresh_of_an_issuer_in_use(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    for _ in range(20):
        web.now += FRESH / 2
        gate = web.hold()
        # Answered though the fetch that it began hangs.
        assert await at_once(works(issuers))
        assert await at_once(works(issuers))
        gate.set()
        await settle()
    assert web.fetches == 21


async def test_keys_that_are_due_wait_for_a_fetch(web: Web, issuers: Issuers) -> None:
    await issuers.keys(ISSUER, "first")
    web.now += FRESH
    gate = web.hold()
    waiting = asyncio.create_task(works(issuers))
    await settle()
    assert not waiting.done()
    gate.set()
    assert await waiting
    assert web.fetches == 2


async def test_short_times_hold_too(web: Web) -> None:
    """Fails when the pause between failures is one between successes: keys would live longer than set."""
    issuers = Issuers(web, AuthoritySettings(issuer_fresh_seconds=1), web.clock)
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": []}
    web.now += 1
    assert not await works(issuers)


# ------------------------------------------------------------------------- a key that has been withdrawn


async def test_a_withdrawn_key_stops_at_the_next_fetch_and_no_later_than_promised(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += FRESH / 2 - 1
    assert await works(issuers)
    web.now += 1
    assert await works(issuers)  # the request that begins the refresh
    await settle()
    assert not await works(issuers)


async def test_a_withdrawn_key_of_an_issuer_that_nobody_asks_stops_at_once_when_it_is_due(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += FRESH
    assert not await works(issuers)


async def test_a_refresh_that_hangs_does_not_lengthen_the_time(web: Web, issuers: Issuers) -> None:
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += FRESH - 1
    gate = web.hold()
    assert await works(issuers)
    web.now += 1
    late = asyncio.create_task(works(issuers))
    await settle()
    assert not late.done()
    gate.set()
    assert not await late


async def test_a_withdrawn_key_stops_when_an_unknown_one_makes_us_ask(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += REFETCH
    assert await works(issuers, "second")
    assert not await works(issuers, "first")


async def test_a_withdrawn_key_stops_when_its_issuer_is_back_or_has_been_down_too_long(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.down = True
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += FRESH + STALE - 1
    assert await works(issuers)
    web.now += 1
    assert not await works(issuers)
    web.down = False
    web.now += RETRY
    assert await works(issuers, "second")
    assert not await works(issuers, "first")


async def test_a_clock_set_back_does_not_keep_old_keys_alive(web: Web, issuers: Issuers) -> None:
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": []}
    web.now -= 100_000
    assert not await works(issuers)


# ------------------------------------------------------------------------------------------------ down


async def test_keys_outlive_an_outage_up_to_a_limit(web: Web, issuers: Issuers) -> None:
    await issuers.keys(ISSUER, "first")
    web.down = True
    web.now += FRESH + STALE - 1
    assert await works(issuers)
    web.now += 1
    with pytest.raises(IssuerDown):
        await issuers.keys(ISSUER, "first")


async def test_an_issuer_known_to_be_down_delays_nobody_while_its_keys_last(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.down = True
    web.now += FRESH
    assert await works(issuers)  # this one waited, and found out
    for _ in range(40):
        web.now += RETRY
        gate = web.hold()
        assert await at_once(works(issuers))
        gate.set()
        await settle()
    web.down = False
    web.now += RETRY * module._MOST_PATIENCE
    web.documents[JWKS] = {"keys": [SECOND]}
    await works(issuers)
    await settle()
    assert not await works(issuers)


async def test_what_was_learnt_of_an_outage_long_ago_counts_no_more(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.down = True
    web.now += FRESH
    assert await works(issuers)
    web.down = False
    web.documents[JWKS] = {"keys": [SECOND]}
    web.now += 2 * RETRY
    assert not await works(issuers)


async def test_a_failed_issuer_is_left_alone_longer_each_time(web: Web, issuers: Issuers) -> None:
    web.down = True
    for pause in (RETRY, 2 * RETRY, 4 * RETRY, 6 * RETRY, 6 * RETRY, 6 * RETRY):
        before = web.fetches
        for _ in range(20):
            with pytest.raises(IssuerDown) as caught:
                await issuers.keys(ISSUER, "first")
            assert caught.value.facts["reason"] == "unreachable"
        assert web.fetches == before + 1
        web.now += pause - 1
        assert not await works(issuers)
        assert web.fetches == before + 1
        web.now += 1
    web.down = False
    assert await works(issuers)
    web.down = True
    web.now += FRESH + STALE
    assert not await works(issuers)
    web.down = False
    web.now += RETRY
    assert await works(issuers)


# ----------------------------------------------------------------------------------------------- flood


async def test_a_new_key_is_found_before_the_old_ones_are_due(web: Web, issuers: Issuers) -> None:
    await issuers.keys(ISSUER, "first")
    web.documents[JWKS] = {"keys": [KEY, SECOND]}
    web.now += REFETCH - 1
    assert not await works(issuers, "second")
    web.now += 1
    assert await works(issuers, "second")


async def test_a_flood_of_unknown_key_ids_makes_one_fetch_an_interval(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.now += REFETCH
    floods = [issuers.keys(ISSUER, f"unknown-{n}") for n in range(500)]
    assert await asyncio.gather(*floods) == [()] * 500
    assert web.fetches == 2


async def test_whoever_knows_a_key_does_not_wait_for_those_that_look_for_another(
    web: Web, issuers: Issuers
) -> None:
    await issuers.keys(ISSUER, "first")
    web.now += REFETCH
    gate = web.hold()
    unknown = asyncio.create_task(works(issuers, "unknown"))
    await settle()
    assert await at_once(works(issuers))
    assert not unknown.done()
    gate.set()
    assert not await unknown


async def test_many_at_once_share_one_fetch(web: Web, issuers: Issuers) -> None:
    gate = web.hold()
    waiting = [asyncio.create_task(issuers.keys(ISSUER, "first")) for _ in range(50)]
    await settle()
    waiting[0].cancel()
    gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(not isinstance(keys, BaseException) and len(keys) == 1 for keys in found[1:])
    assert len(web.asked) == 2
    assert not issuers._tasks


async def test_slow_issuers_delay_neither_those_in_use_nor_each_other_for_ever(
    web: Web, issuers: Issuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write credentials can register any number of issuers that never answer."""
    await issuers.keys(ISSUER, "first")
    web.now += FRESH
    web.hold("https://slow.test/")
    monkeypatch.setattr(module, "FETCH_SECONDS", 1.5)
    slow = [
        asyncio.create_task(works(issuers, issuer=f"https://slow.test/{n}/"))
        for n in range(3 * module.LANE)
    ]
    await settle()
    assert web.under_way == module.LANE
    assert await works(issuers)
    assert not any(task.done() for task in slow)
    assert await asyncio.gather(*slow) == [False] * len(slow)
    assert (web.most, web.under_way) == (module.LANE + 1, 0)
    for n in range(3 * module.LANE):
        with pytest.raises(IssuerDown) as caught:
            await issuers.keys(f"https://slow.test/{n}/", "first")
        assert caught.value.facts["reason"] == "timeout"


async def test_an_issuer_that_answers_slowly_shares_the_lane_of_those_that_do_not_answer(
    web: Web, issuers: Issuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when slow answers keep a place among the quick: a few hundred of them would fill it."""
    monkeypatch.setattr(module, "QUICK_SECONDS", 0.0)
    await issuers.keys(ISSUER, "first")
    gate = web.hold("https://slow.test/")
    monkeypatch.setattr(module, "FETCH_SECONDS", 60.0)
    web.now += FRESH
    slow = [
        asyncio.create_task(works(issuers, issuer=f"https://slow.test/{n}/"))
        for n in range(module.LANE)
    ]
    await settle()
    waiting = asyncio.create_task(works(issuers))
    await settle()
    assert (web.under_way, web.asked.count(JWKS)) == (module.LANE, 1)
    gate.set()
    assert await waiting
    await asyncio.gather(*slow)


# ---------------------------------------------------------------------------------------------- memory


async def test_no_more_issuers_are_remembered_than_the_bound(
    web: Web, issuers: Issuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when entries only grow, or when strangers push out one that is in use."""
    monkeypatch.setattr(module, "MAX_ISSUERS", 3)
    assert await works(issuers)
    for n in range(10):
        assert not await works(issuers, issuer=f"https://oidc.test/{n}/")
        assert await works(issuers)
    assert len(issuers._entries) == 3
    assert web.asked.count(JWKS) == 1


async def test_no_more_keys_are_held_than_the_bound(
    web: Web, issuers: Issuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer may publish a hundred keys of 8192 bits."""
    monkeypatch.setattr(module, "MAX_KEYS", 10)
    several = [{**KEY, "kid": f"k{n}"} for n in range(4)]
    for n in range(9):
        web.add(f"https://oidc.test/{n}/", *several)
        assert await works(issuers, "k0", f"https://oidc.test/{n}/")
    assert len(issuers._entries) == 2
    assert issuers._held == 8
    web.add("https://oidc.test/8/", KEY)
    web.now += FRESH
    assert await works(issuers, issuer="https://oidc.test/8/")
    assert issuers._held == 5
