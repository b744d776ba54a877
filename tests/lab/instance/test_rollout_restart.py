"""`kubectl rollout restart` replaces a pod only when the new one is ready."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.lab.instance.instances import Podpass

pytestmark = pytest.mark.processes


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
        *("run", "-q", "--", "kubectl", "rollout", "status", "deployment/restarted"),
        "--timeout=3s",
    )
    assert waiting.returncode == 1
    assert len(pods()) == 2
    assert old in pods()
    gate.touch()
    kubectl("rollout status deployment/restarted --timeout=60s")
    (new,) = pods()
    assert new != old
    kubectl("delete deployment restarted --wait=false")
