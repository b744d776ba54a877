"""The memory budget for request bodies; small bodies are always read."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.admission import handler
from podpass.admission.handler import create_app
from podpass.admission.memory_budget import (
    MAX_RESERVED_BYTES,
    UNRESERVED_BYTES,
    MemoryBudget,
    MemoryBudgetExhausted,
    Reservation,
)
from podpass.settings import WebhookSettings
from tests.admission.endpoint import Endpoint

Function = Callable[..., Any]
Patch = pytest.MonkeyPatch


def test_bodies_share_the_budget_and_release_it() -> None:
    room = MemoryBudget(1000)
    one, other = Reservation(room), Reservation(room)
    one.reserve(UNRESERVED_BYTES + 300)
    one.reserve(UNRESERVED_BYTES + 600)
    other.reserve(UNRESERVED_BYTES + 400)
    assert room.left == 0
    with pytest.raises(MemoryBudgetExhausted):
        other.reserve(UNRESERVED_BYTES + 401)
    one.release()
    other.reserve(UNRESERVED_BYTES + 1000)
    for _ in range(2):  # the second release has no effect
        other.release()
    assert room.left == 1000


def test_small_body_needs_no_reservation() -> None:
    room = MemoryBudget(0)
    Reservation(room).reserve(UNRESERVED_BYTES)
    with pytest.raises(MemoryBudgetExhausted):
        Reservation(room).reserve(UNRESERVED_BYTES + 1)


class Waiting:
    """A ServiceAccount reader that waits until the test releases it."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = asyncio.Event()

    async def read_annotations(self, _namespace: str, _name: str) -> dict[str, str]:
        self.asked += 1
        await self.let.wait()
        return {}


@pytest.mark.parametrize("path", [names.WEBHOOK_PATH, names.ADVICE_PATH])
async def test_reservation_is_held_until_the_response(
    start: Function, settings: WebhookSettings, make_pod: Function, path: str
) -> None:
    """A parsed review needs more memory than its body, and may wait for its account for seconds."""
    accounts = Waiting()
    endpoint = await start(create_app(settings, accounts))
    large = make_pod({f"example.com/{n}": "x" * 1000 for n in range(2500)})
    fit = MAX_RESERVED_BYTES // 2_500_000
    for _ in range(2):
        accounts.asked = 0
        accounts.let.clear()
        many = [asyncio.create_task(endpoint.review(large, path=path)) for _ in range(fit + 2)]
        while sum(one.done() for one in many) + accounts.asked < len(many):  # noqa: ASYNC110 there is no event for the condition
            await asyncio.sleep(0.01)
        assert 0 < accounts.asked <= fit
        small = asyncio.create_task(endpoint.review(make_pod(), path=path))
        accounts.let.set()
        assert (await small)["allowed"]
        codes = {(await one)["status"]["code"] for one in many}
        assert codes == ({200, 503} if path == names.WEBHOOK_PATH else {200})


async def test_unfinished_body_is_refused_without_memory(
    start: Function, settings: WebhookSettings, known_accounts: Function, monkeypatch: Patch
) -> None:
    """The attack: many connections that each send a part of a body, which the fast path would store."""
    monkeypatch.setattr(handler, "MemoryBudget", lambda: MemoryBudget(0))
    endpoint: Endpoint = await start(handler.create_app(settings, known_accounts({})))
    head = f"POST {names.WEBHOOK_PATH} HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {2 * UNRESERVED_BYTES}\r\n\r\n"

    def send_a_part() -> bytes:
        with endpoint.connect() as connection:
            connection.sendall(head.encode() + bytes(UNRESERVED_BYTES + 1))
            received = b""
            while b'"code":' not in received and (more := connection.recv(16 * 1024)):
                received += more
            return received

    assert b'"code":503' in await asyncio.to_thread(send_a_part)
