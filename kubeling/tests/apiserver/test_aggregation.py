"""API groups that an APIService delegates to a Service."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import yarl
from podpass.http.server import bind, read_body, respond, server_tls, serving

from kubeling.apiserver.registry import aggregation
from kubeling.asgi import wait_for_disconnect
from tests.apiserver.kubectl import Kubectl, kubectl
from tests.controllers.workloads import until

__all__ = ["kubectl"]

GROUP = "metrics.example.com"
PATH = f"/apis/{GROUP}/v1"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/v1",
    "resources": [
        {
            "name": "gauges",
            "singularName": "gauge",
            "namespaced": True,
            "kind": "Gauge",
            "verbs": ["get", "list"],
            "shortNames": ["ga"],
        }
    ],
}
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass
class Extension:
    """An extension API server that records its requests."""

    port: int
    bundle: str
    requests: list[Any] = field(default_factory=list)
    delay: Callable[[], Awaitable[None]] | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        body = await read_body(receive, 1 << 20)
        self.requests.append((scope["method"], scope["path"], headers, body))
        if self.delay is not None:
            await self.delay()
        if scope["path"].endswith("/silent"):
            self.arrived.set()
            await wait_for_disconnect(receive)
            self.left.set()
            return
        listed = {
            "kind": "GaugeList",
            "apiVersion": f"{GROUP}/v1",
            "metadata": {},
            "items": [{"metadata": {"name": "one", "namespace": "default"}}],
        }
        is_discovery = scope["path"].count("/") == 3
        found = RESOURCES if is_discovery else listed
        await respond(
            send, 200, json.dumps(found).encode(), ((b"content-type", b"application/json"),)
        )


@pytest.fixture
async def extension(ca: trustme.CA, tmp_path: Path) -> AsyncIterator[Extension]:
    leaf = ca.issue_cert("127.0.0.1", "metrics.default.svc")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "extension.pem"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "extension.key"))
    tls = server_tls(str(tmp_path / "extension.pem"), str(tmp_path / "extension.key"))
    sock = bind("127.0.0.1", 0)
    bundle = base64.b64encode(ca.cert_pem.bytes()).decode()
    found = Extension(sock.getsockname()[1], bundle)
    async with serving(found.app, sock, tls):
        yield found


async def register(live: Any, extension: Extension, **changes: Any) -> None:
    """Create an APIService, its Service, and the endpoint of the extension server."""
    spec = {
        "group": GROUP,
        "version": "v1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "caBundle": extension.bundle,
        "service": {"namespace": "default", "name": "metrics"},
    }
    body = {"metadata": {"name": f"v1.{GROUP}"}, "spec": spec | changes}
    made = await live.call("POST", "/apis/apiregistration.k8s.io/v1/apiservices", body)
    assert made.status == 201, made.text
    service = {"metadata": {"name": "metrics"}, "spec": {"ports": [{"port": 443}]}}
    assert (await live.call("POST", "/api/v1/namespaces/default/services", service)).status == 201
    await live.run_pod("default", "metrics", "127.0.0.1")
    reference = {"kind": "Pod", "name": "metrics"}
    part = {
        "metadata": {"name": "metrics-1", "labels": {"kubernetes.io/service-name": "metrics"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "targetRef": reference}],
        "ports": [{"name": "", "port": extension.port}],
    }
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    assert (await live.call("POST", slices, part)).status == 201


async def test_request_is_sent_on_with_the_user_and_without_the_credential(
    live: Any, extension: Extension
) -> None:
    await register(live, extension)
    body = {"metadata": {"name": "two"}}
    reply = await live.call("POST", f"{PATH}/namespaces/default/gauges", body, x_remote_user="eve")
    assert (reply.status, reply.body["kind"]) == (200, "GaugeList")
    method, path, headers, sent = extension.requests[-1]
    assert (method, path) == ("POST", f"{PATH}/namespaces/default/gauges")
    assert json.loads(sent) == body
    assert [value for name, value in headers if name == "x-remote-user"] == ["admin"]
    assert "system:masters" in [value for name, value in headers if name == "x-remote-group"]
    assert "authorization" not in dict(headers)


async def test_request_needs_permission_before_it_is_sent_on(
    live: Any, extension: Extension
) -> None:
    await register(live, extension)
    path = f"{PATH}/namespaces/default/gauges"
    assert (await live.call("GET", path, token="alice-token")).status == 403
    assert not extension.requests


@pytest.mark.parametrize(
    "path",
    [
        f"{PATH}//../namespaces/victim/gauges/x",
        f"{PATH}/namespaces/default/gauges/../../victim/gauges/x",
        f"{PATH}/namespaces/default/gauges/%2e%2e/%2e%2e/victim/gauges/x",
        f"{PATH}/namespaces/default/gauges/..%2fx",
        f"{PATH}//../../../metrics",
    ],
)
async def test_path_that_could_be_read_as_another_one_is_not_sent_on(
    live: Any, extension: Extension, path: str
) -> None:
    """Fails if the path is forwarded: RBAC has authorized it as it stands, not what a server makes of it."""
    await register(live, extension)
    for token in ("admin-token", "alice-token"):
        url = yarl.URL(live.server + path, encoded=True)
        headers = {"authorization": f"Bearer {token}"}
        async with live.session.get(url, headers=headers) as response:
            assert response.status in (403, 404)
    assert not [each for each in extension.requests if "victim" in each[1] or "metrics" in each[1]]


async def test_certificate_of_another_ca_is_refused(live: Any, extension: Extension) -> None:
    other = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    await register(live, extension, caBundle=other)
    refused = await live.call("GET", f"{PATH}/namespaces/default/gauges")
    assert refused.status == 503
    assert not extension.requests


async def test_service_without_a_ready_endpoint_is_unavailable_with_the_reason(live: Any) -> None:
    spec = {
        "group": GROUP,
        "version": "v1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"namespace": "default", "name": "metrics"},
    }
    body = {"metadata": {"name": f"v1.{GROUP}"}, "spec": spec}
    await live.call("POST", "/apis/apiregistration.k8s.io/v1/apiservices", body)
    refused = await live.call("GET", f"{PATH}/namespaces/default/gauges")
    assert refused.status == 503
    assert refused.body["reason"] == "ServiceUnavailable"
    assert f'v1.{GROUP} is unavailable: service "metrics" not found' in refused.body["message"]
    items = (await live.call("GET", "/apis", accept=DISCOVERY)).body["items"]
    for _ in range(100):
        found = (
            await live.call("GET", f"/apis/apiregistration.k8s.io/v1/apiservices/v1.{GROUP}")
        ).body
        if found["status"].get("conditions"):
            break
        await asyncio.sleep(0.05)
    (condition,) = found["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "ServiceNotFound")
    (version,) = next(each for each in items if each["metadata"]["name"] == GROUP)["versions"]
    assert version["freshness"] == "Stale"


async def test_server_that_does_not_respond_is_a_timeout(
    live: Any, extension: Extension, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails without a limit: the connection of each client would stay open."""
    monkeypatch.setattr(aggregation, "_HEADER_SECONDS", 0.2)
    await register(live, extension)
    refused = await live.call("GET", f"{PATH}/silent")
    assert (refused.status, refused.body["reason"]) == (504, "Timeout")
    await asyncio.wait_for(extension.left.wait(), 20)


