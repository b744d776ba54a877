"""Group 21: what a stranger learns from refusals. Entra's numbers tell much; a setting makes them one."""

import time
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from podpass.exchange import uniform
from podpass.exchange.errors.catalogue import STEPS
from tests.exchange.attacks.forge import DISCOVERY_PATH
from tests.exchange.client_auth.test_secrets import equip

if TYPE_CHECKING:
    from tests.exchange.conftest import Start
    from tests.exchange.world import Answer, World

UNKNOWN = "99999999-9999-4999-8999-999999999999"
FIXED = ("trace_id", "correlation_id", "timestamp", "error_description")


@pytest_asyncio.fixture
async def closed(start: "Start") -> "World":
    world = await start(uniform_refusals=True)
    await equip(world)
    return world


async def strangers(world: "World") -> dict[str, "Answer"]:
    """Ask as somebody who tries out what there is; each attempt fails at another step."""
    header = {"kid": "unknown"}
    secret = {"client_assertion": None, "client_assertion_type": None, "client_secret": "wrong"}
    return {
        "unknown client": await world.ask(client_id=UNKNOWN),
        "no client id at all": await world.ask(client_id="web"),
        "wrong secret": await world.ask(client_id=world.APPLICATION, **secret),
        "secret of nobody": await world.ask(client_id=UNKNOWN, **secret),
        "no credential": await world.ask(client_assertion=None, client_assertion_type=None),
        "malformed": await world.ask(client_assertion="a.b"),
        "algorithm": await world.ask(client_assertion=world.mint({"alg": "none"})),
        "issuer": await world.ask(client_assertion=world.mint(iss="https://evil.test/")),
        "audience": await world.ask(client_assertion=world.mint(aud="x")),
        "subject": await world.ask(client_assertion=world.mint(sub="x")),
        "case": await world.ask(client_assertion=world.mint(sub=world.SUBJECT.upper())),
        "lifetime": await world.ask(client_assertion=world.mint(exp=int(world.NOW) * 2)),
        "key": await world.ask(client_assertion=world.mint(header)),
        "signature": await world.ask(client_assertion=world.mint()[:-8] + "AAAAAAAA"),
        "certificate": await world.ask(
            client_id=world.APPLICATION,
            client_assertion=world.mint(iss=world.APPLICATION, sub=world.APPLICATION),
        ),
    }


async def test_nobody_can_try_out_which_clients_and_credentials_there_are(closed: "World") -> None:
    began = time.perf_counter()
    found = await strangers(closed)
    took = time.perf_counter() - began
    told = {
        (answer.status, str({k: v for k, v in answer.body.items() if k not in FIXED}))
        for answer in found.values()
    }
    assert len(told) == 1, told
    assert {answer.code for answer in found.values()} == {uniform.NUMBER}
    assert {answer.status for answer in found.values()} == {401}
    described = {
        answer.body["error_description"].partition(" Trace")[0] for answer in found.values()
    }
    assert len(described) == 1
    assert took >= len(found) * uniform.GRID_SECONDS, "each waits for the next line of the grid"


async def test_the_log_still_says_the_cause_under_the_id_of_the_answer(
    closed: "World", caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        await closed.ask(client_assertion=closed.mint(sub="x"))
    assert "AADSTS700213" in str([vars(record) for record in caplog.records])


async def test_who_holds_a_genuine_assertion_is_told_what_is_wrong(closed: "World") -> None:
    late = closed.mint(exp=int(closed.NOW) + 60)
    assert (await closed.ask(client_assertion=late)).status == 200
    closed.now += 60
    assert (await closed.ask(client_assertion=late)).code == 700024
    assert (await closed.ask(scope="https://nothing.test/.default")).code == 500011


async def test_whether_an_issuer_could_be_asked_is_not_told_either(closed: "World") -> None:
    closed.site.answers[DISCOVERY_PATH] = (503, b"", {})
    assert (await closed.ask()).code == uniform.NUMBER


async def test_without_the_setting_they_are_told_apart_as_entra_does(world: "World") -> None:
    await equip(world)
    assert len({answer.code for answer in (await strangers(world)).values()}) > 8


@pytest.mark.parametrize("elapsed", [0.0, 0.0004, 0.05, 0.0999, 0.1, 0.2501, 3.0])
def test_an_answer_falls_on_the_next_line_of_the_grid(elapsed: float) -> None:
    """Fails if what took longer was answered later by so much: that difference is what is measured."""
    lines = (elapsed + uniform.wait(elapsed)) / uniform.GRID_SECONDS
    assert abs(lines - round(lines)) < 1e-6
    assert 0 < uniform.wait(elapsed) <= uniform.GRID_SECONDS + 1e-9


def test_only_what_comes_before_the_proof_is_hidden() -> None:
    assert set(STEPS) - uniform.HIDDEN == {
        "wire",
        "tenant",
        "request",
        "time",
        "grant",
        "user",
        "resource",
    }
