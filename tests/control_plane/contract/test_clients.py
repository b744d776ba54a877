"""The API with released clients: kubectl and the official Python library."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, dynamic, watch

from tests.control_plane.contract.api import Api, config_map, deployment, pod
from tests.lab.instance.kubectl import PATH, binaries
from tests.run_program import Done, run_text

Run = Callable[..., Done]


@pytest.fixture
def kubectl(api: Api, tmp_path: Path) -> Run:
    """Return kubectl, from the package index or the machine, in the test's namespace."""
    found = binaries()
    binary = found["package"] or found["machine"]
    assert binary, "kubectl is missing: install the development requirements"
    environ = {"HOME": str(tmp_path), "KUBECONFIG": str(api.server.kubeconfig()), "PATH": PATH}

    def run(*arguments: str, given: Any = None) -> Done:
        return run_text(
            [binary, "--namespace", api.namespace, *arguments],
            env=environ,
            input="" if given is None else yaml.safe_dump(given),
            timeout=60,
        )

    return run


def _output(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_kubectl_creates_lists_and_deletes(api: Api, kubectl: Run) -> None:
    assert api
    assert _output(kubectl("create", "-f", "-", given=pod())) == "pod/p created"
    lines = _output(kubectl("get", "pods")).splitlines()
    assert lines[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert lines[1].split()[:4] == ["p", "0/1", "Pending", "0"]
    assert _output(kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[0].name}")) == "c"
    assert "deleted" in _output(kubectl("delete", "pod", "p"))


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
async def test_kubectl_applies_again_and_shows_the_difference(
    api: Api, kubectl: Run, server_side: bool
) -> None:
    assert api
    how = ["--server-side"] if server_side else []
    _output(kubectl("apply", *how, "-f", "-", given=config_map(a="1")))
    changed = kubectl("diff", *how, "-f", "-", given=config_map(a="2"))
    assert changed.returncode == 1, changed.stderr
    assert '-  a: "1"' in changed.stdout
    _output(kubectl("apply", *how, "-f", "-", given=config_map(a="2")))
    assert kubectl("diff", *how, "-f", "-", given=config_map(a="2")).returncode == 0
    assert _output(kubectl("get", "cm", "m", "-o", "jsonpath={.data.a}")) == "2"


async def test_kubectl_explains_fields(api: Api, kubectl: Run) -> None:
    assert api
    text = _output(kubectl("explain", "pod.spec.serviceAccountName"))
    assert "FIELD: serviceAccountName <string>" in text


async def test_kubectl_describes_with_events(api: Api, kubectl: Run) -> None:
    made = await api.create("pods", pod())
    involved = {
        "kind": "Pod",
        "name": "p",
        "namespace": api.namespace,
        "uid": made["metadata"]["uid"],
    }
    event = {
        "metadata": {"name": "e"},
        "involvedObject": involved,
        "reason": "Tested",
        "message": "it was",
        "type": "Normal",
    }
    await api.create("events", event)
    text = await asyncio.to_thread(lambda: _output(kubectl("describe", "pod", "p")))
    assert "Tested" in text


async def test_kubectl_waits_for_a_condition(api: Api, kubectl: Run) -> None:
    await api.create("pods", pod())
    waiting = asyncio.to_thread(kubectl, "wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
    task = asyncio.create_task(waiting)
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    kind = "application/strategic-merge-patch+json"
    await api.patch(api.path("pods", "p", "status"), {"status": status}, kind)
    assert _output(await task) == "pod/p condition met"


async def test_kubectl_follows_a_rollout_and_rolls_back(api: Api, kubectl: Run) -> None:
    assert api
    _output(kubectl("apply", "-f", "-", given=deployment(replicas=0)))
    _output(kubectl("set", "image", "deployment/d", "c=second"))
    assert "successfully rolled out" in _output(
        await asyncio.to_thread(kubectl, "rollout", "status", "deployment/d", "--timeout=30s")
    )
    _output(kubectl("rollout", "undo", "deployment/d"))
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert _output(kubectl("get", "deployment", "d", "-o", image)) == "i"


async def test_kubectl_auth_can_i_returns_permissions(api: Api, kubectl: Run) -> None:
    assert _output(kubectl("auth", "can-i", "create", "pods")) == "yes"
    reply = kubectl("auth", "can-i", "create", "pods", "--as", "missing")
    assert (reply.returncode, reply.stdout.strip()) == (1, "no")
    who = json.loads(_output(kubectl("auth", "whoami", "-o", "json")))
    assert who["status"]["userInfo"]["username"] == "admin"
    assert api


async def test_kubectl_creates_a_token_and_uses_it(api: Api, kubectl: Run) -> None:
    token = _output(kubectl("create", "token", "default", "--duration", "10m"))
    reply = await api.call(
        "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=token
    )
    assert reply.body["status"]["userInfo"]["username"].endswith(":default")


async def test_kubectl_labels_annotates_and_patches(api: Api, kubectl: Run) -> None:
    await api.create("configmaps", config_map(a="1"))
    _output(kubectl("label", "cm", "m", "x=y"))
    _output(kubectl("annotate", "cm", "m", "note=this"))
    _output(kubectl("patch", "cm", "m", "--type=json", "-p", '[{"op":"remove","path":"/data/a"}]'))
    found = await api.get(api.path("configmaps", "m"))
    assert (found["metadata"]["labels"], found.get("data")) == ({"x": "y"}, None)


async def test_kubectl_reports_an_unknown_field(api: Api, kubectl: Run) -> None:
    assert api
    done = kubectl("create", "-f", "-", given=pod(restartPolicy="Sometimes"))
    assert done.returncode == 1
    assert "spec.restartPolicy" in done.stderr
    done = kubectl("apply", "-f", "-", given=pod() | {"extra": 1})
    assert 'unknown field "extra"' in done.stderr


@pytest.fixture
def library(api: Api) -> Any:
    connect: Any = config.new_client_from_config
    return connect(str(api.server.kubeconfig()))


async def test_official_library_creates_reads_and_lists(api: Api, library: Any) -> None:
    core: Any = client.CoreV1Api(library)
    made = core.create_namespaced_pod(api.namespace, pod())
    assert made.spec.containers[0].name == "c"
    assert core.read_namespaced_pod("p", api.namespace).metadata.uid == made.metadata.uid
    assert [each.metadata.name for each in core.list_namespaced_pod(api.namespace).items] == ["p"]
    with pytest.raises(client.ApiException) as refused:
        core.create_namespaced_pod(api.namespace, pod())
    assert refused.value.status == 409


async def test_official_library_watches(api: Api, library: Any) -> None:
    core: Any = client.CoreV1Api(library)
    core.create_namespaced_config_map(api.namespace, config_map())
    watcher: Any = watch
    events = watcher.Watch().stream(
        core.list_namespaced_config_map,
        api.namespace,
        field_selector="metadata.name=m",
        timeout_seconds=1,
    )
    seen = [(event["type"], event["object"].metadata.name) for event in events]
    assert seen == [("ADDED", "m")]


async def test_dynamic_client_of_the_library_discovers_kinds(api: Api, library: Any) -> None:
    connect: Any = dynamic.DynamicClient
    accounts = connect(library).resources.get(api_version="v1", kind="ServiceAccount")
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}}
    made = accounts.server_side_apply(body, namespace=api.namespace, field_manager="me")
    assert made.metadata.name == "web"
    found = accounts.get(name="web", namespace=api.namespace)
    assert found.metadata.uid == made.metadata.uid
