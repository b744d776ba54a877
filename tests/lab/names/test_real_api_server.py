"""The trust webhook with a real API server: restricted profile, debug containers, a new namespace."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.http.server import bind, server_context, serving
from podpass.kubernetes.client import APPLY_PATCH, KubeClient, KubeError
from podpass.lab.names import bundles
from podpass.lab.names import trust_objects as objects
from podpass.lab.names.pod_dns import PodDns
from podpass.lab.names.publisher import BundlePublisher
from podpass.lab.names.webhook import create_app
from tests.control_plane import plane
from tests.lab.names.pods import NAMES, Object, make_pod

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]

AUTHORITY = trustme.CA()
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
STRATEGIC = "application/strategic-merge-patch+json"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture
async def admin(control_plane: plane.PlaneThread) -> AsyncIterator[KubeClient]:
    """Register a webhook that runs during the test; return a client of an administrator."""
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    public = system.read_bytes() if system.exists() else trustme.CA().cert_pem.bytes()
    files = bundles.build(public, AUTHORITY.cert_pem.bytes())
    tls = server_context()
    AUTHORITY.issue_cert("localhost").configure_cert(tls)
    sock = bind("127.0.0.1", 0)
    async with control_plane.admin() as client:
        publisher = BundlePublisher(client, NAMES, files, "podpass-cloud")
        app = create_app(NAMES, publisher.ensure, dns=PodDns(resolver="10.96.3.4"))
        async with serving(app, sock, tls):
            bundle = base64.b64encode(AUTHORITY.cert_pem.bytes()).decode()
            url = f"https://localhost:{sock.getsockname()[1]}{objects.WEBHOOK_PATH}"
            body = objects.build_configuration(
                {"url": url, "caBundle": bundle}, "podpass-cloud", labels={"app": "podpass-cloud"}
            )
            path = f"{CONFIGURATIONS}/{objects.CONFIGURATION}"
            await client.patch(path, body, APPLY_PATCH, {"fieldManager": "test", "force": "true"})
            await _wait_until_registered(client)
            yield client
            await client.delete(path)


async def _wait_until_registered(admin: KubeClient) -> None:
    """Wait until the API server calls the webhook: it reads registrations in the background."""
    pods = await _namespace(admin, "probe")
    pod = make_pod(_container("web"))
    pod["metadata"]["namespace"] = "probe"
    while True:
        made = await admin.create(pods, pod, {"dryRun": "All"})
        if made["spec"]["dnsPolicy"] == "None":
            return
        await asyncio.sleep(0.05)


async def _namespace(admin: KubeClient, name: str) -> str:
    """Create a restricted namespace; return the path of its pods."""
    labels = {
        objects.NAMESPACE_LABEL: objects.ENABLED,
        "pod-security.kubernetes.io/enforce": "restricted",
    }
    account = {"metadata": {"name": "default"}}
    for path, thing in (
        ("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}}),
        (f"/api/v1/namespaces/{name}/serviceaccounts", account),
    ):
        try:
            await admin.create(path, thing)
        except KubeError as exc:
            assert exc.status == 409  # an earlier test, or a controller, was first
    return f"/api/v1/namespaces/{name}/pods"


def _container(name: str, **more: Any) -> Object:
    return {"name": name, "image": "x:1", "securityContext": RESTRICTED, **more}


async def test_restricted_pod_of_a_new_namespace_is_created_with_the_bundle(
    admin: KubeClient,
) -> None:
    pods = await _namespace(admin, "fresh")
    user = {"configMapRef": {"name": "theirs"}}
    pod = make_pod(
        _container("web", envFrom=[user]),
        initContainers=[_container("init"), _container("mesh", restartPolicy="Always")],
    )
    pod["metadata"]["namespace"] = "fresh"
    began = time.perf_counter()
    made = await admin.create(pods, pod)
    first = time.perf_counter() - began
    again = {**pod, "metadata": {**pod["metadata"], "name": "again"}}
    began = time.perf_counter()
    await admin.create(pods, again)
    print(
        f"created in {first:.3f} s with the bundle, in {time.perf_counter() - began:.3f} s after it"
    )
    for container in [*made["spec"]["initContainers"], *made["spec"]["containers"]]:
        assert container["envFrom"][0]["configMapRef"]["name"] == NAMES.environment
        assert {"name": NAMES.bundle, "mountPath": NAMES.mount_path, "readOnly": True} in container[
            "volumeMounts"
        ]
    assert made["spec"]["containers"][0]["envFrom"][1:] == [user]
    assert made["spec"]["dnsPolicy"] == "None"
    assert made["spec"]["dnsConfig"]["nameservers"] == ["10.96.3.4"]
    stored = await admin.get(f"/api/v1/namespaces/fresh/configmaps/{NAMES.bundle}")
    assert set(stored["binaryData"]) == {bundles.TRUST_STORE}
    assert stored["data"][bundles.CA].encode() == AUTHORITY.cert_pem.bytes().strip() + b"\n"


async def test_debug_container_of_a_running_pod_gets_the_bundle(admin: KubeClient) -> None:
    pods = await _namespace(admin, "debugged")
    pod = make_pod(_container("web"))
    pod["metadata"]["namespace"] = "debugged"
    await admin.create(pods, pod)
    for name in ("first", "second"):
        change = {"spec": {"ephemeralContainers": [_container(name)]}}
        found = await admin.patch(f"{pods}/app/ephemeralcontainers", change, STRATEGIC)
    debuggers = found["spec"]["ephemeralContainers"]
    assert sorted(each["name"] for each in debuggers) == ["first", "second"]
    for container in debuggers:
        assert container["envFrom"][0]["configMapRef"]["name"] == NAMES.environment
        assert container["volumeMounts"][-1]["mountPath"] == NAMES.mount_path
    assert len(found["spec"]["volumes"]) == len(
        {volume["name"] for volume in found["spec"]["volumes"]}
    )


async def test_pod_that_uses_the_path_is_refused_with_the_reason(admin: KubeClient) -> None:
    pods = await _namespace(admin, "refused")
    mount = {"name": "x", "mountPath": NAMES.mount_path}
    pod = make_pod(_container("web", volumeMounts=[mount]), volumes=[{"name": "x", "emptyDir": {}}])
    pod["metadata"]["namespace"] = "refused"
    with pytest.raises(KubeError, match="the path of the CA bundle"):
        await admin.create(pods, pod)


async def test_namespace_that_was_deleted_and_created_again_gets_the_bundle(
    admin: KubeClient,
) -> None:
    pods = await _namespace(admin, "again")
    pod = make_pod(_container("web"))
    pod["metadata"]["namespace"] = "again"
    await admin.create(pods, pod)
    for name in (NAMES.bundle, NAMES.environment):
        await admin.delete(f"/api/v1/namespaces/again/configmaps/{name}")
    pod["metadata"]["name"] = "second"
    await admin.create(pods, pod)
    found = await admin.get(f"/api/v1/namespaces/again/configmaps/{NAMES.environment}")
    assert "JAVA_TOOL_OPTIONS" in found["data"]
