"""Watches by WebSocket, and tokens in the handshake; `test_logs` has the logs."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

MAPS = "/api/v1/namespaces/default/configmaps"
ADMIN = {"authorization": "Bearer admin-token"}
SECONDS = 30


def token(text: str) -> str:
    encoded = base64.urlsafe_b64encode(text.encode()).rstrip(b"=")
    return f"base64url.bearer.authorization.k8s.io.{encoded.decode()}"


def connect(live: Any, path: str, protocols: Sequence[str] = (), **headers: str) -> Any:
    url = live.server.replace("https", "wss") + path
    return live.session.ws_connect(url, protocols=protocols, headers=headers)


async def refusal(live: Any, path: str, protocols: Sequence[str] = (), **headers: str) -> int:
    """Return the status of the response to a handshake that is refused."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(live, path, protocols, **headers)
    return refused.value.status


async def create_map(live: Any, name: str, **data: str) -> str:
    made = await live.call("POST", MAPS, {"metadata": {"name": name}, "data": data})
    assert made.status == 201, made.text
    version: str = made.body["metadata"]["resourceVersion"]
    return version


async def next_event(socket: Any) -> tuple[str, str]:
    message = await socket.receive(timeout=SECONDS)
    assert message.type is aiohttp.WSMsgType.TEXT
    event = json.loads(message.data)
    return event["type"], event["object"]["metadata"]["name"]


@pytest.mark.parametrize(
    ("offered", "confirmed"), [((), None), (("binary.k8s.io",), "binary.k8s.io")]
)
async def test_each_event_of_a_watch_is_a_message(
    live: Any, offered: Sequence[str], confirmed: str | None
) -> None:
    start = await create_map(live, "a")
    await create_map(live, "b")
    await create_map(live, "c")
    path = f"{MAPS}?watch=1&resourceVersion={start}"
    async with connect(live, path, offered, **ADMIN) as socket:
        assert socket.protocol == confirmed
        assert [await next_event(socket), await next_event(socket)] == [
            ("ADDED", "b"),
            ("ADDED", "c"),
        ]
        await live.call("DELETE", f"{MAPS}/b")
        assert await next_event(socket) == ("DELETED", "b")


async def test_watch_ends_with_a_close_frame_at_its_timeout(live: Any) -> None:
    path = f"{MAPS}?watch=1&resourceVersion={await create_map(live, 'a')}&timeoutSeconds=1"
    async with connect(live, path, **ADMIN) as socket:
        message = await socket.receive(timeout=SECONDS)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1000)


async def test_watch_needs_the_permission_to_watch(live: Any) -> None:
    path = f"{MAPS}?watch=1"
    assert await refusal(live, path, authorization="Bearer alice-token") == 403
    assert await refusal(live, path, ["x", token("alice-token")]) == 403
    assert await refusal(live, path) == 403


async def test_error_before_a_watch_is_an_ordinary_response(live: Any) -> None:
    assert await refusal(live, f"{MAPS}?watch=1&resourceVersion=x", **ADMIN) == 500
    assert await refusal(live, f"{MAPS}?watch=1", ["a", "b"], **ADMIN) == 400


async def test_request_without_a_stream_ignores_the_offer_of_a_websocket(live: Any) -> None:
    assert await refusal(live, MAPS, **ADMIN) == 200


@pytest.mark.parametrize("place", [0, 1])
async def test_token_in_the_handshake_is_accepted_and_not_returned(live: Any, place: int) -> None:
    path = f"{MAPS}?watch=1&resourceVersion={await create_map(live, 'a')}"
    offered = ["v1.example"]
    offered.insert(place, token("admin-token"))
    async with connect(live, path, offered) as socket:
        assert socket.protocol == "v1.example"
        await create_map(live, "b")
        assert await next_event(socket) == ("ADDED", "b")


@pytest.mark.parametrize(
    "offered",
    [
        [token("admin-token")],
        ["x", token("admin-token"), token("admin-token")],
        ["x", token("other-token")],
        ["x", token("admin-token") + "!"],
        ["x", "base64url.bearer.authorization.k8s.io._w"],
    ],
    ids=["alone", "two", "unknown", "no base64", "no text"],
)
async def test_invalid_token_in_the_handshake_is_refused(live: Any, offered: Sequence[str]) -> None:
    assert await refusal(live, f"{MAPS}?watch=1", offered) == 401


async def test_token_counts_only_in_a_handshake(live: Any) -> None:
    answer = await live.call(
        "GET", MAPS, token=None, sec_websocket_protocol=f"x, {token('admin-token')}"
    )
    assert answer.status == 403


async def test_messages_of_a_client_are_dropped(live: Any) -> None:
    path = f"{MAPS}?watch=1&resourceVersion={await create_map(live, 'a')}"
    async with connect(live, path, **ADMIN) as socket:
        await socket.send_str("hello")
        await create_map(live, "b")
        assert await next_event(socket) == ("ADDED", "b")


async def test_watch_by_websocket_ends_when_the_server_stops(live: Any) -> None:
    path = f"{MAPS}?watch=1&resourceVersion={await create_map(live, 'a')}"
    async with connect(live, path, **ADMIN) as socket:
        live.cluster.drain()
        message = await socket.receive(timeout=SECONDS)
        assert message.type is aiohttp.WSMsgType.CLOSE
