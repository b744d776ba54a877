"""A minimal Kubernetes API server for the webhook, with any number of ServiceAccounts."""

import asyncio
import json
import socket
from typing import Any
from urllib.parse import parse_qs

from podpass.http.server import Receive, Scope, Send, respond

CLIENT = "azure.workload.identity/client-id"
_VERBS = ["get", "list", "watch"]
_RESOURCE = {
    "name": "serviceaccounts",
    "namespaced": True,
    "kind": "ServiceAccount",
    "verbs": _VERBS,
}
_DISCOVERY: dict[str, Any] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [_RESOURCE]},
}


class FakeApiServer:
    """Serves ServiceAccounts: the first is `default/sa`, the others are in two hundred namespaces."""

    def __init__(self, accounts: int, version: str = "v1.34.4") -> None:
        major, minor = version.removeprefix("v").split(".")[:2]
        about = {"major": major, "minor": minor, "gitVersion": version}
        self._discovery = {**_DISCOVERY, "/version": about}
        self.accounts = [_account(number) for number in range(accounts)]
        self._watches: set[asyncio.Queue[bytes | None]] = set()
        self._revision = accounts
        self.lists = 0

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond as an API server does; a list without a limit is returned in one page."""
        query = parse_qs(scope["query_string"].decode())
        if "watch" in query:
            await self._watch(receive, send)
        elif scope["path"] == "/api/v1/serviceaccounts":
            limit = int(query.get("limit", ["1000000"])[0])
            await respond(send, 200, self._page(limit, int(query.get("continue", ["0"])[0])))
        else:
            found = self._discovery.get(scope["path"])
            await respond(send, 200 if found else 404, json.dumps(found or {}).encode())

    def touch(self, number: int) -> None:
        """Change an account and send the change to all watches."""
        self._revision += 1
        account = self.accounts[number % len(self.accounts)]
        account["metadata"]["resourceVersion"] = str(self._revision)
        self._send_to_watches(json.dumps({"type": "MODIFIED", "object": account}).encode() + b"\n")

    def expire(self) -> None:
        """Send 410 Gone to every watch, so that its client lists again."""
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "metadata": {}}
        self._send_to_watches(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
        self._send_to_watches(None)

    def _send_to_watches(self, line: bytes | None) -> None:
        for watch in self._watches:
            watch.put_nowait(line)

    def _page(self, limit: int, begin: int) -> bytes:
        self.lists += begin == 0
        metadata = {"resourceVersion": str(self._revision)}
        if begin + limit < len(self.accounts):
            metadata["continue"] = str(begin + limit)
        kind = {"kind": "ServiceAccountList", "apiVersion": "v1"}
        items = self.accounts[begin : begin + limit]
        return json.dumps({**kind, "metadata": metadata, "items": items}).encode()

    async def _watch(self, receive: Receive, send: Send) -> None:
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watches.add(lines)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        gone = asyncio.create_task(_wait_for_disconnect(receive, lines))
        while (line := await lines.get()) is not None:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        self._watches.discard(lines)
        gone.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _wait_for_disconnect(receive: Receive, lines: "asyncio.Queue[bytes | None]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    lines.put_nowait(None)


def _account(number: int) -> dict[str, Any]:
    """Return an account as deployment tools create it, with annotations and managed fields."""
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {".": {}, f"f:{CLIENT}": {}}}}
    owner = {"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsV1": fields}
    return {
        "metadata": {
            "name": "sa" if number == 0 else f"account-{number:05}",
            "namespace": "default" if number == 0 else f"team-{number % 200:03}",
            "uid": f"{number:08}-aaaa-bbbb-cccc-dddddddddddd",
            "resourceVersion": str(number + 1),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {
                CLIENT: f"{number:08}-bbbb-cccc-dddd-eeeeeeeeeeee",
                "kubectl.kubernetes.io/last-applied-configuration": "x" * 300,
            },
            "managedFields": [owner],
        }
    }


def kubeconfig(sock: socket.socket) -> str:
    """Return a kubeconfig for the server that listens on this socket."""
    one = {"name": "bench"}
    cluster = {**one, "cluster": {"server": f"http://127.0.0.1:{sock.getsockname()[1]}"}}
    context = {**one, "context": {"cluster": "bench", "user": "bench"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "bench"}
    lists = {"clusters": [cluster], "contexts": [context], "users": [{**one, "user": {}}]}
    return json.dumps({**config, **lists})
