"""The cluster in which the cloud half runs: the issuer that it trusts, and its place in Resource Manager.

The cloud half serves two more things to it: a resolver, and a webhook that puts the CA into pods.
"""

import asyncio
import base64
import ipaddress
import logging
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from podpass.clock import Clock
from podpass.crypto import jose
from podpass.crypto.x509 import (
    basic_constraints,
    build_certificate,
    build_name,
    encode_key,
    encode_pem,
    key_usage,
    subject_key_id,
)
from podpass.errors import Error
from podpass.exchange.client_auth.issuer_discovery import ClusterIssuer
from podpass.http.server import server_tls, serving
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.client.config import in_cluster
from podpass.kubernetes.service_account.names import MOUNT_PATH
from podpass.lab.cluster.backend import (
    ClusterCommand,
    ClusterOperationRefused,
    ConnectionObjects,
)
from podpass.lab.names import bundles
from podpass.lab.names.injection import BundleNames
from podpass.lab.names.pod_dns import PodDns
from podpass.lab.names.publisher import BundlePublisher
from podpass.lab.names.resolver import AnswerName, CloudResolver, HostExists, Upstream, run_resolver
from podpass.lab.names.trust_folder import read_public_roots
from podpass.lab.names.trust_objects import CONFIGURATION, CONFIGURATION_PATH
from podpass.lab.names.webhook import create_app
from podpass.servers.file_limits import shared_limits
from podpass.tasks import background_task

_log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
_NOT_SERVED = 501
_OWN_CLUSTER = "podpass does not manage the cluster in which it runs; use kubectl"
_NOT_FOUND = 404
_DEFAULT_DOMAIN = "cluster.local"
# Pods look up Services also as NAME.NAMESPACE.svc, and addresses by the reverse zones.
_CLUSTER_NAMES = ("svc", "in-addr.arpa", "ip6.arpa")
_RECONCILE_SECONDS = 30.0
_BACKDATE = timedelta(minutes=5)
_DAYS = 3650

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NoServiceAddress(Error):
    """The Service of the cloud cannot be read, or has no address."""

    code = "cloud_service"
    hint = "run `podpass cloud install` again, which creates it"


class NoClusterToken(Error):
    """The token of the pod's ServiceAccount cannot be used."""

    code = "no_cluster_token"
    hint = "mount a token for the API server: automountServiceAccountToken must not be false"


def find_cluster(
    environ: Mapping[str, str], folder: Path = Path(MOUNT_PATH)
) -> ClusterIssuer | None:
    """Return the cluster of this pod, None outside a pod.

    The issuer is that of the pod's own token, whatever the discovery document names.

    Raises BadKubeconfig, NoClusterToken.
    """
    if "KUBERNETES_SERVICE_HOST" not in environ or not (folder / "token").exists():
        return None
    target = in_cluster(environ, folder)
    return ClusterIssuer(
        issuer=_read_issuer(folder / "token"),
        server=target.server,
        ca_file=folder / "ca.crt",
        token_file=folder / "token",
    )


def _read_issuer(token_file: Path) -> str:
    try:
        issuer = jose.parse(token_file.read_text().strip()).claims["iss"]
    except OSError as exc:
        raise NoClusterToken(f"cannot read {token_file}: {exc.strerror}") from exc
    except (KeyError, jose.MalformedToken, UnicodeDecodeError) as exc:
        raise NoClusterToken(f"{token_file} is not a token with an issuer") from exc
    return str(issuer)


