"""Released clients against a served cluster: kubectl, the official Python client, lightkube."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kubeling.api import ApiError as RefusedByApi
from kubeling.apiserver.read.watch import WatchHandler
from kubeling.apiserver.release import NEWEST
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import StreamResponse
from kubeling.cluster import UserInfo
from tests.apiserver.kubectl import Kubectl, kubectl

__all__ = ["kubectl"]

MANIFEST = """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: web
  annotations: {azure.workload.identity/client-id: abc}
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  serviceAccountName: web
  containers:
  - {name: c, image: "app:1", env: [{name: A, value: "1"}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {k: v}
"""


@pytest.fixture
async def applied(kubectl: Kubectl) -> Kubectl:
    await kubectl("apply", "-f", "-", given=MANIFEST)
    return kubectl


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[str]:
    """Return the kinds of the watches that clients open, in order."""
    opened: asyncio.Queue[str] = asyncio.Queue()
    real = WatchHandler.open

    def opening(handler: WatchHandler, request: Request) -> StreamResponse:
        stream = real(handler, request)
        opened.put_nowait(request.kind.kind)
        return stream

    monkeypatch.setattr(WatchHandler, "open", opening)
    return opened


async def wait_for_pod_watch(watches: asyncio.Queue[str]) -> None:
    async with asyncio.timeout(30):
        while await watches.get() != "Pod":
            pass


async def test_apply_creates_then_reports_unchanged_then_configures(applied: Kubectl) -> None:
    again = await applied("apply", "-f", "-", given=MANIFEST)
    assert again.out.count("unchanged") == 3
    changed = await applied("apply", "-f", "-", given=MANIFEST.replace("k: v", "k: w"))
    assert "configmap/settings configured" in changed.out
    shown = await applied("get", "configmap", "settings", "-o", "jsonpath={.data.k}")
    assert shown.out == "w"


async def test_server_side_apply_conflict_can_be_forced(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f", "-", "--field-manager")
    await kubectl(*apply, "one", given=MANIFEST)
    other = MANIFEST.replace("k: v", "k: w")
    refused = await kubectl(*apply, "two", given=other, code=1)
    assert 'conflict with "one"' in refused.err
    assert ".data.k" in refused.err
    await kubectl(*apply, "two", "--force-conflicts", given=other)
    shown = await kubectl("get", "cm", "settings", "-o", "yaml", "--show-managed-fields")
    assert "k: w" in shown.out
    assert "manager: two" in shown.out


async def test_get_shows_tables_and_documents(applied: Kubectl) -> None:
    wide = await applied("get", "pods", "-o", "wide")
    assert wide.out.split()[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert "web" in wide.out
    one = json.loads((await applied("get", "pod", "web", "-o", "json")).out)
    assert one["spec"]["serviceAccountName"] == "web"
    assert "kind: Pod" in (await applied("get", "po/web", "-o", "yaml")).out
    several = await applied("get", "pods,sa,cm", "-A", "--show-labels")
    assert "kube-root-ca.crt" in several.out
    paged = await applied("get", "cm", "-A", "-o", "name", "--chunk-size=1")
    assert paged.out == (await applied("get", "cm", "-A", "-o", "name", "--chunk-size=0")).out
    selected = await applied("get", "pods", "-l", "app=web", "-o", "name")
    assert selected.out == "pod/web\n"
    assert "No resources found" in (await applied("get", "pods", "-l", "app=nope")).err


async def test_get_watch_shows_changes(applied: Kubectl) -> None:
    columns = "custom-columns=L:.metadata.labels.x"
    process = await applied.start("get", "pods", "-w", "--no-headers", "-o", columns)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"<none>\n"
            await applied("label", "pod", "web", "x=seen")
            assert await process.stdout.readline() == b"seen\n"
    finally:
        process.kill()
        await process.communicate()


async def test_describe_shows_a_pod_and_its_events(applied: Kubectl, live: Any) -> None:
    found = await live.call("GET", "/api/v1/namespaces/default/pods/web")
    event = {
        "metadata": {"name": "web.1"},
        "involvedObject": {
            "kind": "Pod",
            "namespace": "default",
            "name": "web",
            "uid": found.body["metadata"]["uid"],
        },
        "reason": "Pulled",
        "message": "the image is here",
        "type": "Normal",
    }
    await live.call("POST", "/api/v1/namespaces/default/events", event)
    shown = await applied("describe", "pod", "web")
    for text in ("Service Account:  web", "Image:      app:1", "A:  1", "the image is here"):
        assert text in shown.out
    assert "azure.workload.identity/client-id: abc" in (await applied("describe", "sa", "web")).out


async def test_created_token_authenticates(applied: Kubectl, live: Any) -> None:
    token = (await applied("create", "token", "web", "--duration", "1h")).out.strip()
    who = await applied("auth", "whoami", "-o", "json", "--token", token)
    assert json.loads(who.out)["status"]["userInfo"]["username"] == (
        "system:serviceaccount:default:web"
    )
    other = await applied("create", "token", "web", "--audience", "api://AzureADTokenExchange")
    assert (await live.call("GET", "/api", token=other.out.strip())).status == 401
    refused = await applied("create", "token", "nobody", code=1)
    assert 'serviceaccounts "nobody" not found' in refused.err


async def test_can_i_returns_permissions_of_self_and_of_others(applied: Kubectl) -> None:
    assert (await applied("auth", "can-i", "create", "pods")).out == "yes\n"
    refused = await applied("auth", "can-i", "list", "secrets", "--as", "alice", code=1)
    assert refused.out == "no\n"
    await applied("create", "rolebinding", "rb", "--clusterrole", "edit", "--user", "alice")
    assert (await applied("auth", "can-i", "list", "secrets", "--as", "alice")).out == "yes\n"
    assert "pods" in (await applied("auth", "can-i", "--list", "--as", "alice")).out


async def test_objects_are_created_and_changed_by_commands(applied: Kubectl) -> None:
    await applied("annotate", "sa", "web", "note=here")
    await applied("patch", "pod", "web", "-p", '{"metadata":{"labels":{"p":"q"}}}')
    patch = '[{"op":"add","path":"/data/j","value":"x"}]'
    await applied("patch", "cm", "settings", "--type", "json", "-p", patch)
    await applied("patch", "cm", "settings", "--type", "merge", "-p", '{"data":{"m":"y"}}')
    data = json.loads((await applied("get", "cm", "settings", "-o", "json")).out)["data"]
    assert data == {"k": "v", "j": "x", "m": "y"}
    await applied("create", "secret", "generic", "s", "--from-literal=a=b")
    await applied("create", "configmap", "lit", "--from-literal=a=b")
    await applied("create", "service", "clusterip", "svc", "--tcp=80:8080")
    await applied("run", "ran", "--image=busybox", "--env=A=1", "--port=80")
    ran = json.loads((await applied("get", "pod", "ran", "-o", "json")).out)
    assert ran["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    replaced = ran["metadata"]["labels"] | {"more": "yes"}
    ran["metadata"]["labels"] = replaced
    await applied("replace", "-f", "-", given=json.dumps(ran))
    assert "more=yes" in (await applied("get", "pod", "ran", "--show-labels")).out


async def test_unknown_field_in_a_manifest_is_refused(kubectl: Kubectl) -> None:
    wrong = MANIFEST.replace("serviceAccountName", "serviceAccuntName")
    refused = await kubectl("apply", "-f", "-", given=wrong, code=1)
    assert 'unknown field "spec.serviceAccuntName"' in refused.err


async def test_wait_ends_when_its_condition_is_met(
    applied: Kubectl, live: Any, watches: asyncio.Queue[str]
) -> None:
    waiting = asyncio.create_task(
        applied("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    )
    await wait_for_pod_watch(watches)
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    path = "/api/v1/namespaces/default/pods/web/status"
    await live.call("PATCH", path, status, content_type="application/merge-patch+json")
    assert "condition met" in (await waiting).out
    gone = asyncio.create_task(applied("wait", "--for=delete", "pod/web", "--timeout=60s"))
    await wait_for_pod_watch(watches)
    await applied("delete", "pod", "web", "--wait=false")
    await gone


async def test_delete_waits_until_the_object_is_removed(applied: Kubectl) -> None:
    deleted = await applied("delete", "-f", "-", given=MANIFEST)
    assert deleted.out.count("deleted") == 3
    assert (await applied("get", "pods", "-o", "name")).out == ""
    await applied("create", "namespace", "two")
    await applied("delete", "namespace", "two", "--timeout=20s")
    refused = await applied("get", "namespace", "two", code=1)
    assert 'namespaces "two" not found' in refused.err


async def test_api_resources_explain_and_diff_work(applied: Kubectl) -> None:
    listed = (await applied("api-resources")).out
    for text in ("serviceaccounts", "mutatingwebhookconfigurations", "coordination.k8s.io/v1"):
        assert text in listed
    assert "coordination.k8s.io/v1" in (await applied("api-versions")).out
    assert "valueFrom" in (await applied("explain", "pod.spec.containers.env")).out
    assert (await applied("get", "--raw", "/healthz")).out == "ok"
    assert f"Server Version: v{NEWEST}." in (await applied("version")).out
    await applied("diff", "-f", "-", given=MANIFEST)
    changed = await applied("diff", "-f", "-", given=MANIFEST.replace("k: v", "k: w"), code=1)
    assert "+  k: w" in changed.out


async def test_python_client_creates_watches_patches_and_deletes(live: Any) -> None:
    program = Path(__file__).with_name("python_client_program.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), str(live.kubeconfig()), stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()


async def test_lightkube_creates_watches_applies_and_deletes(live: Any) -> None:
    from lightkube import AsyncClient, KubeConfig
    from lightkube.core.exceptions import ApiError
    from lightkube.models.core_v1 import Container, PodSpec
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap, Pod

    config = KubeConfig.from_file(live.kubeconfig())
    client: Any = AsyncClient(config=config, namespace="default", field_manager="lightkube")
    spec = PodSpec(containers=[Container(name="c", image="i")])
    await client.create(Pod(metadata=ObjectMeta(name="p", labels={"a": "b"}), spec=spec))
    names = [pod.metadata.name async for pod in client.list(Pod, labels={"a": "b"})]
    assert names == ["p"]
    patched = await client.patch(Pod, "p", {"metadata": {"labels": {"c": "d"}}})
    assert patched.metadata.labels == {"a": "b", "c": "d"}
    applied = await client.apply(
        ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="m"), data={"k": "v"})
    )
    assert applied.data == {"k": "v"}
    async for kind, pod in client.watch(Pod):
        assert (kind, pod.metadata.name) == ("ADDED", "p")
        break
    await client.create(ConfigMap(metadata=ObjectMeta(name="n")))
    pages = [each.metadata.name async for each in client.list(ConfigMap, chunk_size=1)]
    assert pages == ["kube-root-ca.crt", "m", "n"]
    await client.delete(Pod, "p")
    with pytest.raises(ApiError) as gone:
        await client.get(Pod, "p")
    assert gone.value.status.code == 404
    await client.close()


async def test_api_in_this_process_watches_after_the_initial_list(live: Any) -> None:
    api = live.cluster.api(UserInfo(name="admin", groups=("system:masters",)), live.server)
    maps = "/api/v1/namespaces/default/configmaps"
    events = api.watch(maps)
    assert (await anext(events))[1]["metadata"]["name"] == "kube-root-ca.crt"
    assert await anext(events) == ("SYNCED", {})
    await live.call("POST", maps, {"metadata": {"name": "a"}})
    kind, found = await anext(events)
    assert (kind, found["kind"], found["metadata"]["name"]) == ("ADDED", "ConfigMap", "a")
    await api.delete(f"{maps}/a")
    kind, found = await anext(events)
    assert (kind, found["metadata"]["name"]) == ("DELETED", "a")
    await events.aclose()


async def test_api_in_this_process_is_authorized_and_admitted_as_by_http(live: Any) -> None:
    """Fails if the fast path skips RBAC: a kubelet could read every Secret."""
    alice = live.cluster.api(UserInfo(name="alice", groups=("devs",)), live.server)
    maps = "/api/v1/namespaces/default/configmaps"
    for call in (alice.get(f"{maps}/kube-root-ca.crt"), alice.create(maps, {}), alice.list(maps)):
        with pytest.raises(RefusedByApi) as refused:
            await call
        assert (refused.value.status, refused.value.reason) == (403, "Forbidden")
    with pytest.raises(RefusedByApi) as refused:
        await anext(alice.watch(maps))
    assert refused.value.status == 403


async def test_unknown_kind_is_reported_as_no_match(kubectl: Kubectl) -> None:
    meta = {"metadata": {"name": "web"}, "spec": {}}
    for version, kind in (
        ("networking.k8s.io/v1beta1", "Ingress"),
        ("apiregistration.k8s.io/v1beta1", "APIService"),
        ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ):
        manifest = json.dumps({"apiVersion": version, "kind": kind, **meta})
        done = await kubectl("apply", "-f", "-", given=manifest, code=1)
        assert f'no matches for kind "{kind}" in version "{version}"' in done.err
