"""The token endpoint: rate limits, metrics, and Retry-After."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trustme

from podpass.crypto import jose
from podpass.database import DatabaseBusy, DatabaseFailed
from podpass.exchange.app import create_app
from podpass.exchange.rate_limits import Rate, RateLimiter, RateLimits
from podpass.exchange.responses import retry_after
from podpass.exchange.throttling import too_many_requests
from podpass.http import server
from podpass.settings import AuthoritySettings
from tests.exchange.attacks.forge import publish
from tests.exchange.sign_in.browser import AZ
from tests.exchange.world import World, listen

FREE = Rate(per_second=0, burst=0)
TWO = Rate(per_second=0.01, burst=2)


def _limits(**changes: Any) -> RateLimits:
    rates = {"client": FREE, "source": FREE, "refused": FREE, "penalty_seconds": 0.0, **changes}
    return RateLimits(**rates)


class RateLimitedListener:
    """A second listener of the world's service, with a rate limiter and a record of its outcomes."""

    def __init__(self, world: World, ca: trustme.CA, stack: AsyncExitStack) -> None:
        self._world, self._ca, self._stack = world, ca, stack
        self.observed: list[tuple[str, int]] = []

    async def start(self, limits: RateLimits) -> RateLimiter:
        world, limiter = self._world, RateLimiter(limits, time.monotonic)
        sock = server.bind("127.0.0.1", 0)
        world.url = f"https://localhost:{sock.getsockname()[1]}"
        app = create_app(
            AuthoritySettings(origins=("https://login.microsoftonline.com", world.url)),
            world.directory,
            world.fetcher,
            world.keys,
            world.clock,
            limiter=limiter,
            observe=self._observe,
        )
        await listen(self._stack, self._ca, app, "localhost", sock)
        return limiter

    def _observe(self, outcome: str, version: int, seconds: float) -> None:
        assert seconds > 0
        self.observed.append((outcome, version))


@pytest.fixture
async def rate_limited(world: World, ca: trustme.CA) -> "AsyncIterator[RateLimitedListener]":
    async with AsyncExitStack() as stack:
        yield RateLimitedListener(world, ca, stack)


async def test_client_over_its_rate_gets_retry_after(
    world: World, rate_limited: RateLimitedListener, caplog: pytest.LogCaptureFixture
) -> None:
    await rate_limited.start(_limits(client=TWO))
    caplog.set_level("INFO")
    assert [(await world.request_token()).status for _ in range(3)] == [200, 200, 429]
    answer = await world.request_token()
    assert answer.code == 90055
    assert 1 <= int(answer.headers["Retry-After"]) <= 100
    assert (await world.request_token(client_id=world.APPLICATION)).status == 200
    throttled = [each for each in caplog.records if vars(each).get("outcome") == "throttled"]
    assert [vars(each)["source"] for each in throttled] == ["127.0.0.1"] * 2


async def test_users_of_one_client_have_no_common_limit(
    world: World, rate_limited: RateLimitedListener
) -> None:
    """All users of az share one client ID, in every tenant."""
    await rate_limited.start(_limits(client=TWO))
    form = {"grant_type": "password", "client_id": AZ, "scope": "openid"}
    user = {"username": world.ADMIN, "password": world.PASSWORD}
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    assert [(await world.post(path, **form, **user)).status for _ in range(4)] == [200] * 4


async def test_each_extra_signature_check_counts_as_a_request(
    world: World, rate_limited: RateLimitedListener
) -> None:
    """Fails if an issuer with several keys of one ID gets their verification for free."""
    foreign = jose.rsa_jwk(jose.generate_rsa().public_key(), world.ring.active.kid)
    active = jose.rsa_jwk(world.ring.active.key.public_key(), world.ring.active.kid)
    publish(world, foreign, foreign, active)
    await rate_limited.start(_limits(source=Rate(per_second=0.01, burst=4)))
    assert [(await world.request_token()).status for _ in range(3)] == [200, 200, 429]


