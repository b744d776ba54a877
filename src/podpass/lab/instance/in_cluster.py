"""What the cloud half serves to its cluster besides Azure: the resolver of its names, and the CA for pods."""

import asyncio
import base64
import ipaddress
import logging
import socket
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podpass.clock import Clock
from podpass.errors import Error
from podpass.http.server import serving
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.gateway import gateway
from podpass.lab.instance import webhook_certificate
from podpass.lab.names import bundles
from podpass.lab.names.injection import BundleNames
from podpass.lab.names.pod_dns import PodDns
from podpass.lab.names.publisher import BundlePublisher
from podpass.lab.names.resolver import CloudResolver, HostExists, LookUp, Upstream, run_resolver
from podpass.lab.names.trust_folder import read_public_roots
from podpass.lab.names.trust_objects import CONFIGURATION, CONFIGURATION_PATH
from podpass.lab.names.webhook import create_app
from podpass.servers.file_limits import shared_limits
from podpass.tasks import background_task

_log = logging.getLogger(__name__)

_NOT_FOUND = 404
_DEFAULT_DOMAIN = "cluster.local"
# Pods look up Services also as NAME.NAMESPACE.svc, and addresses by the reverse zones.
_CLUSTER_NAMES = ("svc", "in-addr.arpa", "ip6.arpa")
_RECONCILE_SECONDS = 30.0


class NoServiceAddress(Error):
    """The Service of the cloud cannot be read, or has no address."""

    code = "cloud_service"
    hint = "run `podpass cloud install` again, which creates it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSockets:
    """The listening sockets for the pods and for the API server."""

    dns_udp: socket.socket
    dns_tcp: socket.socket
    webhook: socket.socket


class ClusterServices:
    """The resolver and the trust webhook of one cloud, behind one Service of its namespace."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        service: str,
        *,
        ca: bytes,
        served: Collection[str] = gateway.SERVED_NAMES,
        upstream: Upstream | None,
        clock: Clock,
    ) -> None:
        self._client = client
        self._namespace, self._service = namespace, service
        self._ca, self._clock = ca, clock
        self._served, self._upstream = served, upstream

    async def start(
        self,
        stack: AsyncExitStack,
        sockets: ClusterSockets,
        host_exists: HostExists,
        look_up: LookUp,
    ) -> str:
        """Start both; each started part is pushed on the exit stack. Return the address of the Service.

        Raises NoServiceAddress, NoPublicRoots, BadBundle, KubeError.
        """
        addresses = await self._read_addresses()
        upstream, domain = self._upstream, read_cluster_domain()
        resolver = CloudResolver(
            self._served,
            addresses,
            host_exists=host_exists,
            look_up=look_up,
            reserved=[domain, *_CLUSTER_NAMES],
            upstream=upstream,
        )
        await stack.enter_async_context(run_resolver(resolver, sockets.dns_udp, sockets.dns_tcp))
        host = f"{self._service}.{self._namespace}.svc"
        certificate = webhook_certificate.create(host, self._clock())
        names = BundleNames()
        publisher = BundlePublisher(
            self._client, names, bundles.build(read_public_roots(), self._ca), self._namespace
        )
        dns = PodDns(resolver=str(addresses[0]), domain=domain) if upstream else None
        app = create_app(names, publisher.ensure, dns=dns)
        await stack.enter_async_context(
            serving(app, sockets.webhook, certificate.tls, limits=shared_limits())
        )
        await self._register(certificate.pem)
        work = self._keep_registered(certificate.pem)
        await stack.enter_async_context(background_task(work, "trust webhook"))
        return ", ".join(map(str, addresses))

    async def _read_addresses(self) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        path = f"/api/v1/namespaces/{self._namespace}/services/{self._service}"
        try:
            spec: Mapping[str, Any] = (await self._client.get(path)).get("spec") or {}
            found = spec.get("clusterIPs") or [spec.get("clusterIP")]
            return [ipaddress.ip_address(str(each)) for each in found]
        except (KubeError, ValueError) as exc:
            name = f"{self._namespace}/{self._service}"
            raise NoServiceAddress(f"Service {name} has no usable address: {exc}") from exc

    async def _register(self, pem: bytes) -> None:
        """Write the certificate into the registration of the webhook, if there is one. Raises KubeError."""
        try:
            found = await self._client.get(CONFIGURATION_PATH)
        except KubeError as exc:
            if exc.status == _NOT_FOUND:
                return
            raise
        bundle = base64.b64encode(pem).decode()
        hooks = found.get("webhooks") or []
        if all(each["clientConfig"].get("caBundle") == bundle for each in hooks):
            return
        for each in hooks:
            each["clientConfig"]["caBundle"] = bundle
        await self._client.replace(CONFIGURATION_PATH, found)
        _log.info("trust_webhook_registered", extra={"configuration": CONFIGURATION})

    async def _keep_registered(self, pem: bytes) -> None:
        while True:
            await asyncio.sleep(_RECONCILE_SECONDS)
            try:
                await self._register(pem)
            except Error as exc:
                _log.warning("trust_webhook_register_failed", extra={"cause": exc.message})


def read_cluster_domain(path: Path = Path("/etc/resolv.conf")) -> str:
    """Return the domain of the cluster: this pod searches `svc.DOMAIN`."""
    try:
        words = path.read_text().split()
    except OSError:
        return _DEFAULT_DOMAIN
    found = [word.removeprefix("svc.") for word in words if word.startswith("svc.")]
    return found[0] if found else _DEFAULT_DOMAIN
