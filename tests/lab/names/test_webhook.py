"""The trust webhook with the embedded API server, which calls it by its registration."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import trustme
from kubeling.cluster import UserInfo

from podpass.crypto.secret import Secret
from podpass.diagnose.explain.recognition import recognize
from podpass.http.server import bind, server_context, serving
from podpass.kubernetes.client import APPLY_PATCH, KubeClient, KubeError, Target
from podpass.lab.names import bundles
from podpass.lab.names import trust_objects as objects
from podpass.lab.names.pod_dns import PodDns
from podpass.lab.names.publisher import BundlePublisher
from podpass.lab.names.webhook import create_app
from tests.kubeling.cluster import build_config, start_cluster
from tests.lab.names.pods import NAMES, Object, make_pod

AUTHORITY = trustme.CA()
FILES = bundles.build(trustme.CA().cert_pem.bytes(), AUTHORITY.cert_pem.bytes())
OWN_NAMESPACE = "podpass-cloud"
RBAC = "/apis/rbac.authorization.k8s.io/v1/"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
USERS = {
    "admin": UserInfo(name="admin", uid="a", groups=("system:masters",)),
    "cloud": UserInfo(name="cloud", uid="c", groups=()),
}


class Api:
    """An API server with the webhook, and an administrator client."""

    def __init__(self, server: str, admin: KubeClient, webhook: str, tls: Any) -> None:
        self.server, self.admin, self.webhook, self.tls = server, admin, webhook, tls

    async def create(self, pod: Object, namespace: str = "team", query: str = "") -> Any:
        """Create a pod; return the status, the object and the warnings."""
        pod["metadata"]["namespace"] = namespace
        url = f"{self.server}/api/v1/namespaces/{namespace}/pods{query}"
        headers = {"authorization": "Bearer admin"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=pod, headers=headers) as answer,
        ):
            return answer.status, await answer.json(), answer.headers.getall("warning", [])

    async def namespace(self, name: str, **labels: str) -> None:
        await self.admin.create(
            "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}}
        )

    async def config_map(self, name: str, namespace: str = "team") -> Object:
        return await self.admin.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    async def register(self, **options: Any) -> None:
        bundle = base64.b64encode(AUTHORITY.cert_pem.bytes()).decode()
        client = {"url": self.webhook + objects.WEBHOOK_PATH, "caBundle": bundle}
        configuration = objects.build_configuration(client, OWN_NAMESPACE, **options)
        path = f"{CONFIGURATIONS}/{objects.CONFIGURATION}?fieldManager=test&force=true"
        await self.admin.patch(path, configuration, APPLY_PATCH)

    async def review(self, body: Any) -> Object:
        """Send a review to the webhook, as any program of the cluster may."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                self.webhook + objects.WEBHOOK_PATH,
                data=body if isinstance(body, bytes) else None,
                json=None if isinstance(body, bytes) else body,
                headers={"content-type": "application/json"},
                ssl=self.tls,
            ) as answer,
        ):
            assert answer.status == 200
            return dict((await answer.json())["response"])


def explained(text: str) -> list[str]:
    """Return what `podpass explain` recognizes."""
    return [each.sentence.id for each in recognize(text).findings]


def _review(pod: Any, namespace: str = "team", **request: Any) -> Object:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "operation": "CREATE",
            "namespace": namespace,
            "object": pod,
            **request,
        },
    }


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        # ca.pem is for client certificates, which this test does not use.
        _, server = await start_cluster(stack, build_config(tmp_path, USERS))
        admin, cloud = [
            await enter(KubeClient(Target(server=server, token=Secret(user)))) for user in USERS
        ]
        role: Object = {"metadata": {"name": "trust"}, "rules": objects.build_rules(NAMES)}
        await admin.create(RBAC + "clusterroles", role)
        binding: Object = {
            "metadata": {"name": "trust"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "trust",
            },
            "subjects": [
                {"kind": "User", "name": "cloud", "apiGroup": "rbac.authorization.k8s.io"}
            ],
        }
        await admin.create(RBAC + "clusterrolebindings", binding)
        publisher = BundlePublisher(cloud, NAMES, FILES, OWN_NAMESPACE)
        tls = server_context()
        AUTHORITY.issue_cert("localhost").configure_cert(tls)
        sock = bind("127.0.0.1", 0)
        await enter(serving(create_app(NAMES, publisher.ensure), sock, tls))
        context = ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode())
        api = Api(server, admin, f"https://localhost:{sock.getsockname()[1]}", context)
        await api.register()
        await api.namespace("team", **{objects.NAMESPACE_LABEL: objects.ENABLED})
        yield api


