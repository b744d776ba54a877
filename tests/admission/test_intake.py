"""How many bytes of bodies are held at a time, and that small ones are always read."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.admission.handler import create_app
from podpass.admission.memory_budget import (
    FREE_BYTES,
    MOST_BYTES,
    Hold,
    Room,
    TooMuchAtOnce,
)
from podpass.settings import WebhookSettings

Function = Callable[..., Any]


def test_bodies_share_the_room_and_give_it_back() -> None:
    room = Room(1000)
    one, other = Hold(room), Hold(room)
    one.grow(FREE_BYTES + 300)
    one.grow(FREE_BYTES + 600)
    other.grow(FREE_BYTES + 400)
    assert room.left == 0
    with pytest.raises(TooMuchAtOnce):
        other.grow(FREE_BYTES + 401)
    one.release()
    other.grow(FREE_BYTES + 1000)
    for _ in range(2):  # the second time there is nothing to give back
        other.release()
    assert room.left == 1000


def test_a_small_body_needs_no_room() -> None:
    room = Room(0)
    Hold(room).grow(FREE_BYTES)
    with pytest.raises(TooMuchAtOnce):
        Hold(room).grow(FREE_BYTES + 1)


class Waiting:
    """Accounts that answer when they are let."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = asyncio.Event()

    async def annotations(self, _namespace: str, _name: str) -> dict[str, str]:
        self.asked += 1
        await self.let.wait()
        return {}


@pytest.mark.parametrize("path", [names.WEBHOOK_PATH, names.ADVICE_PATH])
async def test_the_room_is_held_until_the_answer_and_then_given_back(
    start: Function, settings: WebhookSettings, make_pod: Function, path: str
) -> None:
    """A review that was read takes more than its body, and may wait for its account for seconds."""
    accounts = Waiting()
    endpoint = await start(create_app(settings, accounts))
    large = make_pod({f"example.com/{n}": "x" * 1000 for n in range(2500)})
    fit = MOST_BYTES // 2_500_000
    for _ in range(2):
        accounts.asked = 0
        accounts.let.clear()
        many = [asyncio.create_task(endpoint.review(large, path=path)) for _ in range(fit + 2)]
        while sum(one.done() for one in many) + accounts.asked < len(many):  # noqa: ASYNC110 from outside
            await asyncio.sleep(0.01)
        assert 0 < accounts.asked <= fit
        small = asyncio.create_task(endpoint.review(make_pod(), path=path))
        accounts.let.set()
        assert (await small)["allowed"]
        codes = {(await one)["status"]["code"] for one in many}
        assert codes == ({200, 503} if path == names.WEBHOOK_PATH else {200})
