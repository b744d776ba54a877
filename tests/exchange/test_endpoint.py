"""The token endpoint's edge: whom it asks, whom it tells, and when a caller is to come again."""

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from podpass.database import DatabaseBusy, DatabaseFailed
from podpass.exchange.app import create_app
from podpass.exchange.rate_limits import Gate, Rate, Rules
from podpass.exchange.responses import retry_after
from podpass.exchange.throttling import too_many
from podpass.http import server
from podpass.settings import AuthoritySettings
from tests.exchange.sign_in.browser import AZ
from tests.exchange.world import World, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FREE = Rate(per_second=0, burst=0)
TWO = Rate(per_second=0.01, burst=2)


def _rules(**changes: Any) -> Rules:
    rates = {"client": FREE, "source": FREE, "refused": FREE, "penalty_seconds": 0.0, **changes}
    return Rules(**rates)


class Gated:
    """A second listener of the world's service, which asks a gate and tells what it answered."""

    def __init__(self, world: World, ca: trustme.CA, stack: AsyncExitStack) -> None:
        self._world, self._ca, self._stack = world, ca, stack
        self.observed: list[tuple[str, int]] = []

    async def start(self, rules: Rules) -> Gate:
        world, gate = self._world, Gate(rules, time.monotonic)
        sock = server.bind("127.0.0.1", 0)
        world.url = f"https://localhost:{sock.getsockname()[1]}"
        app = create_app(
            AuthoritySettings(origins=("https://login.microsoftonline.com", world.url)),
            world.directory,
            world.fetcher,
            world.keys,
            world.clock,
            gate=gate,
            observe=self._observe,
        )
        await listen(self._stack, self._ca, app, "localhost", sock)
        return gate

    def _observe(self, outcome: str, version: int, seconds: float) -> None:
        assert seconds > 0
        self.observed.append((outcome, version))


@pytest.fixture
async def gated(world: World, ca: trustme.CA) -> "AsyncIterator[Gated]":
    async with AsyncExitStack() as stack:
        yield Gated(world, ca, stack)


async def test_a_client_that_asks_too_much_is_told_when_to_come_again(
    world: World, gated: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    await gated.start(_rules(client=TWO))
    caplog.set_level("INFO")
    assert [(await world.ask()).status for _ in range(3)] == [200, 200, 429]
    answer = await world.ask()
    assert answer.code == 90055
    assert 1 <= int(answer.headers["Retry-After"]) <= 100
    assert (await world.ask(client_id=world.APPLICATION)).status == 200
    throttled = [each for each in caplog.records if vars(each).get("outcome") == "throttled"]
    assert [vars(each)["source"] for each in throttled] == ["127.0.0.1"] * 2


async def test_users_of_one_client_do_not_wait_for_each_other(world: World, gated: Gated) -> None:
    """All users of az share its client id, in every tenant."""
    await gated.start(_rules(client=TWO))
    form = {"grant_type": "password", "client_id": AZ, "scope": "openid"}
    who = {"username": world.ADMIN, "password": world.PASSWORD}
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    assert [(await world.post(path, **form, **who)).status for _ in range(4)] == [200] * 4


async def test_an_address_that_is_only_refused_is_listened_to_no_longer(
    world: World, gated: Gated
) -> None:
    """Fails when refusals are not told to the gate: a flood would cost handshakes for ever."""
    gate = await gated.start(_rules(refused=TWO, penalty_seconds=60.0))
    for _ in range(3):
        assert gate.accepts("127.0.0.1")
        assert (await world.ask(client_assertion="a.b.c")).code == 50027
    assert not gate.accepts("127.0.0.1")


@pytest.mark.parametrize(
    "path",
    [
        "/nobody.example/v2.0/.well-known/openid-configuration",
        "/nobody.example/oauth2/v2.0/devicecode",
        "/nobody.example/oauth2/v2.0/authorize",
        "/nothing/here",
    ],
)
async def test_what_is_refused_elsewhere_counts_too(world: World, gated: Gated, path: str) -> None:
    """Each costs a look-up, and none needs a credential."""
    gate = await gated.start(_rules(refused=TWO, penalty_seconds=60.0))
    for _ in range(3):
        assert gate.accepts("127.0.0.1")
        method = "POST" if "devicecode" in path else "GET"
        async with world.session.request(
            method, world.url + path, data={"client_id": "x"}
        ) as answer:
            assert 400 <= answer.status < 500
    assert not gate.accepts("127.0.0.1")


async def test_documents_and_pages_have_the_limit_of_their_address(
    world: World, gated: Gated
) -> None:
    await gated.start(_rules(source=TWO))
    path = f"/{world.TENANT}/discovery/v2.0/keys"
    answers = [await world.send(path, method="GET") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].code == 90055
    assert int(answers[2].headers["Retry-After"]) >= 1
    page = "/common/oauth2/deviceauth"
    assert (await world.send(page, method="GET")).status == 429


async def test_one_address_does_not_take_all_device_codes(world: World, gated: Gated) -> None:
    """Attack: ten thousand that nobody ends leave no room for anybody else's."""
    await gated.start(_rules(devices=TWO))
    path, asked = f"/{world.TENANT}/oauth2/v2.0/devicecode", {"client_id": AZ, "scope": "openid"}
    assert [(await world.post(path, **asked)).status for _ in range(3)] == [200, 200, 429]
    refused = await world.post(path, **asked)
    assert (refused.code, refused.body["error"]) == (90055, "temporarily_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await world.ask()).status == 200


async def test_an_address_that_gets_tokens_is_no_flood(world: World, gated: Gated) -> None:
    gate = await gated.start(_rules(refused=TWO, penalty_seconds=60.0))
    assert (await world.ask()).status == 200
    for _ in range(5):
        await world.ask(client_assertion="a.b.c")
    assert gate.accepts("127.0.0.1")


async def test_each_answer_is_counted_once_by_its_outcome(world: World, gated: Gated) -> None:
    await gated.start(_rules(client=Rate(per_second=0.01, burst=1)))
    await world.ask(client_assertion="a.b.c")
    await world.ask(f"/{world.TENANT}/oauth2/token", scope=None, resource="https://vault.azure.net")
    await world.ask()
    assert gated.observed == [("AADSTS50027", 2), ("granted", 1), ("throttled", 2)]


async def test_a_database_that_is_damaged_is_a_503_that_says_when_to_ask_again(
    world: World,
) -> None:
    def damage(connection: Any) -> None:
        connection.exec_driver_sql("UPDATE identities SET kind = 'martian'")

    await world.directory._session.database.write(damage)
    world.directory.forget()
    answer = await world.ask()
    assert (answer.status, answer.code) == (503, 90033)
    assert int(answer.headers["Retry-After"]) == 30


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (DatabaseBusy("busy"), b"2"),
        (DatabaseFailed("damaged"), b"30"),
        (too_many(0.01), b"1"),
        (too_many(2.5), b"3"),
    ],
)
def test_a_caller_is_told_whole_seconds_and_never_none(fault: Exception, seconds: bytes) -> None:
    assert retry_after(fault) == ((b"retry-after", seconds),)


def test_a_fault_of_the_request_is_not_cured_by_waiting() -> None:
    assert retry_after(ValueError()) == ()