async def test_pod_of_a_new_namespace_gets_the_bundle_before_it_exists(api: Api) -> None:
    status, made, warnings = await api.create(
        make_pod(initContainers=[{"name": "i", "image": "i"}])
    )
    assert (status, warnings) == (201, [])
    for group in ("initContainers", "containers"):
        (container,) = made["spec"][group]
        assert container["volumeMounts"][-1]["mountPath"] == NAMES.mount_path
        assert container["envFrom"][0]["configMapRef"]["name"] == NAMES.environment
    bundle = await api.config_map(NAMES.bundle)
    stored = {name: text.encode() for name, text in bundle["data"].items()}
    stored |= {name: base64.b64decode(text) for name, text in bundle["binaryData"].items()}
    assert stored == FILES
    environment = await api.config_map(NAMES.environment)
    assert environment["data"]["SSL_CERT_FILE"] == f"{NAMES.mount_path}/{bundles.BUNDLE}"
    assert bundle["metadata"]["labels"] == {objects.MANAGED_LABEL: "true"}


async def test_config_maps_that_are_deleted_changed_or_of_another_ca_are_written_again(
    api: Api,
) -> None:
    await api.create(make_pod())
    path = "/api/v1/namespaces/team/configmaps/"
    version = (await api.config_map(NAMES.bundle))["metadata"]["resourceVersion"]
    for number, name in enumerate((NAMES.bundle, NAMES.environment)):
        await api.admin.delete(path + name)
        pod = make_pod()
        pod["metadata"]["name"] = f"again-{number}"
        assert (await api.create(pod))[0] == 201
        assert (await api.config_map(name))["data"]
    digest: Object = {"metadata": {"annotations": {objects.FINGERPRINT: "old"}}}
    digest["data"] = {"00000000.0": "a root of the earlier bundle"}
    await api.admin.patch(path + NAMES.bundle, digest)
    pod = make_pod()
    pod["metadata"]["name"] = "other-ca"
    assert (await api.create(pod))[0] == 201
    found = (await api.config_map(NAMES.bundle))["metadata"]
    assert set((await api.config_map(NAMES.bundle))["data"]) == {*FILES} - {bundles.TRUST_STORE}
    assert found["annotations"][objects.FINGERPRINT] == bundles.fingerprint(FILES)
    pod["metadata"]["name"] = "unchanged"
    assert (await api.create(pod))[0] == 201
    again = (await api.config_map(NAMES.bundle))["metadata"]["resourceVersion"]
    assert again == found["resourceVersion"] != version


async def test_dry_run_returns_the_patch_and_writes_nothing(api: Api) -> None:
    status, made, _ = await api.create(make_pod(), query="?dryRun=All")
    assert status == 201
    assert made["spec"]["volumes"][-1]["name"] == NAMES.bundle
    with pytest.raises(KubeError):
        await api.config_map(NAMES.bundle)


async def test_only_selected_namespaces_and_pods_are_changed(api: Api) -> None:
    await api.namespace("other")
    await api.namespace(OWN_NAMESPACE, **{objects.NAMESPACE_LABEL: objects.ENABLED})
    for namespace in ("other", OWN_NAMESPACE):
        _, made, _ = await api.create(make_pod(), namespace)
        assert "envFrom" not in made["spec"]["containers"][0]
    pod = make_pod()
    pod["metadata"]["labels"] = {objects.NAMESPACE_LABEL: objects.DISABLED}
    _, made, _ = await api.create(pod)
    assert "envFrom" not in made["spec"]["containers"][0]


async def test_with_all_namespaces_only_those_of_the_system_stay_unchanged(api: Api) -> None:
    await api.register(all_namespaces=True)
    await api.namespace("other")
    status, made, _ = await api.create(make_pod(), "other")
    assert status == 201
    assert "envFrom" in made["spec"]["containers"][0]
    assert await api.config_map(NAMES.bundle, "other")
    status, made, _ = await api.create(make_pod(), "kube-system")
    assert status == 201
    assert "envFrom" not in made["spec"]["containers"][0]


async def test_forged_review_cannot_write_into_a_namespace_without_the_label(api: Api) -> None:
    await api.namespace("other")
    await api.namespace(OWN_NAMESPACE, **{objects.NAMESPACE_LABEL: objects.ENABLED})
    pod = make_pod()
    del pod["metadata"]["namespace"]
    for namespace in ("kube-system", "other", OWN_NAMESPACE, "../../nodes", "a?b", "gone", "A"):
        response = await api.review(_review(pod, namespace))
        assert response["allowed"] is False, namespace
        invalid = namespace in ("../../nodes", "a?b", "A")
        expected = "no valid namespace" if invalid else namespace
        assert expected in response["status"]["message"]
        if namespace == "other":
            message = f'admission webhook "{objects.WEBHOOK_NAME}" denied the request: '
            found = explained(message + response["status"]["message"])
            assert found == ["trust_namespace_not_selected"]
    for name in ("kube-system", "other", OWN_NAMESPACE):
        with pytest.raises(KubeError):
            await api.config_map(NAMES.bundle, name)


