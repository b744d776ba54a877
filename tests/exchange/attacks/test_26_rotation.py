"""Group 26: rotation while tokens are asked for, and read by somebody who fetched the keys before it."""

import asyncio
from typing import TYPE_CHECKING

from podpass.crypto import jose

if TYPE_CHECKING:
    from tests.exchange.world import World


async def published(world: "World") -> dict[str, jose.PublicKey]:
    answer = await world.send(f"/{world.TENANT}/discovery/v2.0/keys", method="GET")
    return {str(key.kid): key for key in jose.load_jwks(answer.body)}


async def test_no_token_of_any_replica_is_unknown_to_those_who_read_the_keys_before(
    world: "World",
) -> None:
    """Three rotations under load: a reader of the keys of the rotation before still knows every token."""
    for _ in range(3):
        known = await published(world)
        asking = [asyncio.create_task(world.ask()) for _ in range(6)]
        await asyncio.sleep(0)
        await world.keys.rotate(at_once=True)
        asking += [asyncio.create_task(world.ask()) for _ in range(6)]
        for answer in await asyncio.gather(*asking):
            token = jose.parse(answer.body["access_token"])
            assert token.kid in known
            jose.verify(token, known[str(token.kid)])
        after = await published(world)
        assert set(known) < set(after)


async def test_a_token_outlives_the_rotation_of_its_key(world: "World") -> None:
    """Fails if the old key was withdrawn with the new one's first signature."""
    token = jose.parse((await world.ask()).body["access_token"])
    await world.keys.rotate(at_once=True)
    await world.keys.refresh()
    keys = await published(world)
    jose.verify(token, keys[str(token.kid)])
    assert world.keys.active.kid != token.kid
