"""Released kubectl against a complete instance: deployments, jobs and disruption budgets."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from podpass import names
from tests.lab.instance.kubectl import Kubectl

pytestmark = pytest.mark.processes

IMAGE = "registry.k8s.io/pause:3.10"


@pytest.fixture
def name(kubectl: Kubectl) -> Iterator[str]:
    """Yield a unique name; create a namespace of that name, and delete it at the end."""
    made = f"work-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", made)
    kubectl("config", "set-context", "--current", f"--namespace={made}")
    yield made
    kubectl("config", "set-context", "--current", "--namespace=default")
    kubectl("delete", "namespace", made, "--wait=false")


def list_objects(kubectl: Kubectl, kind: str, *arguments: str) -> list[Any]:
    items: list[Any] = json.loads(kubectl("get", kind, "-o", "json", *arguments))["items"]
    return items


def wait_for_rollout(kubectl: Kubectl, name: str) -> str:
    return kubectl("rollout", "status", f"deployment/{name}", "--timeout=50s")


def deploy(kubectl: Kubectl, name: str, replicas: int = 2, **spec: Any) -> None:
    container = {"name": "app", "image": IMAGE}
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container], **spec}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }
    kubectl("apply", "-f", "-", given=json.dumps(body))


def test_deployment_is_created_scaled_updated_and_rolled_back(kubectl: Kubectl, name: str) -> None:
    kubectl("create", "deployment", name, f"--image={IMAGE}", "--replicas=2")
    assert "successfully rolled out" in wait_for_rollout(kubectl, name)
    kubectl("scale", f"deployment/{name}", "--replicas=3")
    wait_for_rollout(kubectl, name)
    assert len(list_objects(kubectl, "pods")) == 3
    kubectl("set", "image", f"deployment/{name}", "pause=registry.k8s.io/pause:3.11")
    wait_for_rollout(kubectl, name)
    kubectl("annotate", f"deployment/{name}", "kubernetes.io/change-cause=newer")
    history = kubectl("rollout", "history", f"deployment/{name}")
    assert [line.split() for line in history.splitlines()[2:4]] == [["1", "<none>"], ["2", "newer"]]
    assert "pause:3.11" in kubectl("rollout", "history", f"deployment/{name}", "--revision=2")
    kubectl("rollout", "undo", f"deployment/{name}")
    wait_for_rollout(kubectl, name)
    images = "{.items[*].spec.containers[0].image}"
    pods = kubectl(
        "get", "pods", "-o", f"jsonpath={images}", "--field-selector=status.phase=Running"
    )
    assert "pause:3.10" in pods
    kubectl("rollout", "restart", f"deployment/{name}")
    wait_for_rollout(kubectl, name)
    kubectl("wait", "--for=condition=Available", f"deployment/{name}", "--timeout=30s")


def test_lists_show_the_progress_of_workloads(kubectl: Kubectl, name: str) -> None:
    deploy(kubectl, name)
    wait_for_rollout(kubectl, name)
    kubectl("create", "poddisruptionbudget", name, f"--selector=app={name}", "--min-available=1")
    kubectl("wait", "--for=jsonpath={.status.disruptionsAllowed}=1", f"pdb/{name}", "--timeout=30s")
    rows = {
        line.split()[0]: line.split()[1:]
        for line in kubectl("get", "deploy,rs,pdb", "-o", "wide").splitlines()
        if line and not line.startswith("NAME")
    }
    found = rows[f"deployment.apps/{name}"]
    assert found[:3] == ["2/2", "2", "2"]
    assert found[4:] == ["app", IMAGE, f"app={name}"]
    (replica_set,) = (row for key, row in rows.items() if key.startswith("replicaset.apps/"))
    assert replica_set[:3] == ["2", "2", "2"]
    assert rows[f"poddisruptionbudget.policy/{name}"][:3] == ["1", "N/A", "1"]
    assert f"deployment.apps/{name}" in kubectl("get", "all")


def test_describe_shows_deployment_events_and_why_its_pods_are_refused(
    kubectl: Kubectl, name: str
) -> None:
    deploy(kubectl, name, serviceAccountName="nobody")
    kubectl("wait", "--for=condition=ReplicaFailure", f"deployment/{name}", "--timeout=30s")
    output = kubectl("describe", "replicaset")
    assert "Warning  FailedCreate" in output
    assert 'serviceaccount "nobody" not found' in output
    shown = kubectl("describe", f"deployment/{name}")
    assert "Scaled up replica set" in shown
    assert "FailedCreate" in shown
    kubectl("create", "serviceaccount", "nobody")
    wait_for_rollout(kubectl, name)


def test_deployment_with_refused_pods_has_the_event_of_the_webhook(
    kubectl: Kubectl, name: str
) -> None:
    deploy(kubectl, name, replicas=0)
    template = {"labels": {names.USE_LABEL: "true"}, "annotations": {names.TOKEN_EXPIRATION: "1"}}
    change = {"spec": {"replicas": 1, "template": {"metadata": template}}}
    kubectl("patch", f"deployment/{name}", "-p", json.dumps(change))
    kubectl("wait", "--for=condition=ReplicaFailure", f"deployment/{name}", "--timeout=30s")
    refused = f"--field-selector=reason={names.REFUSED_REASON}"
    deadline = time.monotonic() + 30
    while not (found := list_objects(kubectl, "events", refused)):
        assert time.monotonic() < deadline, "the webhook may not write its Event"
        time.sleep(0.1)
    assert {event["involvedObject"]["kind"] for event in found} == {"ReplicaSet"}
    assert names.TOKEN_EXPIRATION in found[0]["message"]


def test_job_runs_to_completion(kubectl: Kubectl, name: str) -> None:
    kubectl("create", "job", name, "--image=busybox", "--", "sh", "-c", "echo done")
    kubectl("wait", "--for=condition=complete", f"job/{name}", "--timeout=50s")
    assert kubectl("logs", f"job/{name}") == "done\n"
    row = kubectl("get", f"job/{name}").splitlines()[1].split()
    assert row[:3] == [name, "Complete", "1/1"]
    assert "Completed" in kubectl("describe", f"job/{name}")
    kubectl("delete", f"job/{name}")
    kubectl("wait", "--for=delete", "pod", "-l", f"job-name={name}", "--timeout=50s")


@pytest.mark.parametrize(
    ("pod_labels", "annotations", "said"),
    [
        ({}, {}, "the pod lacks the label"),
        ({names.USE_LABEL: "True"}, {}, "= 'True' is not \"true\""),
        ({}, {names.USE_LABEL: "true"}, "as an annotation it has no effect"),
    ],
)
def test_kubectl_apply_warns_about_a_forgotten_label(
    kubectl: Kubectl, name: str, pod_labels: dict[str, str], annotations: dict[str, str], said: str
) -> None:
    """The entries that warn are registered on every local instance."""
    kubectl("create", "serviceaccount", "web")
    client_id = f"{names.CLIENT_ID}=22222222-aaaa-4bbb-8ccc-000000000001"
    kubectl("annotate", "serviceaccount", "web", client_id)
    spec = {"serviceAccountName": "web", "containers": [{"name": "app", "image": IMAGE}]}
    labels = {"app": name, **pod_labels}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = {**template["metadata"], "name": name}  # type: ignore[dict-item]
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
    }
    for body in (pod, workload):
        assert said in kubectl.warnings("apply", "-f", "-", given=json.dumps(body))


@pytest.mark.parametrize(
    ("image", "words"),
    [("busybox", ("sh", "-c", "echo hi")), ("python:3.12", ("python", "-c", "print('hi')"))],
)
def test_kubectl_run_passes_a_command_to_busybox_and_python(
    kubectl: Kubectl, name: str, image: str, words: tuple[str, ...]
) -> None:
    """The words after `--` are args: they replace the command of the image."""
    kubectl("run", name, f"--image={image}", "--restart=Never", "--", *words)
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=50s")
    assert kubectl("logs", name) == "hi\n"


def apply_workload(kubectl: Kubectl, kind: str, name: str, **spec: Any) -> None:
    pod = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "app", "image": IMAGE}]}
    body = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
            **spec,
        },
    }
    kubectl("apply", "-f", "-", given=json.dumps(body))


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_workload_with_revisions_is_updated_and_rolled_back(
    kubectl: Kubectl, name: str, kind: str
) -> None:
    sized = kind == "StatefulSet"
    apply_workload(kubectl, kind, name, **({"replicas": 1, "serviceName": name} if sized else {}))
    workload = f"{kind.lower()}/{name}"

    def rolled_out() -> str:
        return kubectl("rollout", "status", workload, "--timeout=50s")

    rolled_out()
    if sized:
        kubectl("scale", workload, "--replicas=2")
        rolled_out()
        names = [each["metadata"]["name"] for each in list_objects(kubectl, "pods")]
        assert names == [f"{name}-0", f"{name}-1"]
    kubectl("set", "image", workload, "app=registry.k8s.io/pause:3.11")
    rolled_out()
    history = kubectl("rollout", "history", workload)
    assert [line.split()[0] for line in history.splitlines()[2:4]] == ["1", "2"]
    assert "pause:3.11" in kubectl("rollout", "history", workload, "--revision=2")
    kubectl("rollout", "undo", workload)
    rolled_out()
    for pod in list_objects(kubectl, "pods"):
        assert pod["spec"]["containers"][0]["image"] == IMAGE
    kubectl("rollout", "restart", workload)
    rolled_out()


def test_quota_and_limit_range_are_shown_and_enforced(kubectl: Kubectl, name: str) -> None:
    kubectl("create", "quota", "small", "--hard=pods=1,limits.cpu=2")
    body = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "defaults"},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]},
    }
    kubectl("create", "-f", "-", given=json.dumps(body))
    kubectl("run", name, f"--image={IMAGE}")
    refused = kubectl.fails("run", "second", f"--image={IMAGE}")
    assert "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1" in refused
    assert "pods: 1/1" in kubectl("get", "quota", "small")
    assert "limits.cpu: 1/2" in kubectl("get", "quota", "small")
    assert "limits.cpu  1" in kubectl("describe", "quota", "small")
    assert "Container" in kubectl("describe", "limitrange", "defaults")


def test_cron_job_can_be_started_manually(kubectl: Kubectl, name: str) -> None:
    body = ("cronjob", name, "--image=busybox", "--schedule=0 3 * * *")
    kubectl("create", *body, "--", "sh", "-c", "echo by hand")
    kubectl("create", "job", "now", f"--from=cronjob/{name}")
    kubectl("wait", "--for=condition=complete", "job/now", "--timeout=50s")
    assert kubectl("logs", "job/now") == "by hand\n"


def test_node_drain_respects_disruption_budgets(kubectl: Kubectl, name: str) -> None:
    deploy(kubectl, name)
    wait_for_rollout(kubectl, name)
    kubectl("create", "poddisruptionbudget", name, f"--selector=app={name}", "--min-available=2")
    kubectl("wait", "--for=jsonpath={.status.expectedPods}=2", f"pdb/{name}", "--timeout=30s")
    (node,) = list_objects(kubectl, "nodes")
    drain = ("drain", node["metadata"]["name"], f"--pod-selector=app={name}", "--force")
    try:
        refused = kubectl.fails(*drain, "--timeout=2s")
        assert "would violate the pod's disruption budget" in refused
        assert len(list_objects(kubectl, "pods", "--field-selector=status.phase=Running")) == 2
        kubectl("delete", f"pdb/{name}")
        kubectl(*drain, "--timeout=50s")
    finally:
        kubectl("uncordon", node["metadata"]["name"])
    wait_for_rollout(kubectl, name)


def test_system_priority_classes_exist_for_charts(kubectl: Kubectl, name: str) -> None:
    deploy(kubectl, name, 1, priorityClassName="system-cluster-critical")
    wait_for_rollout(kubectl, name)
    (pod,) = list_objects(kubectl, "pods")
    assert pod["spec"]["priority"] == 2_000_000_000
    assert "system-node-critical" in kubectl("get", "priorityclasses")