async def test_refusal_of_a_pod_names_the_webhook_that_is_unreachable(api: Api) -> None:
    api.webhook = "https://127.0.0.1:1"
    await api.register()
    status, refusal, _ = await api.create(make_pod())
    assert status == 500
    assert objects.WEBHOOK_NAME in refusal["message"]
    assert explained(refusal["message"]) == ["trust_webhook_unreachable"]


async def test_missing_permission_refuses_the_pod_with_the_reason(api: Api) -> None:
    await api.admin.delete(RBAC + "clusterrolebindings/trust")
    status, refusal, _ = await api.create(make_pod())
    assert status == 500
    assert "cannot write the CA bundle into namespace team" in refusal["message"]
    assert "podpass cloud status" in refusal["message"]
    assert explained(refusal["message"]) == ["trust_bundle_not_written"]


async def test_conflicts_are_refused_or_named_in_warnings(api: Api) -> None:
    mount = {"name": "x", "mountPath": NAMES.mount_path}
    pod = make_pod(
        {"name": "web", "image": "w", "volumeMounts": [mount]},
        volumes=[{"name": "x", "emptyDir": {}}],
    )
    status, refusal, _ = await api.create(pod)
    assert status == 400
    assert "the path of the CA bundle" in refusal["message"]
    assert explained(refusal["message"]) == ["trust_path_taken"]
    volumes = [{"name": NAMES.bundle, "emptyDir": {}}]
    _, refusal, _ = await api.create(make_pod(volumes=volumes))
    assert explained(refusal["message"]) == ["trust_volume_taken"]
    env = [{"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}]
    status, made, (host, java) = await api.create(
        make_pod({"name": "web", "image": "w", "env": env}, hostNetwork=True)
    )
    assert status == 201
    assert made["spec"]["containers"][0]["env"] == env
    assert "network of its node" in host
    assert "JAVA_TOOL_OPTIONS" in java
    assert explained(host) == ["trust_names_resolve_to_azure"]
    assert explained(java) == ["trust_variable_taken"]


INVALID = {
    "empty": b"",
    "cut": b"{",
    "list": b"[]",
    "null": _review(None),
    "array": _review([]),
    "node": _review({"kind": "Node"}),
    "uid": _review(make_pod(), uid=""),
    "old": _review(make_pod(), operation="CREATE", oldObject=[]),
    "containers": _review(make_pod(*[{}] * 5000)),
}


async def test_review_that_is_not_valid_is_denied(api: Api) -> None:
    for name, body in INVALID.items():
        response = await api.review(body)
        assert response["allowed"] is False, name
        message = f'admission webhook "{objects.WEBHOOK_NAME}" denied the request: '
        assert explained(message + response["status"]["message"]) == ["trust_refused"], name


async def test_debug_container_gets_the_bundle(api: Api) -> None:
    await api.create(make_pod())
    path = "/api/v1/namespaces/team/pods/app"
    old = await api.admin.get(path)
    new = {**old, "spec": {**old["spec"], "ephemeralContainers": [{"name": "debug"}]}}
    response = await api.review(_review(new, operation="UPDATE", oldObject=old))
    patch = base64.b64decode(response["patch"])
    assert b"/spec/ephemeralContainers/0/envFrom" in patch
    assert b"/spec/containers" not in patch


async def test_with_pod_dns_the_patch_has_the_resolver() -> None:
    published = asyncio.Queue[str]()
    app = create_app(NAMES, published.put, dns=PodDns(resolver="10.96.3.4"))
    sent: list[Any] = []
    body = orjson.dumps(_review(make_pod(), namespace="default"))

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    await app({"type": "http", "path": objects.WEBHOOK_PATH, "headers": headers}, receive, send)
    patch = base64.b64decode(orjson.loads(sent[-1]["body"])["response"]["patch"])
    assert b'"path":"/spec/dnsPolicy","value":"None"' in patch
    assert published.get_nowait() == "default"
    sent.clear()
    await app({"type": "http", "path": "/other", "headers": headers}, receive, send)
    assert sent[0]["status"] == 404


@pytest.mark.parametrize("registration", [{}, {"webhooks": []}, {"webhooks": None}])
def test_registration_without_webhooks_selects_no_namespace(registration: dict[str, Any]) -> None:
    assert not objects.selects_all_namespaces(registration)
