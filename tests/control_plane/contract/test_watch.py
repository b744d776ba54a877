"""Watches: all changes in order, from a given version, for selected objects."""

import base64
import json
from typing import Any

import aiohttp
import pytest

from tests.control_plane.contract.api import ADMIN, TIMEOUT_SECONDS, Api, config_map

ONE = "&fieldSelector=metadata.name=m"


def _types_and_values(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["type"], (event["object"].get("data") or {}).get("a", "")) for event in events]


@pytest.fixture
async def before(api: Api) -> str:
    """Create, change and delete an object; return the version before that."""
    found = await api.get(api.path("configmaps"))
    version = str(found["metadata"]["resourceVersion"])
    await api.create("configmaps", config_map(a="1"))
    await api.patch(api.path("configmaps", "m"), {"data": {"a": "2"}})
    await api.call("DELETE", api.path("configmaps", "m"))
    return version


async def test_changes_arrive_in_order(api: Api, before: str) -> None:
    events = await api.watch(api.path("configmaps"), f"&resourceVersion={before}{ONE}")
    assert _types_and_values(events) == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


async def test_resource_versions_of_events_increase_and_are_unique(api: Api, before: str) -> None:
    events = await api.watch(api.path("configmaps"), f"&resourceVersion={before}{ONE}")
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


async def test_watch_continues_from_a_resource_version(api: Api, before: str) -> None:
    events = await api.watch(api.path("configmaps"), f"&resourceVersion={before}{ONE}")
    later = events[0]["object"]["metadata"]["resourceVersion"]
    rest = await api.watch(api.path("configmaps"), f"&resourceVersion={later}{ONE}")
    assert _types_and_values(rest) == [("MODIFIED", "2"), ("DELETED", "2")]


async def test_watch_without_resource_version_starts_with_existing_objects(api: Api) -> None:
    await api.create("configmaps", config_map(a="1"))
    assert _types_and_values(await api.watch(api.path("configmaps"), ONE)) == [("ADDED", "1")]


async def test_object_that_no_longer_matches_is_reported_as_deleted(api: Api) -> None:
    body = config_map(a="1")
    body["metadata"]["labels"] = {"in": "yes"}
    made = await api.create("configmaps", body)
    version = made["metadata"]["resourceVersion"]
    path = api.path("configmaps", "m")
    await api.patch(path, {"metadata": {"labels": {"in": "no"}}, "data": {"a": "2"}})
    await api.patch(path, {"metadata": {"labels": {"in": "yes"}}, "data": {"a": "3"}})
    query = f"&labelSelector=in=yes&resourceVersion={version}"
    events = await api.watch(api.path("configmaps"), query)
    # The event contains the last selected state and not the new state.
    assert _types_and_values(events) == [("DELETED", "1"), ("ADDED", "3")]


async def test_initial_events_end_with_a_bookmark_on_request(api: Api) -> None:
    await api.create("configmaps", config_map(a="1"))
    query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    events = await api.watch(api.path("configmaps"), query + ONE)
    assert [event["type"] for event in events[:2]] == ["ADDED", "BOOKMARK"]
    annotations = events[1]["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}


async def test_list_at_a_future_resource_version_is_refused(api: Api) -> None:
    reply = await api.call("GET", f"{api.path('configmaps')}?resourceVersion=99999999999")
    assert reply.status == 504
    causes = reply.body["details"]["causes"]
    assert [cause["reason"] for cause in causes] == ["ResourceVersionTooLarge"]


async def test_metadata_only_watch_contains_only_metadata(api: Api, before: str) -> None:
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    query = f"watch=true&timeoutSeconds=1&resourceVersion={before}{ONE}"
    reply = await api.call("GET", f"{api.path('configmaps')}?{query}", accept=accept)
    assert reply.status == 200
    assert '"PartialObjectMetadata"' in reply.text
    assert '"data"' not in reply.text


def _token_protocol(token: str) -> str:
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return f"base64url.bearer.authorization.k8s.io.{encoded}"


async def test_changes_arrive_by_websocket_from_a_browser(api: Api, before: str) -> None:
    """A browser sends its token as a subprotocol, which the server does not confirm."""
    path = f"{api.path('configmaps')}?watch=1&timeoutSeconds=60&resourceVersion={before}{ONE}"
    url = api.server.url.replace("https", "wss") + path
    protocols = (_token_protocol(ADMIN), "base64.binary.k8s.io")
    async with api.session.ws_connect(
        url, protocols=protocols, origin="https://localhost"
    ) as socket:
        assert socket.protocol == "base64.binary.k8s.io"
        messages = [await socket.receive(timeout=TIMEOUT_SECONDS) for _ in "abc"]
    assert {message.type for message in messages} == {aiohttp.WSMsgType.TEXT}
    events = [json.loads(message.data) for message in messages]
    assert _types_and_values(events) == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


@pytest.mark.parametrize(
    ("protocols", "status"),
    [
        ((), 403),
        ((_token_protocol(ADMIN),), 401),
        ((_token_protocol("another-token"), "x"), 401),
        ((_token_protocol(ADMIN), _token_protocol(ADMIN), "x"), 401),
    ],
    ids=["no token", "no other subprotocol", "unknown token", "two tokens"],
)
async def test_websocket_without_one_valid_token_is_refused(
    api: Api, protocols: tuple[str, ...], status: int
) -> None:
    url = api.server.url.replace("https", "wss") + api.path("configmaps") + "?watch=1"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.session.ws_connect(url, protocols=protocols, origin="https://localhost")
    assert refused.value.status == status
