"""What the cloud serves to its cluster: names with the address of the Service, and a registered webhook."""

import base64
import json
import socket
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import dns.asyncquery
import dns.message
import dns.rcode
import pytest
import trustme

from podpass.clock import system
from podpass.http.server import bind
from podpass.kubernetes.client import KubeClient
from podpass.lab.gateway.gateway import SERVED_NAMES
from podpass.lab.install import apply as objects
from podpass.lab.install.objects import CloudValues, build_objects
from podpass.lab.instance.surrounding_cluster import (
    ClusterSockets,
    NoServiceAddress,
    ResolvedNames,
    read_cluster_domain,
    serve_cluster,
)
from podpass.lab.services.dns.answers import ZoneAnswers
from podpass.lab.services.dns.model import DnsLookup
from podpass.servers.listen import listen_for_queries

HOST = "podpass-cloud.podpass-cloud.svc"


@pytest.fixture
def sockets() -> ClusterSockets:
    udp, tcp = listen_for_queries("--dns-listen", "127.0.0.1:0")
    return ClusterSockets(dns_udp=udp, dns_tcp=tcp, webhook=bind("127.0.0.1", 0))


async def has_host(name: str) -> bool:
    return name in ("demo-vault.vault.azure.net", "login.microsoftonline.com")


async def look_up(host: str) -> DnsLookup | None:
    """Return empty zones, of which all but the first have names of the cluster."""
    names = ("example.test", "cluster.local", "shop.svc", "10.in-addr.arpa", "d.f.ip6.arpa")
    zone = next((one for one in names if host.endswith(one)), None)
    return None if zone is None else DnsLookup(zone=zone, exists=False)


async def serve_all(client: KubeClient, sockets: ClusterSockets, stack: AsyncExitStack) -> str:
    return await serve_cluster(
        stack,
        client,
        ("podpass-cloud", "podpass-cloud"),
        sockets,
        ResolvedNames(
            served=SERVED_NAMES,
            host_exists=has_host,
            answer_name=ZoneAnswers(look_up),
            upstream=None,
        ),
        trustme.CA().cert_pem.bytes(),
        system,
    )


async def ask(sockets: ClusterSockets, name: str) -> list[str]:
    """Return the addresses of a name, or the response code."""
    port = sockets.dns_udp.getsockname()[1]
    reply = await dns.asyncquery.udp(dns.message.make_query(name, "A"), "127.0.0.1", 20, port)
    found = [str(item) for rrset in reply.answer for item in rrset]
    return found or [dns.rcode.to_text(reply.rcode())]


async def send_review(sockets: ClusterSockets, bundle: bytes) -> dict[str, Any]:
    """Send the creation of a pod as the API server does, and return the response."""
    tls = ssl.create_default_context(cadata=bundle.decode())
    pod = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "a"}]},
    }
    request = {
        "uid": "1",
        "operation": "CREATE",
        "namespace": "default",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "object": pod,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    url = f"https://127.0.0.1:{sockets.webhook.getsockname()[1]}/trust-v1-pod"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=review, ssl=tls, server_hostname=HOST) as answer,
    ):
        response: dict[str, Any] = json.loads(await answer.read())["response"]
    return response


async def test_names_have_the_address_of_the_service_and_the_webhook_is_registered(
    admin: KubeClient, sockets: ClusterSockets
) -> None:
    made = {}
    for item in build_objects(CloudValues(image="podpass:1")):
        await objects.apply(admin, item, None)
        made[item["kind"]] = await objects.read(admin, item)
    service = made["Service"]
    assert service is not None
    await admin.patch(
        "/api/v1/namespaces/default", {"metadata": {"labels": {"podpass.dev/cloud": "enabled"}}}
    )
    async with AsyncExitStack() as stack:
        address = await serve_all(admin, sockets, stack)
        assert address == service["spec"]["clusterIP"]
        assert await ask(sockets, "login.microsoftonline.com") == [address]
        assert await ask(sockets, "demo-vault.vault.azure.net") == [address]
        assert await ask(sockets, "other-vault.vault.azure.net") == ["NXDOMAIN"]
        assert await ask(sockets, "example.com") == ["REFUSED"]
        assert await ask(sockets, "www.example.test") == ["NXDOMAIN"]
        for name in (
            "web.shop.svc.cluster.local",
            "web.shop.svc",
            "1.10.in-addr.arpa",
            "d.f.ip6.arpa",
        ):
            assert await ask(sockets, name) == ["REFUSED"]
        path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        registration = await admin.get(f"{path}/podpass-cloud-trust")
        (hook,) = registration["webhooks"]
        response = await send_review(sockets, base64.b64decode(hook["clientConfig"]["caBundle"]))
        assert response["allowed"] is True
        assert b"/etc/podpass/trust" in base64.b64decode(response["patch"])
    bundle = await admin.get("/api/v1/namespaces/default/configmaps/podpass-cloud-trust")
    assert "ca.crt" in bundle["data"]


async def test_missing_service_is_refused(admin: KubeClient, sockets: ClusterSockets) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(NoServiceAddress, match="podpass-cloud/podpass-cloud"):
            await serve_all(admin, sockets, stack)
    for each in (sockets.dns_udp, sockets.dns_tcp, sockets.webhook):
        each.close()


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        (
            "search a.svc.k8s.example svc.k8s.example k8s.example\nnameserver 10.96.0.10\n",
            "k8s.example",
        ),
        ("nameserver 10.0.0.1\n", "cluster.local"),
        (None, "cluster.local"),
    ],
    ids=["pod", "host", "absent"],
)
def test_cluster_domain_is_read_from_the_search_list(
    tmp_path: Path, text: str | None, domain: str
) -> None:
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_text(text)
    assert read_cluster_domain(path) == domain


def test_dns_listens_on_the_same_port_for_udp_and_tcp() -> None:
    udp, tcp = listen_for_queries("--dns-listen", "127.0.0.1:0")
    with udp, tcp:
        assert udp.type == socket.SOCK_DGRAM
        assert udp.getsockname() == tcp.getsockname()
