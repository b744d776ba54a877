"""A test harness for Resource Manager: callers by name, and a fake cluster that records its calls."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from yarl import URL

from podpass.directory.access import Caller, NotAdmitted, Reason
from podpass.directory.model import Identity, IdentityKind, RoleAssignment
from podpass.directory.resource_manager import errors
from podpass.directory.resource_manager.model import SubscriptionContext
from podpass.directory.store.directory import Directory
from podpass.errors import Error
from podpass.lab.cluster.backend import ClusterCommand, ClusterOperationRefused, ConnectionObjects
from tests.authority import ManualClock as ManualClock

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
SUB = f"/subscriptions/{SUBSCRIPTION}"
ADMIN = "11111111-1111-4111-8111-111111111111"
ISSUER = "https://eastus.oic.prod-aks.azure.com/tenant/cluster/"


class DiskFull(Error):
    """A failure of a rotation, with a message for users."""

    code = "disk_full"


class FakeCluster:
    """A cluster that records its calls and can be made to fail."""

    issuer = ISSUER
    kubernetes_version = "1.33.2"

    def __init__(self) -> None:
        self.workload_identity = True
        self.switched: list[bool] = []
        self.broken = False
        self.written: list[ConnectionObjects] = []
        self.refusal: ClusterOperationRefused | None = None
        self.rotations: list[str] = []
        self.commands: list[tuple[str, str]] = []
        self.signs_at = 0.0
        self.rotated = asyncio.Event()
        self.rotated.set()

    async def run_command(self, command: str, token: str) -> str:
        self.check_rotation()
        self.commands.append((command, token))
        return "0" * 32

    async def command_result(self, command_id: str) -> ClusterCommand | None:
        return (
            ClusterCommand(state="Running", started="2026-12-01T00:00:00Z")
            if int(command_id) == 0
            else None
        )

    def check_rotation(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def rotate_signing_keys(self) -> float:
        self.rotations.append("keys")
        return self.signs_at

    def begin_certificate_rotation(self) -> Coroutine[Any, Any, None]:
        self.rotations.append("certificates")
        return self._rotate()

    async def _rotate(self) -> None:
        await self.rotated.wait()
        if self.broken:
            raise DiskFull("the disk is full")

    def kubeconfig(self, name: str, user: str, *, entra: bool) -> bytes:
        return f"clusters: [{{name: {name}}}]\nuser: {user}\nentra: {entra}\n".encode()

    async def set_workload_identity(self, on: bool) -> None:
        if self.broken:
            raise RuntimeError("the API server is down")
        self.switched.append(on)
        self.workload_identity = on

    @asynccontextmanager
    async def connection_written(self, objects: ConnectionObjects) -> AsyncIterator[None]:
        if self.broken:
            raise errors.conflict("SecretExists", "The Secret exists.")
        self.written.append(objects)
        try:
            yield
        except BaseException:
            self.written.remove(objects)
            raise


@dataclass
class ManagerHarness:
    """One instance of Resource Manager and its callers."""

    clock: ManualClock
    cluster: FakeCluster
    directory: Directory
    port: int
    session: aiohttp.ClientSession
    subscription: SubscriptionContext
    callers: dict[str, Caller] = field(default_factory=dict)

    async def admit(self, values: Sequence[str]) -> Caller:
        """Accept the name of a caller as a token; reject the name of a reason for that reason."""
        if len(values) != 1:
            raise NotAdmitted("there is no token", reason=Reason.MISSING)
        name = values[0].removeprefix("Bearer ")
        if name == "forged":
            raise NotAdmitted('audience "x"\r\nX-Forged: é', reason=Reason.AUDIENCE)
        if name in list(Reason):
            raise NotAdmitted(f"the token is refused: {name}", reason=Reason(name))
        return self.callers[name]

    async def add_caller(self, name: str, role: str | None = None, scope: str = SUB) -> Identity:
        """Add a caller, a service principal, with a role at a scope or without a role."""
        made = Identity(
            tenant_id=TENANT,
            client_id=str(uuid.uuid4()),
            object_id=str(uuid.uuid4()),
            name=name,
            kind=IdentityKind.APPLICATION,
            application_id=str(uuid.uuid4()),
        )
        await self.directory.identities.put(made)
        if role is not None:
            await self.directory.assign_role(
                RoleAssignment(scope=scope, principal_id=made.object_id, role=role)
            )
        self.callers[name] = Caller(
            object_id=made.object_id, app_id=made.client_id, tenant_id=TENANT, name=name
        )
        return made

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        caller: str | None = "admin",
        version: str | None = "2024-11-01",
        host: str = "management.azure.com",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, Any]:
        """Send one request without changes; return status, JSON and headers."""
        sent = {"Host": host, **(headers or {})}
        if caller is not None:
            sent["Authorization"] = f"Bearer {caller}"
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        if version is not None:
            path += ("&" if "?" in path else "?") + f"api-version={version}"
        # The URL is already encoded: yarl would correct the URLs that are invalid on purpose.
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.session.request(method, url, headers=sent, data=data) as answer:
            content = await answer.read()
            return answer.status, orjson.loads(content) if content else None, answer.headers

    async def refused(self, method: str, path: str, body: Any = None, **how: Any) -> str:
        """Send one request; return the status and the code of its error."""
        status, answer, _ = await self.send(method, path, body, **how)
        return f"{status} {answer['error']['code']}"

    async def pages(self, path: str) -> list[list[str]]:
        """Follow the pages of a list; return the names on each page."""
        status, body, _ = await self.send("GET", path)
        found = [[one["name"] for one in body["value"]]]
        while status == 200 and "nextLink" in body:
            following = body["nextLink"].removeprefix("https://management.azure.com")
            status, body, _ = await self.send("GET", following, version=None)
            found.append([one["name"] for one in body["value"]])
        assert status == 200
        return found

    async def group(self, name: str = "rg", **body: Any) -> str:
        """Create a resource group; return its id."""
        path = f"{SUB}/resourcegroups/{name}"
        status, made, _ = await self.send("PUT", path, {"location": "eastus", **body})
        assert status in (200, 201)
        return str(made["id"])

    async def identity(self, name: str = "web", group: str = "rg", **body: Any) -> dict[str, Any]:
        """Create a managed identity in an existing group; return it."""
        path = f"{SUB}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity"
        path += f"/userAssignedIdentities/{name}"
        status, made, _ = await self.send("PUT", path, {"location": "eastus", **body})
        assert status in (200, 201), made
        assert isinstance(made, dict)
        return made

    async def vault(self, name: str = "demo-vault", group: str = "rg", **more: Any) -> str:
        """Create a vault in an existing group; return its id."""
        path = f"{SUB}/resourceGroups/{group}/providers/Microsoft.KeyVault/vaults/{name}"
        properties = {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}, **more}
        status, made, _ = await self.send(
            "PUT", path, {"location": "eastus", "properties": properties}
        )
        assert status in (200, 201), made
        return str(made["id"])
