"""The cache of accounts against an API server of a few lines: lists, watches, gaps, and live reads."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import pytest

from podpass import names
from podpass.admission import service_accounts as accounts_module
from podpass.admission.service_accounts import (
    READ_SECONDS,
    AccountNotFound,
    AccountUnreadable,
    ClusterAccounts,
)
from podpass.http.server import Receive, Scope, Send, bind, header, respond, serving
from podpass.kubernetes.client import KubeClient, Target

CLIENT = {names.CLIENT_ID: "client"}


class Kubernetes:
    """ServiceAccounts over HTTP: get, list and watch, and a count of single reads."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self.reads: list[str] = []
        self.status = 200
        self.silent = False
        self.unwatched = 0  # the answer to whoever wants to watch, if it is refused
        self.accepts: list[str] = []
        self._version = 1
        self._watches: set[asyncio.Queue[bytes | None]] = set()

    def put(self, key: str, annotations: dict[str, str] | None, *, tell: bool = True) -> None:
        namespace, _, name = key.partition("/")
        self._version += 1
        metadata = {"namespace": namespace, "name": name, "resourceVersion": str(self._version)}
        metadata |= {"uid": f"uid-{self._version}", "annotations": annotations}  # type: ignore[dict-item]
        kind = "MODIFIED" if key in self.accounts else "ADDED"
        self.accounts[key] = {"metadata": metadata}
        if tell:
            self._tell(kind, self.accounts[key])

    def delete(self, key: str) -> None:
        self._version += 1
        gone = self.accounts.pop(key)
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._tell("DELETED", gone)

    def expire(self) -> None:
        """Say to every watch that the history it follows is gone."""
        self._tell("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "metadata": {}})
        for watch in self._watches:
            watch.put_nowait(None)

    def _tell(self, kind: str, account: dict[str, Any]) -> None:
        line = json.dumps({"type": kind, "object": account}).encode() + b"\n"
        for watch in self._watches:
            watch.put_nowait(line)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode())
        namespace, plural, name = ["", "", *scope["path"].split("/")][-3:]
        self.accepts.append(header(scope, b"accept") or "")
        if self.silent:
            await asyncio.sleep(60)
        if "watch" in query and self.unwatched:
            await _status(send, self.unwatched)
        elif "watch" in query:
            await self._watch(receive, send)
        elif self.status != 200:
            await _status(send, self.status)
        elif name == "serviceaccounts":
            metadata = {"resourceVersion": str(self._version)}
            body = {"metadata": metadata, "items": list(self.accounts.values())}
            await respond(send, 200, json.dumps(body).encode())
        else:
            assert plural == "serviceaccounts"
            self.reads.append(f"{namespace}/{name}")
            found = self.accounts.get(f"{namespace}/{name}")
            if found is None:
                await _status(send, 404)
            else:
                await respond(send, 200, json.dumps(found).encode())

    async def _watch(self, receive: Receive, send: Send) -> None:
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watches.add(lines)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        gone = asyncio.create_task(_gone(receive, lines))
        while (line := await lines.get()) is not None:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        self._watches.discard(lines)
        gone.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive, lines: asyncio.Queue[bytes | None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    lines.put_nowait(None)


async def _status(send: Send, code: int) -> None:
    body = {
        "kind": "Status",
        "code": code,
        "reason": "Whatever",
        "message": "as told by the server",
    }
    await respond(send, code, json.dumps(body).encode())


@pytest.fixture
def kubernetes() -> Kubernetes:
    server = Kubernetes()
    server.put("default/web", CLIENT | {"example.com/other": "x" * 1000})
    server.put("default/plain", None)
    return server


@pytest.fixture
async def accounts(kubernetes: Kubernetes) -> AsyncIterator[ClusterAccounts]:
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with (
        serving(kubernetes.app, sock),
        KubeClient(target) as client,
        ClusterAccounts(client) as accounts,
    ):
        await accounts.wait_ready()
        yield accounts


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():  # noqa: ASYNC110 what is waited for is seen from outside only
        await asyncio.sleep(0.005)


async def test_listed_accounts_are_known_without_asking_again(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    assert accounts.ready
    assert await accounts.annotations("default", "web") == CLIENT, "only what counts is kept"
    assert await accounts.annotations("default", "plain") == {}
    assert kubernetes.reads == []


async def test_a_change_arrives_by_the_watch(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    kubernetes.put("default/web", {names.CLIENT_ID: "other"})

    async def changed() -> bool:
        return (await accounts.annotations("default", "web")) == {names.CLIENT_ID: "other"}

    await _until(changed)
    assert kubernetes.reads == []


async def test_an_account_the_watch_has_not_told_of_yet_is_read_live(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    with pytest.raises(AccountNotFound) as caught:
        await accounts.annotations("default", "late")
    assert caught.value.facts == {"namespace": "default", "account": "late"}
    kubernetes.put("default/late", CLIENT, tell=False)
    assert await accounts.annotations("default", "late") == CLIENT
    assert kubernetes.reads == ["default/late"] * 2


async def test_a_deleted_account_is_unknown_and_its_successor_is_taken(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    """A pod must not get the identity of an account that is gone."""
    kubernetes.delete("default/web")

    async def gone() -> bool:
        try:
            await accounts.annotations("default", "web")
        except AccountNotFound:
            return True
        return False

    await _until(gone)
    kubernetes.put("default/web", {names.CLIENT_ID: "successor"})
    assert await accounts.annotations("default", "web") == {names.CLIENT_ID: "successor"}


async def test_an_account_deleted_in_a_gap_of_the_watch_is_forgotten(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    del kubernetes.accounts["default/web"]
    kubernetes.put("default/new", CLIENT, tell=False)
    kubernetes.expire()

    async def listed_anew() -> bool:
        kubernetes.reads.clear()
        await accounts.annotations("default", "new")
        return not kubernetes.reads

    await _until(listed_anew)
    with pytest.raises(AccountNotFound):
        await accounts.annotations("default", "web")


@pytest.mark.parametrize("status", [401, 403])
async def test_whoever_may_not_watch_reads_each_account_until_he_may(
    kubernetes: Kubernetes, accounts: ClusterAccounts, status: int
) -> None:
    """A cache that hears of no change would give pods an identity that was taken from them."""
    kubernetes.unwatched = status
    kubernetes.status = status
    kubernetes.expire()
    stale = list[str]()
    accounts._asked = stale.append

    async def in_doubt() -> bool:
        assert await accounts.annotations("default", "web") == CLIENT, "better than no pod at all"
        return stale[-1] == "stale"

    await _until(in_doubt)
    kubernetes.status = 200
    kubernetes.put("default/web", {names.CLIENT_ID: "other"}, tell=False)
    assert await accounts.annotations("default", "web") == {names.CLIENT_ID: "other"}
    kubernetes.unwatched = 0

    async def followed_again() -> bool:
        kubernetes.reads.clear()
        await accounts.annotations("default", "web")
        return not kubernetes.reads

    await _until(followed_again)


async def test_an_api_server_that_refuses_is_told_apart_from_a_missing_account(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    kubernetes.status = 403
    with pytest.raises(AccountUnreadable) as caught:
        await accounts.annotations("default", "late")
    assert caught.value.status == 503
    assert "as told by the server" in caught.value.message
    assert await accounts.annotations("default", "web") == CLIENT, "what is known still serves"


async def test_a_watch_that_breaks_leaves_live_reads_and_begins_anew(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    """A cache that nothing renews would serve an identity long after it was taken away."""
    kubernetes._tell("ADDED", {"metadata": {"uid": "no name"}})

    async def reads_live() -> bool:
        await accounts.annotations("default", "web")
        return bool(kubernetes.reads)

    await _until(reads_live)
    assert accounts.count == 0

    async def listed_anew() -> bool:
        return accounts.count == 2

    async with asyncio.timeout(10):
        await _until(listed_anew)


@pytest.mark.parametrize(
    "name",
    [
        "../../rich/serviceaccounts/web",
        "web?x=",
        "web/token",
        "..",
        ".",
        "",
        "Web",
        "web\n",
        "w%2Fb",
    ],
)
async def test_a_name_that_is_none_is_not_asked_for(
    kubernetes: Kubernetes, accounts: ClusterAccounts, name: str
) -> None:
    """A pod's word on its account is unchecked here, and must not choose another path of the API."""
    kubernetes.put("rich/web", CLIENT)
    for namespace, account in (("default", name), (name, "web")):
        with pytest.raises(AccountNotFound):
            await accounts.annotations(namespace, account)
    assert kubernetes.reads == []


async def test_only_metadata_is_asked_for(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    kubernetes.put("default/late", CLIENT, tell=False)
    await accounts.annotations("default", "late")
    assert len(kubernetes.accepts) >= 3
    assert all("as=PartialObjectMetadata" in accept for accept in kubernetes.accepts)


async def test_namespaces_are_known_while_they_hold_an_account(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    """Whoever counts by namespace asks: a name that somebody made up is none."""
    kubernetes.put("shop/one", None)
    kubernetes.put("shop/two", None)

    async def known() -> bool:
        return accounts.count == 4

    await _until(known)
    assert accounts.has_namespace("shop")
    assert not accounts.has_namespace("made-up")
    kubernetes.put("shop/two", CLIENT)
    kubernetes.delete("shop/one")
    kubernetes.delete("shop/two")

    async def forgotten() -> bool:
        return accounts.count == 2

    await _until(forgotten)
    assert not accounts.has_namespace("shop")


async def test_each_answer_is_told_by_how_it_was_found(kubernetes: Kubernetes) -> None:
    told: list[str] = []
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with (
        serving(kubernetes.app, sock),
        KubeClient(target) as client,
        ClusterAccounts(client, asked=told.append) as accounts,
    ):
        await accounts.wait_ready()
        await accounts.annotations("default", "web")
        kubernetes.put("default/late", CLIENT, tell=False)
        await accounts.annotations("default", "late")
        with pytest.raises(AccountNotFound):
            await accounts.annotations("default", "nobody")
        kubernetes.status = 500
        with pytest.raises(AccountUnreadable):
            await accounts.annotations("default", "nobody")
    assert told == ["hit", "live", "missing", "unreadable"]


async def test_why_accounts_are_not_listed_is_told(kubernetes: Kubernetes) -> None:
    kubernetes.status = 403
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with (
        serving(kubernetes.app, sock),
        KubeClient(target) as client,
        ClusterAccounts(client) as accounts,
        asyncio.timeout(10),
    ):
        assert "has not answered yet" in accounts.trouble()

        async def told() -> bool:
            return "as told by the server" in accounts.trouble()

        await _until(told)
        kubernetes.status = 200
        await accounts.wait_ready()
        assert accounts.trouble() == ""


async def test_an_api_server_that_says_nothing_is_not_waited_for_until_it_gives_up_on_us(
    kubernetes: Kubernetes, accounts: ClusterAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits ten seconds for a verdict, and shows its user no reason if none comes."""
    assert READ_SECONDS < 10
    monkeypatch.setattr(accounts_module, "READ_SECONDS", 0.05)
    kubernetes.silent = True
    with pytest.raises(AccountUnreadable, match=r"no answer within 0\.05 seconds"):
        await accounts.annotations("default", "late")
