"""Faults of one service on a real server: which requests get them, and for how long."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from aiohttp import ClientConnectionError, ClientSession

from podpass.errors import UsageError
from podpass.http.server import Receive, Reply, Scope, Send, bind, read_body, respond, serving
from podpass.lab.instance.faults import MAX_FAULTS, FaultInjector

TOKEN_PATH = "/tenant/oauth2/v2.0/token"


class EchoApp:
    """An application that returns the body of the request, and which path it took."""

    def fast_path(self, _scope: Scope, body: bytes) -> Coroutine[Any, Any, Reply] | None:
        async def reply() -> Reply:
            return Reply(200, (), b"fast " + body)

        return reply()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, 200, b"asgi " + await read_body(receive, 1000), ())


@pytest.fixture
def faults() -> FaultInjector:
    return FaultInjector(lambda: 1000.0)


@pytest.fixture
async def authority(faults: FaultInjector) -> AsyncIterator[str]:
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    async with serving(faults.wrap("authority", EchoApp()), sock):
        yield f"http://127.0.0.1:{port}{TOKEN_PATH}"


async def post(url: str, body: str = "client_id=web") -> tuple[int, str]:
    async with ClientSession() as session, session.post(url, data=body) as answer:
        return answer.status, await answer.text()


async def test_without_faults_the_fast_path_is_used(authority: str, faults: FaultInjector) -> None:
    assert await post(authority) == (200, "fast client_id=web")
    added = faults.add({"service": "vault", "kind": "away"})
    assert await post(authority) == (200, "fast client_id=web")
    faults.remove(added.id)


async def test_request_that_no_fault_matches_reaches_the_application(
    authority: str, faults: FaultInjector
) -> None:
    faults.add({"service": "authority", "kind": "away", "client_id": "other"})
    assert await post(authority) == (200, "asgi client_id=web")
    with pytest.raises(ClientConnectionError):
        await post(authority, "client_id=other")


async def test_fault_ends_after_its_number_of_requests(
    authority: str, faults: FaultInjector
) -> None:
    faults.add({"service": "authority", "kind": "status", "status": 503, "times": 2})
    assert [(await post(authority))[0] for _ in range(3)] == [503, 503, 200]


async def test_aadsts_fault_has_the_body_of_entra(authority: str, faults: FaultInjector) -> None:
    faults.add({"service": "authority", "kind": "aadsts", "number": 700016})
    status, text = await post(authority)
    assert status == 400
    assert '"error_codes":[700016]' in text
    assert '"error":"unauthorized_client"' in text


async def test_removed_fault_continues_a_waiting_request(
    authority: str, faults: FaultInjector
) -> None:
    faults.add({"service": "authority", "kind": "slow", "seconds": 300})
    waiting = asyncio.create_task(post(authority))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    faults.clear()
    assert await waiting == (200, "asgi client_id=web")


def test_number_of_faults_is_limited(faults: FaultInjector) -> None:
    for _ in range(MAX_FAULTS):
        faults.add({"service": "vault", "kind": "away"})
    with pytest.raises(UsageError, match="at most"):
        faults.add({"service": "vault", "kind": "away"})
