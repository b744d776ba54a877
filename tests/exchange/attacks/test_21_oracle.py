"""Group 21: what refusals disclose. Entra's numbers differ by cause; a setting makes them uniform."""

import time

import pytest
import pytest_asyncio

from podpass.exchange import token_endpoint
from podpass.exchange.errors.catalogue import STEPS
from tests.exchange.attacks.forge import DISCOVERY_PATH
from tests.exchange.client_auth.test_secrets import add_credentials
from tests.exchange.world import Answer, Start, World

UNKNOWN = "99999999-9999-4999-8999-999999999999"
FIXED = ("trace_id", "correlation_id", "timestamp", "error_description")


@pytest_asyncio.fixture
async def uniform_world(start: Start) -> World:
    world = await start(uniform_refusals=True)
    await add_credentials(world)
    return world


async def send_probes(world: World) -> dict[str, Answer]:
    """Send requests that probe for clients and credentials; each fails at another step."""
    header = {"kid": "unknown"}
    secret = {"client_assertion": None, "client_assertion_type": None, "client_secret": "wrong"}
    return {
        "unknown client": await world.request_token(client_id=UNKNOWN),
        "no client id at all": await world.request_token(client_id="web"),
        "wrong secret": await world.request_token(client_id=world.APPLICATION, **secret),
        "secret of an unknown client": await world.request_token(client_id=UNKNOWN, **secret),
        "no credential": await world.request_token(
            client_assertion=None, client_assertion_type=None
        ),
        "malformed": await world.present("a.b"),
        "algorithm": await world.present(world.mint({"alg": "none"})),
        "issuer": await world.present(world.mint(iss="https://evil.test/")),
        "audience": await world.present(world.mint(aud="x")),
        "subject": await world.present(world.mint(sub="x")),
        "case": await world.present(world.mint(sub=world.SUBJECT.upper())),
        "lifetime": await world.present(world.mint(exp=int(world.NOW) * 2)),
        "key": await world.present(world.mint(header)),
        "signature": await world.present(world.mint()[:-8] + "AAAAAAAA"),
        "certificate": await world.request_token(
            client_id=world.APPLICATION,
            client_assertion=world.mint(iss=world.APPLICATION, sub=world.APPLICATION),
        ),
    }


async def test_uniform_refusals_do_not_disclose_clients_and_credentials(
    uniform_world: World,
) -> None:
    began = time.perf_counter()
    found = await send_probes(uniform_world)
    took = time.perf_counter() - began
    responses = {
        (answer.status, str({k: v for k, v in answer.body.items() if k not in FIXED}))
        for answer in found.values()
    }
    assert len(responses) == 1, responses
    assert {answer.code for answer in found.values()} == {token_endpoint.UNIFORM_NUMBER}
    assert {answer.status for answer in found.values()} == {401}
    described = {
        answer.body["error_description"].partition(" Trace")[0] for answer in found.values()
    }
    assert len(described) == 1
    assert took >= len(found) * token_endpoint.GRID_SECONDS, (
        "each response waits for the next grid time"
    )


async def test_log_contains_the_cause_under_the_correlation_id(
    uniform_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        await uniform_world.request_token(client_assertion=uniform_world.mint(sub="x"))
    assert "AADSTS700213" in str([vars(record) for record in caplog.records])


async def test_caller_with_a_genuine_assertion_gets_the_cause(uniform_world: World) -> None:
    late = uniform_world.mint(exp=int(uniform_world.NOW) + 60)
    assert (await uniform_world.request_token(client_assertion=late)).status == 200
    uniform_world.now += 60
    assert (await uniform_world.request_token(client_assertion=late)).code == 700024
    assert (await uniform_world.request_token(scope="https://nothing.test/.default")).code == 500011


async def test_issuer_outage_is_not_disclosed(uniform_world: World) -> None:
    uniform_world.site.answers[DISCOVERY_PATH] = (503, b"", {})
    assert (await uniform_world.request_token()).code == token_endpoint.UNIFORM_NUMBER


async def test_refusals_differ_by_cause_without_the_setting(world: World) -> None:
    await add_credentials(world)
    assert len({answer.code for answer in (await send_probes(world)).values()}) > 8


@pytest.mark.parametrize("elapsed", [0.0, 0.0004, 0.05, 0.0999, 0.1, 0.2501, 3.0])
def test_response_is_delayed_to_the_next_grid_time(elapsed: float) -> None:
    """The response time must not depend on the duration of the checks."""
    lines = (elapsed + token_endpoint.seconds_to_grid(elapsed)) / token_endpoint.GRID_SECONDS
    assert abs(lines - round(lines)) < 1e-6
    assert 0 < token_endpoint.seconds_to_grid(elapsed) <= token_endpoint.GRID_SECONDS + 1e-9


def test_only_refusals_up_to_client_authentication_are_uniform() -> None:
    assert set(STEPS) - token_endpoint.HIDDEN_STEPS == {
        *("wire", "tenant", "request", "time", "grant", "user", "resource"),
    }
