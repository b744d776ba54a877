"""Released kubectl against a complete instance: logs, kubectl in a pod, and `rollout restart`."""

import json
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.instance.instances import Podpass
from tests.lab.instance.kubectl import Kubectl, binaries

pytestmark = pytest.mark.processes


@pytest.fixture
def name(kubectl: Kubectl) -> Iterator[str]:
    """Yield a unique name for the objects of a test; delete them at the end."""
    made = f"kubectl-{uuid.uuid4().hex[:8]}"
    yield made
    gone = ("--ignore-not-found", "--wait=false")
    kubectl("delete", "pod", made, "--grace-period=0", "--force", *gone)
    for kind in ("serviceaccount", "rolebinding"):
        kubectl("delete", kind, made, *gone)


def start(kubectl: Kubectl, name: str, container: dict[str, Any], **spec: Any) -> None:
    container = {"name": "app", "image": "example.com/app:1", **container}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }
    kubectl("apply", "-f", "-", given=json.dumps(body))


def wait_ready(kubectl: Kubectl, name: str) -> None:
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")


def wait_until_ended(kubectl: Kubectl, name: str) -> tuple[str, str]:
    """Wait until a pod has ended; return its phase and its log."""
    printed = kubectl("logs", "-f", name, "--pod-running-timeout=30s")
    kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", f"pod/{name}")
    phase = kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}")
    return phase, printed


def test_kubectl_versions_are_the_documented_ones() -> None:
    """The version of the package is pinned and documented; the machine may have any version."""
    if not (binary := binaries()["package"]):
        pytest.skip("no kubectl of the package is here")
    nowhere = Path("/nonexistent")
    package = Kubectl(binary=binary, kubeconfig=nowhere, home=nowhere)
    version = json.loads(package("version", "--client", "-o", "json"))["clientVersion"]
    assert version["gitVersion"].startswith("v1.37.")


def test_logs_are_followed_while_the_pod_runs(kubectl: Kubectl, name: str, tmp_path: Path) -> None:
    script = "echo first; until test -e /signal/go; do sleep 0.05; done; echo second"
    mount = {"name": "signal", "mountPath": "/signal"}
    volume = {"name": "signal", "hostPath": {"path": str(tmp_path)}}
    container = {"command": ["sh", "-c", script], "volumeMounts": [mount]}
    start(kubectl, name, container, volumes=[volume])
    wait_ready(kubectl, name)
    with kubectl.following("logs", "-f", name) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "first\n"
        assert kubectl("logs", name) == "first\n"
        assert follower.poll() is None
        (tmp_path / "go").touch()
        assert follower.stdout.read() == "second\n"
        assert follower.wait(30) == 0
    assert kubectl("logs", name, "-c", "app", "--tail=1") == "second\n"


def test_describe_shows_a_pod_and_its_events(kubectl: Kubectl, name: str) -> None:
    start(kubectl, name, {"command": ["sleep", "600"]})
    wait_ready(kubectl, name)
    shown = kubectl("describe", "pod", name)
    for text in ("Status:           Running", "Image:         example.com/app:1", "Started:"):
        assert text in shown
    assert "Container started: app" in shown
    nodes = kubectl("describe", "nodes")
    assert "Taints:             <none>" in nodes
    assert name in nodes


def test_describe_shows_why_the_container_of_kubectl_debug_does_not_run(
    kubectl: Kubectl, name: str
) -> None:
    start(kubectl, name, {"command": ["sleep", "600"]})
    wait_ready(kubectl, name)
    kubectl("debug", name, "--image=busybox", "--container=dbg")
    message = "{.status.ephemeralContainerStatuses[0].state.waiting.message}"
    kubectl("wait", f"--for=jsonpath={message}", f"pod/{name}", "--timeout=30s")
    shown = kubectl("describe", "pod", name)
    assert "EphemeralContainersNotRun" in shown
    assert "ephemeral containers are not run here" in shown


def test_kubectl_runs_as_a_pod_with_the_rights_of_its_account(
    kubectl: Kubectl, name: str, running: Podpass
) -> None:
    """Without a kubeconfig, kubectl uses the token of its ServiceAccount from the standard path."""
    if running.status()["sandbox"] == "rewrite":
        pytest.skip("without bubblewrap a pod does not have the path at which kubectl looks")
    kubectl("create", "serviceaccount", name)
    kubectl("create", "rolebinding", name, "--clusterrole=view", f"--serviceaccount=default:{name}")
    script = (
        '"$0" get pods -o name; "$0" auth whoami -o jsonpath={.status.userInfo.username}; echo; '
        '"$0" get secrets 2>&1; "$0" auth can-i delete pods'
    )
    container = {"command": ["sh", "-c", script, kubectl.binary]}
    start(kubectl, name, container, serviceAccountName=name)
    phase, printed = wait_until_ended(kubectl, name)
    assert f"pod/{name}\n" in printed
    assert f"system:serviceaccount:default:{name}\n" in printed
    assert "secrets is forbidden" in printed
    assert printed.endswith("no\n")
    assert phase == "Failed"  # `can-i` exits with 1 for "no"


def test_restart_keeps_the_old_pod_until_the_new_one_is_ready(
    running: Podpass, tmp_path: Path
) -> None:
    gate = tmp_path / "ready"
    gate.touch()
    container = {
        "name": "app",
        "image": "registry.k8s.io/pause:3.10",
        "readinessProbe": {
            "exec": {"command": ["sh", "-c", f"test -e {shlex.quote(str(gate))}"]},
            "periodSeconds": 1,
            "failureThreshold": 100,
        },
    }
    labels = {"app": "restarted"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "restarted"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    }

    def kubectl(line: str, **how: Any) -> str:
        done = running("run", "-q", "--", "kubectl", *line.split(), **how)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pods() -> set[str]:
        listed = json.loads(kubectl("get pods -l app=restarted -o json"))["items"]
        return {
            pod["metadata"]["name"] for pod in listed if "deletionTimestamp" not in pod["metadata"]
        }

    kubectl("apply -f -", input=json.dumps(deployment))
    kubectl("rollout status deployment/restarted --timeout=60s")
    (old,) = pods()
    # Only the new pod fails: the failure threshold keeps the old one ready.
    gate.unlink()
    kubectl("rollout restart deployment/restarted")
    waiting = running(
        *("run", "-q", "--", "kubectl", "rollout", "status", "deployment/restarted"), "--timeout=3s"
    )
    assert waiting.returncode == 1
    assert len(pods()) == 2
    assert old in pods()
    gate.touch()
    kubectl("rollout status deployment/restarted --timeout=60s")
    (new,) = pods()
    assert new != old
    kubectl("delete deployment restarted --wait=false")
