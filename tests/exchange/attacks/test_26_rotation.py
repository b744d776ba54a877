"""Group 26: rotation while tokens are issued and verified with keys that were fetched before it."""

import asyncio

from podpass.crypto import jose
from tests.exchange.world import World


async def fetch_keys(world: World) -> dict[str, jose.PublicKey]:
    answer = await world.send(f"/{world.TENANT}/discovery/v2.0/keys", method="GET")
    return {str(key.kid): key for key in jose.load_jwks(answer.body)}


async def test_keys_of_the_previous_rotation_verify_tokens_of_every_replica(world: World) -> None:
    """Three rotations under load: the keys of the previous rotation verify every token."""
    for _ in range(3):
        known = await fetch_keys(world)
        asking = [asyncio.create_task(world.request_token()) for _ in range(6)]
        await asyncio.sleep(0)
        await world.keys.rotate(at_once=True)
        asking += [asyncio.create_task(world.request_token()) for _ in range(6)]
        for answer in await asyncio.gather(*asking):
            token = jose.parse(answer.body["access_token"])
            assert token.kid in known
            jose.verify(token, known[str(token.kid)])
        after = await fetch_keys(world)
        assert set(known) < set(after)


async def test_token_stays_valid_after_the_rotation_of_its_key(world: World) -> None:
    """The old key must stay published after the first signature of the new one."""
    token = jose.parse((await world.request_token()).body["access_token"])
    await world.keys.rotate(at_once=True)
    await world.keys.refresh()
    keys = await fetch_keys(world)
    jose.verify(token, keys[str(token.kid)])
    assert world.keys.active.kid != token.kid