async def test_request_of_a_client_that_disconnects_is_cancelled(
    live: Any, extension: Extension
) -> None:
    await register(live, extension)
    call = asyncio.create_task(live.call("GET", f"{PATH}/silent"))
    await asyncio.wait_for(extension.arrived.wait(), 20)
    call.cancel()
    await asyncio.wait_for(extension.left.wait(), 20)


async def test_discovery_asks_all_servers_at_the_same_time_and_once(
    live: Any, extension: Extension
) -> None:
    await register(live, extension)
    versions = [f"v{at}" for at in range(1, 6)]
    made = (await live.call("GET", f"/apis/apiregistration.k8s.io/v1/apiservices/v1.{GROUP}")).body
    for version in versions[1:]:
        body = {
            "metadata": {"name": f"{version}.{GROUP}"},
            "spec": made["spec"] | {"version": version},
        }
        await live.call("POST", "/apis/apiregistration.k8s.io/v1/apiservices", body)
    paths = [f"/apis/apiregistration.k8s.io/v1/apiservices/{each}.{GROUP}" for each in versions]
    for path in paths:  # their status does not change after that
        await until(live, path, lambda found: found["status"].get("conditions"))
    extension.requests.clear()
    all_asked = asyncio.Event()

    async def wait_for_all() -> None:
        if len(extension.requests) == len(versions):
            all_asked.set()
        await all_asked.wait()

    extension.delay = wait_for_all
    replies = await asyncio.gather(*(live.call("GET", "/apis", accept=DISCOVERY) for _ in range(3)))
    for reply in replies:
        found = [each for each in reply.body["items"] if each["metadata"]["name"] == GROUP]
        fresh = [version["freshness"] for each in found for version in each["versions"]]
        assert fresh == ["Current"] * len(versions)
    assert len(extension.requests) == len(versions)


