"""The token cache: one request for all callers, refresh ahead of expiry, and an unavailable authority."""

import asyncio

import pytest

from podpass.imds.entra_client import TokenNotAcquired
from podpass.imds.token_cache import MAX_TOKENS, AccessToken, TokenCache

KEY = ("client", "scope")
HOUR = 3600.0


class Authority:
    """Counts requests; a test may let them fail or wait."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.requests: list[tuple[str, str]] = []
        self.is_away = False
        self.gate: asyncio.Event | None = None
        self.cache = TokenCache(self.fetch, lambda: self.now)

    async def fetch(self, client_id: str, scope: str) -> AccessToken:
        self.requests.append((client_id, scope))
        number = len(self.requests)
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise TokenNotAcquired("away")
        return AccessToken(token=f"token {number}", obtained=self.now, expires=self.now + HOUR)

    async def token(self, key: tuple[str, str] = KEY) -> str:
        return (await self.cache.get(key)).token

    async def settle(self) -> None:
        """Let the background tasks run."""
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def authority() -> Authority:
    return Authority()


async def test_concurrent_first_callers_share_one_request(authority: Authority) -> None:
    authority.gate = asyncio.Event()
    callers = [asyncio.create_task(authority.token()) for _ in range(20)]
    await authority.settle()
    authority.gate.set()
    assert set(await asyncio.gather(*callers)) == {"token 1"}
    assert authority.requests == [KEY]


async def test_caller_that_disconnects_does_not_cancel_the_request_of_the_others(
    authority: Authority,
) -> None:
    authority.gate = asyncio.Event()
    first, second = (asyncio.create_task(authority.token()) for _ in range(2))
    await authority.settle()
    first.cancel()
    authority.gate.set()
    assert await second == "token 1"


async def test_token_is_refreshed_in_the_background_in_the_last_third_of_its_lifetime(
    authority: Authority,
) -> None:
    assert await authority.token() == "token 1"
    authority.now += HOUR * 0.6
    assert await authority.token() == "token 1"
    await authority.settle()
    assert len(authority.requests) == 1
    authority.now += HOUR * 0.1
    assert await authority.token() == "token 1"
    await authority.settle()
    assert await authority.token() == "token 2"


async def test_valid_token_is_served_while_the_authority_is_unavailable(
    authority: Authority,
) -> None:
    await authority.token()
    authority.is_away = True
    for seconds in (2500, 3000, 3500, 3570, 3585):
        authority.now = 1_000_000.0 + seconds
        assert await authority.token() == "token 1"
        await authority.settle()
    authority.now = 1_000_000.0 + 3586
    with pytest.raises(TokenNotAcquired):
        await authority.token()
    authority.is_away = False
    assert await authority.token() == f"token {len(authority.requests)}"


async def test_failed_refresh_is_retried_after_30_seconds(authority: Authority) -> None:
    await authority.token()
    authority.is_away = True
    authority.now += 2500
    for _ in range(10):
        await authority.token()
        await authority.settle()
    assert len(authority.requests) == 2
    authority.now += 31
    await authority.token()
    await authority.settle()
    assert len(authority.requests) == 3


async def test_clock_that_is_set_back_does_not_extend_a_token(authority: Authority) -> None:
    await authority.token()
    authority.now -= 7200
    assert await authority.token() == "token 2"


async def test_identities_and_scopes_have_tokens_of_their_own(authority: Authority) -> None:
    keys = [("a", "x"), ("b", "x"), ("a", "y")]
    assert len({await authority.token(key) for key in keys}) == 3
    assert authority.requests == keys


async def test_least_recently_used_tokens_are_evicted(authority: Authority) -> None:
    await authority.token()
    for number in range(MAX_TOKENS + 10):
        await authority.token((str(number), "s"))
        await authority.token()
    assert len(authority.cache._entries) == MAX_TOKENS
    assert authority.requests.count(KEY) == 1


def test_token_is_in_no_repr() -> None:
    assert "secret" not in repr(AccessToken(token="secret", obtained=0, expires=1))
