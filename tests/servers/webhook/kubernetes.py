"""A small API server in its own thread, with any number of accounts; it can refuse requests or stop."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from podpass.http.server import Receive, Scope, Send, bind, respond, serving
from tests.kubeconfigs import build_kubeconfig
from tests.watches import Watches, respond_status

CLIENT = "azure.workload.identity/client-id"


class Kubernetes:
    """`/version` and ServiceAccounts: get, list by pages, watch; started and stopped on one port."""

    def __init__(self, folder: Path, accounts: int = 1, namespaces: int = 1) -> None:
        self.version = "v1.34.4"
        self.forbidden = False  # to list and watch
        self.reads = 0
        self.lists = 0
        self.accounts: dict[str, dict[str, Any]] = {}
        self._namespaces = namespaces
        self._number = 0
        self._watches = Watches()
        for number in range(accounts):
            self._create_account(number)
        sock = bind("127.0.0.1", 0)
        self._port = sock.getsockname()[1]
        sock.close()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(build_kubeconfig(f"http://127.0.0.1:{self._port}")))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def key(self, number: int) -> str:
        return f"team-{number % self._namespaces}/account-{number}"

    def _create_account(self, number: int) -> dict[str, Any]:
        namespace, _, name = self.key(number).partition("/")
        self._number += 1
        about = {"namespace": namespace, "name": name, "uid": f"uid-{number}"}
        about |= {"resourceVersion": str(self._number)}
        # As much metadata as tools write to real objects.
        notes = {
            CLIENT: f"{self._number:08}-bbbb-cccc-dddd-eeeeeeeeeeee",
            "example.com/n": "x" * 400,
        }
        owned = {"manager": "kubectl", "fieldsV1": {"f:metadata": {"f:annotations": {}}}}
        account = {"metadata": {**about, "annotations": notes, "managedFields": [owned]}}
        self.accounts[self.key(number)] = account
        return account

    # ----------------------------------------------------------------------------------------- test API

    def start(self) -> None:
        begun = threading.Event()

        async def live() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            async with serving(self._app, bind("127.0.0.1", self._port)):
                begun.set()
                await self._stop.wait()
                self._watches.notify(None)

        self._thread = threading.Thread(target=asyncio.run, args=(live(),))
        self._thread.start()
        assert begun.wait(10)

    def stop(self) -> None:
        if self._thread is not None and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)
            self._thread = None

    def change(self, number: int) -> str:
        """Change the client ID of an account, notify the watches, and return the ID."""
        account = self._create_account(number)
        self._notify(json.dumps({"type": "MODIFIED", "object": account}).encode() + b"\n")
        return str(account["metadata"]["annotations"][CLIENT])

    def expire(self) -> None:
        """Notify every watch that its history has expired, so that it lists again."""
        closed = {"kind": "Status", "code": 410, "reason": "Expired", "metadata": {}}
        self._notify(json.dumps({"type": "ERROR", "object": closed}).encode() + b"\n")
        self._notify(None)

    def _notify(self, line: bytes | None) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._watches.notify, line)

    # ----------------------------------------------------------------------------- event-loop callbacks

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode())
        parts = scope["path"].strip("/").split("/")
        if scope["path"] == "/version":
            await respond(send, 200, json.dumps({"gitVersion": self.version}).encode())
        elif self.forbidden and parts[-1] == "serviceaccounts":
            await respond_status(send, 403)
        elif "watch" in query:
            await self._watches.serve(receive, send)
        elif parts[-1] == "serviceaccounts":
            await self._list(send, int(query["limit"][0]), int(query.get("continue", ["0"])[0]))
        else:
            self.reads += 1
            found = self.accounts.get(f"{parts[3]}/{parts[5]}")
            if found is None:
                await respond_status(send, 404)
            else:
                await respond(send, 200, json.dumps(found).encode())

    async def _list(self, send: Send, limit: int, begin: int) -> None:
        self.lists += begin == 0
        items = list(self.accounts.values())
        about = {"resourceVersion": str(self._number)}
        if begin + limit < len(items):
            about["continue"] = str(begin + limit)
        body = {"metadata": about, "items": items[begin : begin + limit]}
        await respond(send, 200, json.dumps(body).encode())