class SurroundingCluster:
    """The cluster in which this process runs, or none; Resource Manager cannot change it."""

    def __init__(self, cluster: ClusterIssuer | None) -> None:
        self.issuer = cluster.issuer if cluster else ""
        self.kubernetes_version = ""
        self.workload_identity = True

    def kubeconfig(self, name: str, user: str, *, entra: bool) -> bytes:  # noqa: ARG002 the protocol
        """Refuse: the cluster has administrators of its own."""
        raise self._refused()

    async def set_workload_identity(self, on: bool) -> None:
        """Refuse to unregister the webhook."""
        if not on:
            raise self._refused()

    @asynccontextmanager
    async def connection_written(self, objects: ConnectionObjects) -> AsyncIterator[None]:  # noqa: ARG002 the protocol
        """Refuse to write the objects of a connection."""
        raise self._refused()
        yield

    async def run_command(self, command: str, token: str) -> str:  # noqa: ARG002 the protocol
        """Refuse to run a command."""
        raise self._refused()

    async def command_result(self, command_id: str) -> ClusterCommand | None:  # noqa: ARG002 the protocol
        """Return None: no command runs."""
        return None

    def check_rotation(self) -> None:
        """Refuse rotations."""
        raise self._refused()

    async def rotate_signing_keys(self) -> float:
        """Refuse rotations."""
        raise self._refused()

    def begin_certificate_rotation(self) -> Coroutine[Any, Any, None]:
        """Refuse rotations."""
        raise self._refused()

    @staticmethod
    def _refused() -> ClusterOperationRefused:
        return ClusterOperationRefused(_OWN_CLUSTER, status=_NOT_SERVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSockets:
    """The listening sockets for the pods and for the API server."""

    dns_udp: socket.socket
    dns_tcp: socket.socket
    webhook: socket.socket


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedNames:
    """What a resolver of the cloud half answers, and the resolver that it asks for other names."""

    served: Collection[str]
    host_exists: HostExists
    answer_name: AnswerName | None
    upstream: Upstream | None

    def create_resolver(
        self, addresses: Sequence[Address], reserved: Sequence[str] = ()
    ) -> CloudResolver:
        """Create a resolver that returns these addresses; it leaves reserved domains to others."""
        return CloudResolver(
            self.served,
            addresses,
            host_exists=self.host_exists,
            answer_name=self.answer_name,
            reserved=reserved,
            upstream=self.upstream,
        )


async def serve_cluster(
    stack: AsyncExitStack,
    client: KubeClient,
    service: tuple[str, str],
    sockets: ClusterSockets,
    names: ResolvedNames,
    ca: bytes,
    clock: Clock,
) -> str:
    """Serve the resolver and the trust webhook of one cloud; return the address of their Service.

    `service` is its namespace and name; `ca` is the CA of the cloud as PEM. Raises NoServiceAddress,
    NoPublicRoots, BadBundle, KubeError.
    """
    namespace, name = service
    addresses = await _read_addresses(client, namespace, name)
    domain = read_cluster_domain()
    resolver = names.create_resolver(addresses, reserved=[domain, *_CLUSTER_NAMES])
    await stack.enter_async_context(run_resolver(resolver, sockets.dns_udp, sockets.dns_tcp))
    tls, pem = _create_certificate(f"{name}.{namespace}.svc", clock())
    bundle_names = BundleNames()
    bundle = bundles.build(read_public_roots(), ca)
    publisher = BundlePublisher(client, bundle_names, bundle, namespace)
    dns = PodDns(resolver=str(addresses[0]), domain=domain) if names.upstream else None
    app = create_app(bundle_names, publisher.ensure, dns=dns)
    await stack.enter_async_context(serving(app, sockets.webhook, tls, limits=shared_limits()))
    await _register(client, pem)
    work = _keep_registered(client, pem)
    await stack.enter_async_context(background_task(work, "trust webhook"))
    return ", ".join(map(str, addresses))


async def _read_addresses(client: KubeClient, namespace: str, service: str) -> list[Address]:
    path = f"/api/v1/namespaces/{namespace}/services/{service}"
    try:
        spec: Mapping[str, Any] = (await client.get(path)).get("spec") or {}
        found = spec.get("clusterIPs") or [spec.get("clusterIP")]
        return [ipaddress.ip_address(str(each)) for each in found]
    except (KubeError, ValueError) as exc:
        message = f"Service {namespace}/{service} has no usable address: {exc}"
        raise NoServiceAddress(message) from exc


async def _register(client: KubeClient, pem: bytes) -> None:
    """Write the certificate into the registration of the webhook, if there is one. Raises KubeError."""
    try:
        found = await client.get(CONFIGURATION_PATH)
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
    await client.replace(CONFIGURATION_PATH, found)
    _log.info("trust_webhook_registered", extra={"configuration": CONFIGURATION})


async def _keep_registered(client: KubeClient, pem: bytes) -> None:
    while True:
        await asyncio.sleep(_RECONCILE_SECONDS)
        try:
            await _register(client, pem)
        except Error as exc:
            _log.warning("trust_webhook_register_failed", extra={"cause": exc.message})


def _create_certificate(host: str, now: float) -> tuple[ssl.SSLContext, bytes]:
    """Create the self-signed certificate of the trust webhook; its key is in this process alone.

    Return the TLS context of the webhook, and the PEM that the API server verifies it with. It is apart from
    the CA that pods trust: the API server accepts nothing else from it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    begins = datetime.fromtimestamp(now, UTC) - _BACKDATE
    certificate = build_certificate(
        subject=build_name(host, "podpass"),
        key=key,
        validity=(begins, begins + timedelta(days=_DAYS)),
        extensions=(
            subject_key_id(key),
            basic_constraints(ca=True, path_length=0),
            key_usage(digital_signature=True, key_cert_sign=True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.SubjectAlternativeName([x509.DNSName(host)]), False),
        ),
    )
    pem = encode_pem(certificate)
    # The ssl module reads only files; this one has mode 0600 and is deleted at once.
    with tempfile.NamedTemporaryFile() as both:
        both.write(pem + encode_key(key))
        both.flush()
        return server_tls(both.name, both.name), pem


def read_cluster_domain(path: Path = RESOLV_CONF) -> str:
    """Return the domain of the cluster: this pod searches `svc.DOMAIN`."""
    words = [word for words in read_resolv_conf(path) for word in words]
    found = [word.removeprefix("svc.") for word in words if word.startswith("svc.")]
    return found[0] if found else _DEFAULT_DOMAIN


def read_resolv_conf(path: Path) -> list[list[str]]:
    """Return the words of each line of the resolver's configuration; none if it cannot be read."""
    try:
        return [line.split() for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return []
