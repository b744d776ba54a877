"""Webhooks for a test: real HTTPS servers, and configurations that select only the test's namespace."""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podpass.http.server import bind, read_body, respond, serving
from tests.control_plane.contract.api import Api, config_map, unique_name
from tests.kubeling.cluster import Reply
from tests.webhook_entries import build_entry, create_certificate

MUTATING = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
VALIDATING = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
BEACON = "beacon"

Answer = Callable[[Any], dict[str, Any]] | dict[str, Any]


def patch_response(*steps: dict[str, Any]) -> dict[str, Any]:
    """Return a response with a patch."""
    encoded = base64.b64encode(json.dumps(steps).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def label_response(name: str, value: str = "x") -> dict[str, Any]:
    """Return a response with a patch that sets a label; the objects of these tests have labels."""
    return patch_response({"op": "add", "path": f"/metadata/labels/{name}", "value": value})


@dataclass
class RecordingWebhook:
    """A webhook that records requests and returns a configured response."""

    url: str
    bundle: str
    answer: Answer
    seconds: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        review = json.loads(await read_body(receive, 1 << 22))
        self.asked.append(review["request"])
        self.queries.append(scope["query_string"].decode())
        await asyncio.sleep(self.seconds)
        answer = self.answer(review["request"]) if callable(self.answer) else self.answer
        response = {"uid": review["request"]["uid"], **answer}
        body = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
        await respond(
            send, 200, json.dumps(body).encode(), ((b"content-type", b"application/json"),)
        )


class Webhooks:
    """The webhooks of one test."""

    def __init__(self, api: Api, folder: Path, stack: AsyncExitStack) -> None:
        self._api, self._stack = api, stack
        self.bundle, self._tls = create_certificate(folder, "127.0.0.1")

    async def start(self, answer: Answer | None = None) -> RecordingWebhook:
        sock = bind("127.0.0.1", 0)
        url = f"https://127.0.0.1:{sock.getsockname()[1]}/hook"
        hook = RecordingWebhook(url, self.bundle, answer or {"allowed": True})
        await self._stack.enter_async_context(serving(hook.app, sock, self._tls))
        return hook

    def spec(self, url: str, name: str = "hook.example.com", **changes: Any) -> dict[str, Any]:
        """Return a webhook entry for the labelled ConfigMaps of this test."""
        selectors = {
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": self._api.namespace}
            },
            "objectSelector": {"matchLabels": {"hook": "yes"}},
        }
        client = {"url": url, "caBundle": self.bundle}
        return build_entry(name, client, "configmaps", **(selectors | changes))

    async def register(self, *specs: dict[str, Any], to: str = MUTATING) -> None:
        """Register webhooks and return when the server calls them."""
        reply = await self.try_to_register(*specs, to=to)
        assert reply.status == 201, reply.text

    async def try_to_register(self, *specs: dict[str, Any], to: str = MUTATING) -> Reply:
        """Register webhooks with a beacon, a webhook that shows when the server calls them."""
        seen = await self.start()
        only = {"matchLabels": {"hook": BEACON}}
        beacon = self.spec(seen.url, "beacon.example.com", objectSelector=only)
        name = unique_name("hooks")
        body = {"metadata": {"name": name}, "webhooks": [*specs, beacon]}
        reply = await self._api.call("POST", to, body)
        if reply.status == 201:
            self._stack.push_async_callback(self._api.call, "DELETE", f"{to}/{name}")
            probe = labelled_config_map("beacon", BEACON)
            path = self._api.path("configmaps") + "?dryRun=All"
            await self._api.wait_for(path, lambda _: bool(seen.asked), "POST", body=probe)
        return reply


def labelled_config_map(name: str = "m", hook: str = "yes") -> dict[str, Any]:
    """Return a ConfigMap for which the webhooks of a test are called."""
    body = config_map(name, a="b")
    body["metadata"]["labels"] = {"hook": hook}
    return body