async def test_group_is_listed_once_with_its_versions_by_priority(
    live: Any, extension: Extension
) -> None:
    await register(live, extension, versionPriority=10)
    path = "/apis/apiregistration.k8s.io/v1/apiservices"
    made = (await live.call("GET", f"{path}/v1.{GROUP}")).body["spec"]
    for group, version, priority, group_priority in (
        (GROUP, "v2", 20, 50),
        (GROUP, "v1beta1", 10, 50),
        (GROUP, "v3", 10, 50),
        ("later.example.com", "v1", 10, 99),
        ("a.example.com", "v1", 10, 100),
    ):
        spec = made | {
            "group": group,
            "version": version,
            "versionPriority": priority,
            "groupPriorityMinimum": group_priority,
        }
        body = {"metadata": {"name": f"{version}.{group}"}, "spec": spec}
        assert (await live.call("POST", path, body)).status == 201
    items = (await live.call("GET", "/apis", accept=DISCOVERY)).body["items"]
    groups = ["a.example.com", GROUP, "later.example.com"]
    assert [each["metadata"]["name"] for each in items][-3:] == groups
    found = next(each for each in items if each["metadata"]["name"] == GROUP)
    versions = ["v2", "v3", "v1", "v1beta1"]
    assert [each["version"] for each in found["versions"]] == versions
    assert {each["resources"][0]["resource"] for each in found["versions"]} == {"gauges"}
    listed = (await live.call("GET", "/apis")).body["groups"]
    [group] = [each for each in listed if each["name"] == GROUP]
    assert [each["version"] for each in group["versions"]] == versions
    alone = (await live.call("GET", f"/apis/{GROUP}")).body
    assert alone == {"kind": "APIGroup", "apiVersion": "v1", **group}


async def test_websocket_to_a_delegated_path_is_refused(live: Any, extension: Extension) -> None:
    await register(live, extension)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await live.session.ws_connect(
            f"{live.server}{PATH}/x", headers={"authorization": "Bearer admin-token"}
        )
    assert refused.value.status == 400
    assert not extension.requests


async def test_group_that_this_server_serves_is_not_delegated(
    live: Any, extension: Extension
) -> None:
    await register(live, extension)
    body = {
        "metadata": {"name": "v1.apps"},
        "spec": {
            "group": "apps",
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "default", "name": "metrics"},
        },
    }
    await live.call("POST", "/apis/apiregistration.k8s.io/v1/apiservices", body)
    listed = await live.call("GET", "/apis/apps/v1/deployments")
    assert listed.body["kind"] == "DeploymentList"
    assert not extension.requests


async def test_kubectl_finds_and_reads_delegated_resources(
    live: Any, kubectl: Kubectl, extension: Extension
) -> None:
    await register(live, extension)
    await kubectl("wait", "--for=condition=Available", f"apiservice/v1.{GROUP}", "--timeout=30s")
    assert "gauges" in (await kubectl("api-resources", f"--api-group={GROUP}")).out
    assert "one" in (await kubectl("get", "ga", "-o", "name")).out
