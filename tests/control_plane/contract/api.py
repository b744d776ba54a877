"""A client of one API server, embedded or real, with a namespace for each test."""

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.kubeconfigs import build_kubeconfig
from tests.kubeling.cluster import Reply, send

ADMIN, ALICE, NODE = "admin-token", "alice-token", "node-token"
NODE_NAME = "n1"
USERS = {
    ADMIN: ("admin", "system:masters"),
    ALICE: ("alice", "devs"),
    NODE: (f"system:node:{NODE_NAME}", "system:nodes"),
}
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
TIMEOUT_SECONDS = 20

_GROUPS = {
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "jobs": "/apis/batch/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
}


@dataclass(frozen=True, kw_only=True)
class ContractServer:
    """An API server that runs during all tests."""

    kind: str
    url: str
    ca_file: Path
    folder: Path

    @property
    def is_real(self) -> bool:
        return self.kind != "embedded"

    def kubeconfig(self, token: str = ADMIN) -> Path:
        path = self.folder / f"kubeconfig-{token}"
        trust = {"certificate-authority": str(self.ca_file)}
        config = build_kubeconfig(self.url, {"token": token}, namespace="default", **trust)
        path.write_text(yaml.safe_dump(config))
        return path


@dataclass(kw_only=True)
class Api:
    """The client of one test; `space` is the namespace of the test."""

    server: ContractServer
    session: aiohttp.ClientSession
    namespace: str = "default"

    def path(self, plural: str, name: str = "", sub: str = "") -> str:
        """Return the path of an object in the test's namespace."""
        root = f"{_GROUPS.get(plural, '/api/v1')}/namespaces/{self.namespace}/{plural}"
        return "/".join(part for part in (root, name, sub) if part)

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = ADMIN, **headers: str
    ) -> Reply:
        """Send one request; header names are given with underscores."""
        url = self.server.url + path
        return await send(self.session, method, url, body, token=token, **headers)

    async def create(self, plural: str, body: Any, query: str = "", **headers: str) -> Any:
        """Create an object, which must succeed, and return it."""
        reply = await self.call("POST", self.path(plural) + query, body, **headers)
        assert reply.status == 201, reply.text
        return reply.body

    async def get(self, path: str, **headers: str) -> Any:
        reply = await self.call("GET", path, **headers)
        assert reply.status == 200, reply.text
        return reply.body

    async def patch(self, path: str, body: Any, kind: str = MERGE, **how: Any) -> Reply:
        return await self.call("PATCH", path, body, content_type=kind, **how)

    async def apply(self, path: str, body: Any, manager: str, query: str = "") -> Reply:
        return await self.patch(f"{path}?fieldManager={manager}{query}", body, APPLY)

    async def wait_for(
        self, path: str, wanted: Callable[[Reply], bool], method: str = "GET", **how: Any
    ) -> Reply:
        """Repeat a request until the reply is as expected: RBAC, webhooks, controllers are asynchronous."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            reply = await self.call(method, path, **how)
            if wanted(reply):
                return reply
            assert time.monotonic() < deadline, reply.text
            await asyncio.sleep(0.05)

    async def watch(self, path: str, query: str, seconds: int = 1) -> list[Any]:
        """Return the events of one watch that the server ends."""
        joint = "&" if "?" in path else "?"
        reply = await self.call("GET", f"{path}{joint}watch=true&timeoutSeconds={seconds}{query}")
        assert reply.status == 200, reply.text
        return [json.loads(line) for line in reply.text.splitlines()]


def unique_name(prefix: str = "contract") -> str:
    """Return a unique name."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    """Return a pod that no scheduler binds, so only the test changes it."""
    container = {"name": "c", "image": "i"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"schedulerName": "none", "containers": [container], **spec},
    }


def config_map(name: str = "m", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(name: str = "d", replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    spec = {"schedulerName": "none", "containers": [{"name": "c", "image": "i"}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def check_refused(reply: Reply, status: int, reason: str, *fields: str) -> Any:
    """Check that a request was refused because of these fields, and return the Status."""
    assert reply.status == status, reply.text
    body = reply.body
    assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", status)
    assert body.get("reason") == reason, body
    if fields:
        causes = body.get("details", {}).get("causes", [])
        assert sorted({cause.get("field") for cause in causes}) == sorted(fields), causes
    return body
