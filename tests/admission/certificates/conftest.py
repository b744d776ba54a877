"""One cluster per test, with the objects that the chart installs before the webhook starts."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme
from kubeling.cluster import ClusterConfig, EmbeddedCluster
from kubeling.service_account.signer import RsaSigner

from podpass import names
from podpass.crypto.secret import Secret
from podpass.http.server import bind, server_tls, serving
from podpass.kubernetes.client import KubeClient, Target
from tests.admission.certificates.lab import (
    CONFIGURATIONS,
    MAIN,
    NAMESPACE,
    RBAC,
    RULES,
    SECRETS,
    USERS,
    Lab,
    ManualClock,
    configuration,
)


@pytest.fixture
async def rbac_only_lab(tmp_path: Path, ca: trustme.CA) -> AsyncIterator[Lab]:
    """Provide a cluster in which only the RBAC objects are installed."""
    clock = ManualClock()
    ca_file, leaf = tmp_path / "ca.pem", ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(str(ca_file))
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "leaf.pem"))
    pem = str(tmp_path / "leaf.pem")
    config = ClusterConfig(
        database=tmp_path / "kubernetes.db",
        issuer="https://oidc.example/",
        signer=RsaSigner(),
        ca_file=ca_file,
        tokens=USERS,
        clock=clock,
    )
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(EmbeddedCluster(config))
        sock = bind("127.0.0.1", 0)
        server = f"https://127.0.0.1:{sock.getsockname()[1]}"
        tls, api_server = server_tls(pem, pem), await stack.enter_async_context(AsyncExitStack())
        await api_server.enter_async_context(serving(cluster.app, sock, tls))
        stack.callback(cluster.drain)
        trust = ssl.create_default_context(cafile=str(ca_file))
        admin = KubeClient(Target(server=server, tls=trust, token=Secret("admin-token")))
        await stack.enter_async_context(admin)
        lab = Lab(
            server=server,
            tls=trust,
            clock=clock,
            admin=admin,
            stack=stack,
            cluster=cluster,
            api_server=api_server,
            server_tls=tls,
        )
        await _install_rbac(lab)
        # The connection of a watch closes one event-loop iteration after its session.
        stack.push_async_callback(asyncio.sleep, 0)
        yield lab


@pytest.fixture
async def lab(rbac_only_lab: Lab) -> Lab:
    """Provide a cluster with the installed chart: an empty Secret, and a configuration without a bundle."""
    await rbac_only_lab.admin.create(SECRETS, {"metadata": {"name": names.CERTIFICATE_SECRET}})
    await rbac_only_lab.admin.create(CONFIGURATIONS, configuration(MAIN))
    return rbac_only_lab


async def _install_rbac(lab: Lab) -> None:
    await lab.admin.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    subjects = [{"kind": "User", "name": "webhook", "apiGroup": "rbac.authorization.k8s.io"}]
    for part, kind, where in (
        ("secrets", "Role", f"{RBAC}/namespaces/{NAMESPACE}"),
        ("configurations", "ClusterRole", RBAC),
    ):
        name = {"name": f"webhook-{part}"}
        plural = kind.lower()
        await lab.admin.create(f"{where}/{plural}s", {"metadata": name, "rules": RULES[part]})
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, **name}
        binding = {"metadata": name, "roleRef": ref, "subjects": subjects}
        await lab.admin.create(f"{where}/{plural}bindings", binding)
