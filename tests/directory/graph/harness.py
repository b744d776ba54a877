"""A test harness for Graph of one tenant: requests over HTTP by callers with a valid token."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from podpass.directory.access import Caller, NotAdmitted, Reason
from podpass.directory.model import AuditEntry, Identity
from podpass.directory.store.directory import Directory
from tests.authority import ManualClock as ManualClock

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
OTHER = "0a7e6b0c-7e1d-4a57-8a7a-5f6c0a6e2f11"
DOMAIN = "contoso.example"
ADMIN = "7c1f0b54-6f0e-4d7e-9a0f-2b7a51e5d001"
GUEST = "7c1f0b54-6f0e-4d7e-9a0f-2b7a51e5d002"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
ISSUER = "https://eastus.oic.prod-aks.azure.com/t/c/"


@dataclass(frozen=True)
class Reply:
    """The response to a request."""

    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"]) if self.status >= 400 else ""

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])

    @property
    def value(self) -> list[dict[str, Any]]:
        assert self.status == 200, self.body
        return list(self.body["value"])


@dataclass
class Graph:
    """Graph of one tenant; the text of a token is the name of its caller."""

    clock: ManualClock
    directory: Directory
    session: aiohttp.ClientSession
    port: int = 0
    callers: dict[str, Caller] = field(default_factory=dict)

    async def admit(self, authorization: Sequence[str]) -> Caller:
        if not authorization:
            raise NotAdmitted("there is no token", reason=Reason.MISSING)
        name = authorization[0].removeprefix("Bearer ")
        if name in list(Reason):
            raise NotAdmitted("the token is not accepted", reason=Reason(name))
        return self.callers[name]

    def add_user(self, name: str, object_id: str, *wids: str, scopes: Sequence[str]) -> None:
        self.callers[name] = Caller(
            object_id=object_id,
            app_id=AZURE_CLI,
            tenant_id=TENANT,
            name=name,
            is_user=True,
            scopes=frozenset(scopes),
            wids=frozenset(wids),
        )

    def add_app(
        self, name: str, *roles: str, identity: Identity | None = None, **changes: Any
    ) -> Caller:
        values: dict[str, Any] = {
            "object_id": identity.object_id if identity else str(uuid.uuid4()),
            "app_id": identity.client_id if identity else str(uuid.uuid4()),
            "tenant_id": TENANT,
            "name": name,
            "roles": frozenset(roles),
        }
        self.callers[name] = Caller(**(values | changes))
        return self.callers[name]

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        caller: str | None = "admin",
        headers: dict[str, str] | None = None,
        version: str = "v1.0",
    ) -> Reply:
        """Send one request without changes."""
        sent = {"Host": "graph.microsoft.com", **(headers or {})}
        if caller is not None:
            sent["Authorization"] = f"Bearer {caller}"
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        url = URL(f"http://127.0.0.1:{self.port}/{version}{path}", encoded=True)
        async with self.session.request(method, url, headers=sent, data=data) as answer:
            content = await answer.read()
            is_json = answer.content_type == "application/json"
            read = orjson.loads(content) if content and is_json else content.decode() or None
            return Reply(answer.status, read, answer.headers)

    async def get(self, path: str, **how: Any) -> Reply:
        return await self.send("GET", path, **how)

    async def post(self, path: str, body: Any, **how: Any) -> Reply:
        return await self.send("POST", path, body, **how)

    async def patch(self, path: str, body: Any, **how: Any) -> Reply:
        return await self.send("PATCH", path, body, **how)

    async def delete(self, path: str, **how: Any) -> Reply:
        return await self.send("DELETE", path, **how)

    async def application(self, name: str = "web", *, caller: str = "admin", **members: Any) -> Any:
        reply = await self.post("/applications", {"displayName": name, **members}, caller=caller)
        assert reply.status == 201, reply.body
        return reply.body

    async def principal(self, app_id: str, **members: Any) -> Any:
        reply = await self.post("/servicePrincipals", {"appId": app_id, **members})
        assert reply.status == 201, reply.body
        return reply.body

    async def add_credential(self, application: Any, name: str = "pod", **changes: Any) -> Reply:
        body = {
            "name": name,
            "issuer": ISSUER,
            "subject": f"system:serviceaccount:default:{name}",
            "audiences": ["api://AzureADTokenExchange"],
        }
        path = f"/applications/{application['id']}/federatedIdentityCredentials"
        return await self.post(path, body | changes)

    async def managed(self, name: str = "web-mi") -> Identity:
        made = Identity(
            tenant_id=TENANT,
            client_id=str(uuid.uuid4()),
            object_id=str(uuid.uuid4()),
            name=name,
            resource_id=f"/subscriptions/s/resourcegroups/rg/providers/x/userAssignedIdentities/{name}",
        )
        await self.directory.identities.put(made)
        return made

    async def audited(self) -> list[AuditEntry]:
        return await self.directory.audit.list()


async def follow_pages(graph: Graph, path: str, **how: Any) -> list[list[dict[str, Any]]]:
    """Follow the next links, as clients do, and return the pages."""
    pages = []
    while path:
        reply = await graph.get(path, **how)
        pages.append(reply.value)
        link = reply.body.get("@odata.nextLink", "")
        path = ""
        if link:
            assert link.startswith("https://graph.microsoft.com/v1.0/")
            parts = urlsplit(link)
            path = f"{parts.path.removeprefix('/v1.0')}?{parts.query}"
        assert len(pages) < 50
    return pages
