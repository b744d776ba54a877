"""A webhook server for tests, which records its requests."""

import asyncio
import base64
import json
from typing import Any

from kubeling.asgi import read_body, respond

PODS = "/api/v1/namespaces/default/pods"
LABELLED = {"hook": "yes"}
JSON = ((b"content-type", b"application/json"),)


def pod(name: str = "p", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": LABELLED, **metadata},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def annotate(name: str, value: str = "x") -> dict[str, Any]:
    return {"op": "add", "path": "/metadata/annotations", "value": {name: value}}


class WebhookServer:
    """A webhook that records each AdmissionRequest and returns the configured response."""

    def __init__(self, url: str, bundle: str) -> None:
        self.url, self.bundle = url, bundle
        self.requests: list[dict[str, Any]] = []
        self.response: Any = {"allowed": True}
        self.barrier: asyncio.Barrier | None = None
        self.status, self.seconds, self.uid, self.location = 200, 0.0, "", ""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        review = json.loads(await read_body(receive, 1 << 22))
        self.requests.append(review["request"] | {"query": scope["query_string"].decode()})
        if self.barrier is not None:
            async with asyncio.timeout(5):
                await self.barrier.wait()
        await asyncio.sleep(self.seconds)
        if self.location:
            await respond(scope, send, 307, b"", ((b"location", self.location.encode()),))
            return
        response = self.response
        if callable(response):
            response = response(review["request"])
        if isinstance(response, dict):
            response = {"uid": self.uid or review["request"]["uid"], **response}
        body = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
        await respond(scope, send, self.status, json.dumps(body).encode(), JSON)

    def spec(self, name: str = "h.example.com", **changes: Any) -> dict[str, Any]:
        rule = {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["pods"],
        }
        return {
            "name": name,
            "clientConfig": {"url": self.url, "caBundle": self.bundle},
            "rules": [rule],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1", "v1beta1"],
            "objectSelector": {"matchLabels": LABELLED},
            **changes,
        }