async def test_address_with_only_refused_requests_is_blocked(
    world: World, rate_limited: RateLimitedListener
) -> None:
    """Fails if refusals are not reported to the limiter: each request of a flood would cost a handshake."""
    limiter = await rate_limited.start(_limits(refused=TWO, penalty_seconds=60.0))
    for _ in range(3):
        assert limiter.allow_connection("127.0.0.1")
        assert (await world.present("a.b.c")).code == 50027
    assert not limiter.allow_connection("127.0.0.1")


@pytest.mark.parametrize(
    "path",
    [
        "/unknown.example/v2.0/.well-known/openid-configuration",
        "/unknown.example/oauth2/v2.0/devicecode",
        "/unknown.example/oauth2/v2.0/authorize",
        "/nothing/here",
    ],
)
async def test_refusals_of_other_endpoints_count_too(
    world: World, rate_limited: RateLimitedListener, path: str
) -> None:
    """Each such request costs a lookup and needs no credential."""
    limiter = await rate_limited.start(_limits(refused=TWO, penalty_seconds=60.0))
    for _ in range(3):
        assert limiter.allow_connection("127.0.0.1")
        method = "POST" if "devicecode" in path else "GET"
        async with world.session.request(
            method, world.url + path, data={"client_id": "x"}
        ) as answer:
            assert 400 <= answer.status < 500
    assert not limiter.allow_connection("127.0.0.1")


async def test_documents_and_pages_count_for_the_address_limit(
    world: World, rate_limited: RateLimitedListener
) -> None:
    await rate_limited.start(_limits(source=TWO))
    path = f"/{world.TENANT}/discovery/v2.0/keys"
    answers = [await world.send(path, method="GET") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].code == 90055
    assert int(answers[2].headers["Retry-After"]) >= 1
    page = "/common/oauth2/deviceauth"
    assert (await world.send(page, method="GET")).status == 429


async def test_one_address_cannot_use_all_device_codes(
    world: World, rate_limited: RateLimitedListener
) -> None:
    """Attack: ten thousand unused device codes would leave no capacity for other addresses."""
    await rate_limited.start(_limits(devices=TWO))
    path, asked = f"/{world.TENANT}/oauth2/v2.0/devicecode", {"client_id": AZ, "scope": "openid"}
    assert [(await world.post(path, **asked)).status for _ in range(3)] == [200, 200, 429]
    refused = await world.post(path, **asked)
    assert (refused.code, refused.body["error"]) == (90055, "temporarily_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await world.request_token()).status == 200


async def test_address_that_receives_tokens_is_not_blocked(
    world: World, rate_limited: RateLimitedListener
) -> None:
    limiter = await rate_limited.start(_limits(refused=TWO, penalty_seconds=60.0))
    assert (await world.request_token()).status == 200
    for _ in range(5):
        await world.present("a.b.c")
    assert limiter.allow_connection("127.0.0.1")


async def test_each_response_is_counted_once_by_outcome(
    world: World, rate_limited: RateLimitedListener
) -> None:
    await rate_limited.start(_limits(client=Rate(per_second=0.01, burst=1)))
    await world.present("a.b.c")
    await world.request_token(
        f"/{world.TENANT}/oauth2/token", scope=None, resource="https://vault.azure.net"
    )
    await world.request_token()
    assert rate_limited.observed == [("AADSTS50027", 2), ("granted", 1), ("throttled", 2)]


async def test_damaged_database_returns_503_with_retry_after(world: World) -> None:
    def damage(connection: Any) -> None:
        connection.exec_driver_sql("UPDATE identities SET kind = 'martian'")

    await world.directory._session.database.write(damage)
    world.directory.clear_caches()
    answer = await world.request_token()
    assert (answer.status, answer.code) == (503, 90033)
    assert int(answer.headers["Retry-After"]) == 30


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (DatabaseBusy("busy"), b"2"),
        (DatabaseFailed("damaged"), b"30"),
        (too_many_requests(0.01), b"1"),
        (too_many_requests(2.5), b"3"),
    ],
)
def test_retry_after_is_at_least_one_whole_second(fault: Exception, seconds: bytes) -> None:
    assert retry_after(fault) == ((b"retry-after", seconds),)


def test_client_error_has_no_retry_after() -> None:
    assert retry_after(ValueError()) == ()
