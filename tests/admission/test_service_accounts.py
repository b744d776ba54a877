"""The ServiceAccount cache against a small API server: lists, watches, gaps, and live reads."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from podpass import names
from podpass.admission import service_accounts as accounts_module
from podpass.admission.service_accounts import (
    READ_SECONDS,
    AccountNotFound,
    AccountUnreadable,
    ServiceAccountCache,
)
from podpass.http.server import Receive, Scope, Send, bind, header, respond, serving
from podpass.kubernetes.client import KubeClient, Target
from tests.waiting import eventually
from tests.watches import Watches, respond_status

CLIENT = {names.CLIENT_ID: "client"}


class Kubernetes:
    """ServiceAccounts over HTTP: get, list and watch, and a count of single reads."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self.reads: list[str] = []
        self.status = 200
        self.silent = False
        self.unwatched = 0  # the response to a refused watch
        self.accepts: list[str] = []
        self._version = 1
        self._watches = Watches()

    def put(self, key: str, annotations: dict[str, str] | None, *, notify: bool = True) -> None:
        namespace, _, name = key.partition("/")
        self._version += 1
        metadata = {"namespace": namespace, "name": name, "resourceVersion": str(self._version)}
        metadata |= {"uid": f"uid-{self._version}", "annotations": annotations}  # type: ignore[dict-item]
        kind = "MODIFIED" if key in self.accounts else "ADDED"
        self.accounts[key] = {"metadata": metadata}
        if notify:
            self._notify(kind, self.accounts[key])

    def delete(self, key: str) -> None:
        self._version += 1
        deleted = self.accounts.pop(key)
        deleted["metadata"]["resourceVersion"] = str(self._version)
        self._notify("DELETED", deleted)

    def expire(self) -> None:
        """Notify every watch that its history has expired."""
        self._notify("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "metadata": {}})
        self._watches.notify(None)

    def _notify(self, kind: str, account: dict[str, Any]) -> None:
        self._watches.notify(json.dumps({"type": kind, "object": account}).encode() + b"\n")

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode())
        namespace, plural, name = ["", "", *scope["path"].split("/")][-3:]
        self.accepts.append(header(scope, b"accept") or "")
        if self.silent:
            await asyncio.sleep(60)
        if "watch" in query and self.unwatched:
            await respond_status(send, self.unwatched)
        elif "watch" in query:
            await self._watches.serve(receive, send)
        elif self.status != 200:
            await respond_status(send, self.status)
        elif name == "serviceaccounts":
            metadata = {"resourceVersion": str(self._version)}
            body = {"metadata": metadata, "items": list(self.accounts.values())}
            await respond(send, 200, json.dumps(body).encode())
        else:
            assert plural == "serviceaccounts"
            self.reads.append(f"{namespace}/{name}")
            found = self.accounts.get(f"{namespace}/{name}")
            if found is None:
                await respond_status(send, 404)
            else:
                await respond(send, 200, json.dumps(found).encode())


@pytest.fixture
def kubernetes() -> Kubernetes:
    server = Kubernetes()
    server.put("default/web", CLIENT | {"example.com/other": "x" * 1000})
    server.put("default/plain", None)
    return server


@pytest.fixture
async def accounts(kubernetes: Kubernetes) -> AsyncIterator[ServiceAccountCache]:
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with (
        serving(kubernetes.app, sock),
        KubeClient(target) as client,
        ServiceAccountCache(client) as accounts,
    ):
        await accounts.wait_ready()
        yield accounts


async def test_listed_accounts_are_read_from_the_cache(
    kubernetes: Kubernetes, accounts: ServiceAccountCache
) -> None:
    assert accounts.ready
    assert await accounts.read_annotations("default", "web") == CLIENT, (
        "only relevant annotations are kept"
    )
    assert await accounts.read_annotations("default", "plain") == {}
    assert kubernetes.reads == []


