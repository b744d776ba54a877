"""An embedded Kubernetes API over TLS, replicas with the chart's permissions, and a strict TLS client."""

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from kubeling.cluster import EmbeddedCluster, UserInfo

from podpass import names
from podpass.admission.certificates import CertificateRotator, RotationPolicy
from podpass.crypto.secret import Secret
from podpass.http.server import Receive, Scope, Send, bind, respond, serving
from podpass.kubernetes.client import KubeClient, KubeError, Target
from tests.webhook_entries import build_entry

NAMESPACE = names.SYSTEM_NAMESPACE
HOST = f"{names.WEBHOOK_SERVICE}.{NAMESPACE}.svc"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
SECRET = f"{SECRETS}/{names.CERTIFICATE_SECRET}"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
MAIN = names.WEBHOOK_CONFIGURATION
SECOND = "azure-wi-webhook-warnings"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
USERS = {
    "admin-token": UserInfo(name="admin", uid="admin", groups=("system:masters",)),
    "webhook-token": UserInfo(name="webhook", uid="webhook", groups=()),
}
# The chart's permissions: one Secret by name, `create` for Secrets, and the reference's on configurations.
RULES: dict[str, list[dict[str, Any]]] = {
    "secrets": [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [names.CERTIFICATE_SECRET],
            "verbs": ["get", "update", "watch"],
        },
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    ],
    "configurations": [
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations"],
            "verbs": ["get", "update", "watch"],
        }
    ],
}
FAST = RotationPolicy(propagation_seconds=0.4, overlap_seconds=12, check_seconds=0.2)


class ManualClock:
    """The system clock plus an offset that tests set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass(kw_only=True)
class Replica:
    """A CertificateRotator, and the port that serves its certificate."""

    rotation: CertificateRotator
    port: int
    end: AsyncExitStack


@dataclass(kw_only=True)
class Lab:
    """A cluster, its administrator client, and the replicas that tests started."""

    server: str
    tls: ssl.SSLContext
    clock: ManualClock
    admin: KubeClient
    stack: AsyncExitStack
    cluster: EmbeddedCluster
    api_server: AsyncExitStack
    server_tls: ssl.SSLContext
    replicas: list[Replica] = field(default_factory=list)

    def client(self, token: str = "webhook-token") -> KubeClient:
        return KubeClient(Target(server=self.server, tls=self.tls, token=Secret(token)))

    async def replica(
        self,
        *,
        policy: RotationPolicy = FAST,
        configurations: tuple[str, ...] = (MAIN,),
        clock: Callable[[], float] | None = None,
    ) -> Replica:
        """Start a replica with the webhook's permissions, and serve its certificate."""
        end = await self.stack.enter_async_context(AsyncExitStack())
        client = await end.enter_async_context(self.client())
        rotation = CertificateRotator(
            client,
            namespace=NAMESPACE,
            configurations=configurations,
            clock=clock or self.clock,
            tls_min_version="1.3",
            policy=policy,
        )
        await end.enter_async_context(rotation)
        sock = bind("127.0.0.1", 0)
        port = int(sock.getsockname()[1])
        await end.enter_async_context(serving(_app, sock, rotation.context))
        made = Replica(rotation=rotation, port=port, end=end)
        self.replicas.append(made)
        return made

    async def stop_api_server(self) -> None:
        """Stop the API server: it accepts no connections."""
        self.cluster.drain()
        await self.api_server.aclose()

    async def start_api_server(self) -> None:
        self.cluster._watches._stopping = False  # type: ignore[union-attr]  # as in a new process
        self.api_server = await self.stack.enter_async_context(AsyncExitStack())
        sock = bind("127.0.0.1", int(self.server.rpartition(":")[2]))
        await self.api_server.enter_async_context(serving(self.cluster.app, sock, self.server_tls))
        self.stack.callback(self.cluster.drain)

    async def data(self) -> dict[str, bytes]:
        secret = await self.admin.get(SECRET)
        return {k: base64.b64decode(v) for k, v in (secret.get("data") or {}).items()}

    async def write_secret(self, data: dict[str, bytes]) -> None:
        """Overwrite the contents of the Secret."""
        encoded = {k: base64.b64encode(v).decode() for k, v in data.items()}
        about = {"name": names.CERTIFICATE_SECRET}
        await self.admin.replace(SECRET, {"metadata": about, "data": encoded})

    async def bundles(self, name: str = MAIN) -> list[str]:
        found = await self.admin.get(f"{CONFIGURATIONS}/{name}")
        pems = [hook["clientConfig"].get("caBundle") or "" for hook in found["webhooks"]]
        return [base64.b64decode(pem).decode() for pem in pems]

    async def overwrite_bundles(self, pem: bytes, name: str = MAIN) -> None:
        """Overwrite every caBundle of a configuration, like a user or another program."""
        while True:
            found = await self.admin.get(f"{CONFIGURATIONS}/{name}")
            for hook in found["webhooks"]:
                hook["clientConfig"]["caBundle"] = base64.b64encode(pem).decode()
            try:
                await self.admin.replace(f"{CONFIGURATIONS}/{name}", found)
            except KubeError as exc:
                assert exc.status == 409
                continue
            return

    async def grant(self, part: str, rules: list[dict[str, Any]]) -> None:
        """Set the webhook's permissions in its namespace or for configurations."""
        where = f"{RBAC}/namespaces/{NAMESPACE}/roles"
        if part == "configurations":
            where = f"{RBAC}/clusterroles"
        found = await self.admin.get(f"{where}/webhook-{part}")
        await self.admin.replace(f"{where}/webhook-{part}", {**found, "rules": rules})


async def _app(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, 200, b"{}")


async def handshake(port: int, bundle: str) -> bytes:
    """Connect like an API server that trusts only the bundle; return the certificate as DER.

    Raises ssl.SSLError, ValueError for a bundle without certificates.
    """
    trust = ssl.create_default_context(cadata=bundle)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trust, server_hostname=HOST
    )
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def configuration(name: str = MAIN, hooks: int = 1) -> dict[str, Any]:
    """Build a configuration like the chart, with several entries."""
    service = {"name": names.WEBHOOK_SERVICE, "namespace": NAMESPACE, "path": names.WEBHOOK_PATH}
    changes = {
        "admissionReviewVersions": ["v1", "v1beta1"],
        "failurePolicy": "Fail",
        "objectSelector": {"matchLabels": {names.USE_LABEL: "true"}},
    }
    named = [
        build_entry(f"n{at}.{names.WEBHOOK_NAME}", {"service": service}, "pods", **changes)
        for at in range(hooks)
    ]
    return {"metadata": {"name": name, "labels": {"app": "here"}}, "webhooks": named}
