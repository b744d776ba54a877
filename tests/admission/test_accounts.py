"""The cache of accounts against an API server of a few lines: lists, watches, gaps, and live reads."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import pytest

from podpass import names
from podpass.admission.accounts import AccountNotFound, AccountUnreadable, ClusterAccounts
from podpass.kube import KubeClient, Target
from podpass.serve import Receive, Scope, Send, bind, respond, serving

CLIENT = {names.CLIENT_ID: "client"}


class Kubernetes:
    """ServiceAccounts over HTTP: get, list and watch, and a count of single reads."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self.reads: list[str] = []
        self.status = 200
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
        if "watch" in query:
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


async def test_an_api_server_that_refuses_is_told_apart_from_a_missing_account(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    kubernetes.status = 403
    with pytest.raises(AccountUnreadable) as caught:
        await accounts.annotations("default", "late")
    assert caught.value.status == 503
    assert "as told by the server" in caught.value.message
    assert await accounts.annotations("default", "web") == CLIENT, "what is known still serves"


async def test_a_watch_that_breaks_leaves_live_reads(
    kubernetes: Kubernetes, accounts: ClusterAccounts
) -> None:
    """A cache that nothing renews would serve an identity long after it was taken away."""
    kubernetes._tell("ADDED", {"metadata": {"uid": "no name"}})

    async def reads_live() -> bool:
        await accounts.annotations("default", "web")
        return bool(kubernetes.reads)

    await _until(reads_live)


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