async def test_changed_account_is_updated_by_the_watch(
    kubernetes: Kubernetes, accounts: ServiceAccountCache
) -> None:
    kubernetes.put("default/web", {names.CLIENT_ID: "other"})

    async def is_changed() -> bool:
        return (await accounts.read_annotations("default", "web")) == {names.CLIENT_ID: "other"}

    await eventually(is_changed)
    assert kubernetes.reads == []


async def test_account_missing_in_the_cache_is_read_live(
    kubernetes: Kubernetes, accounts: ServiceAccountCache
) -> None:
    with pytest.raises(AccountNotFound) as caught:
        await accounts.read_annotations("default", "late")
    assert caught.value.facts == {"namespace": "default", "account": "late"}
    kubernetes.put("default/late", CLIENT, notify=False)
    assert await accounts.read_annotations("default", "late") == CLIENT
    assert kubernetes.reads == ["default/late"] * 2


async def test_deleted_account_is_removed_and_its_successor_is_used(
    kubernetes: Kubernetes, accounts: ServiceAccountCache
) -> None:
    """A pod must not get the identity of a deleted account."""
    kubernetes.delete("default/web")

    async def is_deleted() -> bool:
        try:
            await accounts.read_annotations("default", "web")
        except AccountNotFound:
            return True
        return False

    await eventually(is_deleted)
    kubernetes.put("default/web", {names.CLIENT_ID: "successor"})
    assert await accounts.read_annotations("default", "web") == {names.CLIENT_ID: "successor"}


async def test_account_deleted_during_a_watch_gap_is_removed(
    kubernetes: Kubernetes, accounts: ServiceAccountCache
) -> None:
    del kubernetes.accounts["default/web"]
    kubernetes.put("default/new", CLIENT, notify=False)
    kubernetes.expire()

    async def is_relisted() -> bool:
        kubernetes.reads.clear()
        await accounts.read_annotations("default", "new")
        return not kubernetes.reads

    await eventually(is_relisted)
    with pytest.raises(AccountNotFound):
        await accounts.read_annotations("default", "web")


@pytest.mark.parametrize("status", [401, 403])
async def test_cache_reads_accounts_live_while_watch_is_forbidden(
    kubernetes: Kubernetes, accounts: ServiceAccountCache, status: int
) -> None:
    """Without a watch, the cache could give pods an outdated identity."""
    kubernetes.unwatched = status
    kubernetes.status = status
    kubernetes.expire()
    stale = list[str]()
    accounts._on_lookup = stale.append

    async def in_doubt() -> bool:
        assert await accounts.read_annotations("default", "web") == CLIENT, (
            "the last known annotations, rather than no pod"
        )
        return stale[-1] == "stale"

    await eventually(in_doubt)
    kubernetes.status = 200
    kubernetes.put("default/web", {names.CLIENT_ID: "other"}, notify=False)
    assert await accounts.read_annotations("default", "web") == {names.CLIENT_ID: "other"}
    kubernetes.unwatched = 0

    async def is_watching() -> bool:
        kubernetes.reads.clear()
        await accounts.read_annotations("default", "web")
        return not kubernetes.reads

    await eventually(is_watching)


async def test_refused_read_differs_from_missing_account(
    kubernetes: Kubernetes, accounts: ServiceAccountCache
) -> None:
    kubernetes.status = 403
    with pytest.raises(AccountUnreadable) as caught:
        await accounts.read_annotations("default", "late")
    assert caught.value.status == 503
    assert "as the server says" in caught.value.message
    assert await accounts.read_annotations("default", "web") == CLIENT, (
        "a cached account is still found"
    )


async def test_broken_watch_falls_back_to_live_reads_and_restarts(
    kubernetes: Kubernetes, accounts: ServiceAccountCache
) -> None:
    """A cache that is not updated could give pods an identity long after its removal."""
    kubernetes._notify("ADDED", {"metadata": {"uid": "no name"}})

    async def reads_live() -> bool:
        await accounts.read_annotations("default", "web")
        return bool(kubernetes.reads)

    await eventually(reads_live)
    assert accounts.count == 0

    async def is_relisted() -> bool:
        return accounts.count == 2

    async with asyncio.timeout(10):
        await eventually(is_relisted)


