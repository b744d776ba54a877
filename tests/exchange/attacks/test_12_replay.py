"""Group 12: replay of an assertion. It is allowed until the assertion expires; its limits are tested here.

Every SDK reuses a pod's token until the kubelet renews it, so a list of used tokens would refuse most
requests. docs/security.md describes the consequences.
"""

import asyncio

import pytest

from tests.exchange.world import World

EIGHT = 8


async def test_replay_before_expiry_returns_new_tokens_for_the_same_client_only(
    world: World,
) -> None:
    """Sequential and eight concurrent replays: each token has another id and the same principal."""
    token = world.mint()
    first, second = [await world.present(token) for _ in range(2)]
    barrier = asyncio.Barrier(EIGHT)

    async def replay_concurrently() -> dict[str, object]:
        await barrier.wait()
        return (await world.present(token)).claims()

    claims = [first.claims(), second.claims()]
    claims += await asyncio.gather(*(replay_concurrently() for _ in range(EIGHT)))
    assert len({each["uti"] for each in claims}) == EIGHT + 2
    assert {each["oid"] for each in claims} == {world.OBJECT}


async def test_replay_is_refused_at_the_assertions_expiry_second(world: World) -> None:
    token = world.mint(exp=int(world.NOW) + 600)
    world.now += 599.5
    assert (await world.present(token)).status == 200
    world.now += 0.5
    for _ in range(2):
        assert (await world.present(token)).code == 700024


async def test_replay_is_refused_when_the_credential_is_deleted(world: World) -> None:
    token = world.mint()
    assert (await world.present(token)).status == 200
    await world.change(world.CLIENT, credentials=())
    assert (await world.present(token)).code == 70025


async def test_replay_is_refused_when_the_identity_is_disabled(world: World) -> None:
    token = world.mint()
    assert (await world.present(token)).status == 200
    await world.change(world.CLIENT, enabled=False)
    assert (await world.present(token)).code == 7000112


async def test_replay_is_refused_when_the_issuer_withdraws_its_key(world: World) -> None:
    token, old = world.mint(exp=int(world.NOW) + 7200), world.ring.active.kid
    assert (await world.present(token)).status == 200
    world.ring.rotate()
    world.ring.retire(old)
    world.now += 300
    assert (await world.present(token)).code == 7000272


@pytest.mark.parametrize("field", ["client_assertion", "access_token"])
async def test_no_replayable_value_is_logged(
    world: World, caplog: pytest.LogCaptureFixture, field: str
) -> None:
    token = world.mint()
    with caplog.at_level("DEBUG"):
        answer = await world.present(token)
        await world.present(token, scope="x")
    secret = token if field == "client_assertion" else answer.body["access_token"]
    logged = " ".join(str(vars(record)) for record in caplog.records)
    assert "token_request_answered" in logged
    assert all(part not in logged for part in secret.split("."))
