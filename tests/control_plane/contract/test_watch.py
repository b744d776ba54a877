"""Watches: every change in its order, from a version on, for those it is of interest to."""

from typing import Any

import pytest

from tests.control_plane.contract.api import Api, config_map

ONE = "&fieldSelector=metadata.name=m"


def _seen(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["type"], (event["object"].get("data") or {}).get("a", "")) for event in events]


@pytest.fixture
async def before(api: Api) -> str:
    """Make, change and delete an object; give the version before that."""
    found = await api.get(api.path("configmaps"))
    version = str(found["metadata"]["resourceVersion"])
    await api.create("configmaps", config_map(a="1"))
    await api.patch(api.path("configmaps", "m"), {"data": {"a": "2"}})
    await api.call("DELETE", api.path("configmaps", "m"))
    return version


async def test_changes_come_in_their_order(api: Api, before: str) -> None:
    events = await api.watch(api.path("configmaps"), f"&resourceVersion={before}{ONE}")
    assert _seen(events) == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


async def test_versions_grow_and_a_deletion_has_one_of_its_own(api: Api, before: str) -> None:
    events = await api.watch(api.path("configmaps"), f"&resourceVersion={before}{ONE}")
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


async def test_a_watch_goes_on_from_a_version(api: Api, before: str) -> None:
    events = await api.watch(api.path("configmaps"), f"&resourceVersion={before}{ONE}")
    later = events[0]["object"]["metadata"]["resourceVersion"]
    rest = await api.watch(api.path("configmaps"), f"&resourceVersion={later}{ONE}")
    assert _seen(rest) == [("MODIFIED", "2"), ("DELETED", "2")]


async def test_without_a_version_what_is_there_comes_first(api: Api) -> None:
    await api.create("configmaps", config_map(a="1"))
    assert _seen(await api.watch(api.path("configmaps"), ONE)) == [("ADDED", "1")]


async def test_what_leaves_the_selection_is_told_as_deleted(api: Api) -> None:
    body = config_map(a="1")
    body["metadata"]["labels"] = {"in": "yes"}
    made = await api.create("configmaps", body)
    version = made["metadata"]["resourceVersion"]
    path = api.path("configmaps", "m")
    await api.patch(path, {"metadata": {"labels": {"in": "no"}}, "data": {"a": "2"}})
    await api.patch(path, {"metadata": {"labels": {"in": "yes"}}, "data": {"a": "3"}})
    query = f"&labelSelector=in=yes&resourceVersion={version}"
    events = await api.watch(api.path("configmaps"), query)
    # What was in the selection last is shown, and not what it became outside.
    assert _seen(events) == [("DELETED", "1"), ("ADDED", "3")]


async def test_the_first_events_end_with_a_bookmark_for_those_who_ask(api: Api) -> None:
    await api.create("configmaps", config_map(a="1"))
    query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    events = await api.watch(api.path("configmaps"), query + ONE)
    assert [event["type"] for event in events[:2]] == ["ADDED", "BOOKMARK"]
    annotations = events[1]["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}


async def test_a_version_from_the_future_cannot_be_listed(api: Api) -> None:
    reply = await api.call("GET", f"{api.path('configmaps')}?resourceVersion=99999999999")
    assert reply.status == 504
    causes = reply.body["details"]["causes"]
    assert [cause["reason"] for cause in causes] == ["ResourceVersionTooLarge"]


async def test_a_watch_of_metadata_holds_no_more(api: Api, before: str) -> None:
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    query = f"watch=true&timeoutSeconds=1&resourceVersion={before}{ONE}"
    reply = await api.call("GET", f"{api.path('configmaps')}?{query}", accept=accept)
    assert reply.status == 200
    assert '"PartialObjectMetadata"' in reply.text
    assert '"data"' not in reply.text