@pytest.mark.parametrize(
    "name",
    [
        *("../../rich/serviceaccounts/web", "web?x=", "web/token", "..", ".", "", "Web"),
        *("web\n", "w%2Fb"),
    ],
)
async def test_invalid_account_name_is_not_requested(
    kubernetes: Kubernetes, accounts: ServiceAccountCache, name: str
) -> None:
    """The account name of a pod is not validated yet, and must not change the API path."""
    kubernetes.put("rich/web", CLIENT)
    for namespace, account in (("default", name), (name, "web")):
        with pytest.raises(AccountNotFound):
            await accounts.read_annotations(namespace, account)
    assert kubernetes.reads == []


async def test_only_metadata_is_requested(
    kubernetes: Kubernetes, accounts: ServiceAccountCache
) -> None:
    kubernetes.put("default/late", CLIENT, notify=False)
    await accounts.read_annotations("default", "late")
    assert len(kubernetes.accepts) >= 3
    assert all("as=PartialObjectMetadata" in accept for accept in kubernetes.accepts)


async def test_namespace_is_known_while_it_has_an_account(
    kubernetes: Kubernetes, accounts: ServiceAccountCache
) -> None:
    """The metrics use this: an invented namespace must not become a label."""
    kubernetes.put("shop/one", None)
    kubernetes.put("shop/two", None)

    async def is_known() -> bool:
        return accounts.count == 4

    await eventually(is_known)
    assert accounts.has_namespace("shop")
    assert not accounts.has_namespace("made-up")
    kubernetes.put("shop/two", CLIENT)
    kubernetes.delete("shop/one")
    kubernetes.delete("shop/two")

    async def is_removed() -> bool:
        return accounts.count == 2

    await eventually(is_removed)
    assert not accounts.has_namespace("shop")


async def test_each_lookup_reports_its_result(kubernetes: Kubernetes) -> None:
    results: list[str] = []
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with (
        serving(kubernetes.app, sock),
        KubeClient(target) as client,
        ServiceAccountCache(client, on_lookup=results.append) as accounts,
    ):
        await accounts.wait_ready()
        await accounts.read_annotations("default", "web")
        kubernetes.put("default/late", CLIENT, notify=False)
        await accounts.read_annotations("default", "late")
        with pytest.raises(AccountNotFound):
            await accounts.read_annotations("default", "missing")
        kubernetes.status = 500
        with pytest.raises(AccountUnreadable):
            await accounts.read_annotations("default", "missing")
    assert results == ["hit", "live", "missing", "unreadable"]


async def test_reason_for_missing_account_list_is_reported(kubernetes: Kubernetes) -> None:
    kubernetes.status = 403
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with (
        serving(kubernetes.app, sock),
        KubeClient(target) as client,
        ServiceAccountCache(client) as accounts,
        asyncio.timeout(10),
    ):
        assert "has not answered yet" in accounts.not_ready_reason()

        async def count_results() -> bool:
            return "as the server says" in accounts.not_ready_reason()

        await eventually(count_results)
        kubernetes.status = 200
        await accounts.wait_ready()
        assert accounts.not_ready_reason() == ""


async def test_silent_api_server_times_out_before_the_webhook_timeout(
    kubernetes: Kubernetes, accounts: ServiceAccountCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server waits ten seconds for a response; after a timeout the user sees no reason."""
    assert READ_SECONDS < 10
    monkeypatch.setattr(accounts_module, "READ_SECONDS", 0.05)
    kubernetes.silent = True
    with pytest.raises(AccountUnreadable, match=r"no answer within 0\.05 seconds"):
        await accounts.read_annotations("default", "late")
