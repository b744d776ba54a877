"""`podpass doctor` on a real node: kubelet, containerd and the chart's webhook."""

import json
import sys
from typing import Any

from tests.node.node import Node
from tests.node.objects import container, create_namespace, pod

# The cloud half is not read: its requests would leave the node's network.
_DIAGNOSE = """
import asyncio, json, sys
from pathlib import Path
from podpass.cli.doctor import _as_json
from podpass.diagnose.doctor.cloud_model import CloudFacts
from podpass.diagnose.doctor.cluster_facts import WorkloadRef
from podpass.diagnose.doctor.run import diagnose
from podpass.kubernetes.client import KubeClient

async def read_no_cloud(_):
    return CloudFacts()

async def main(kubeconfig, namespace, pod):
    workload = WorkloadRef(namespace=namespace, pod=pod)
    async with KubeClient.from_kubeconfig(Path(kubeconfig)) as client:
        [found] = await diagnose(client, [workload], read_cloud=read_no_cloud)
    print(json.dumps(_as_json(found)))

asyncio.run(main(*sys.argv[1:]))
"""
_SLEEP = ["python", "-c", "import time; time.sleep(3600)"]
_IN_CONTAINER = {"token-file-missing", "token-subject", "token-expired", "token-key-unknown"}


def _diagnose(node: Node, namespace: str, name: str) -> dict[str, Any]:
    kubeconfig = str(node.pki.kubeconfig("admin"))
    done = node.sandbox.run(sys.executable, "-c", _DIAGNOSE, kubeconfig, namespace, name)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _checks(found: dict[str, Any]) -> list[str]:
    return [each["check"] for each in found["findings"]]


def test_healthy_pod_of_an_image_without_a_shell_has_no_finding(webhook: Node) -> None:
    create_namespace(webhook, "doctor-healthy")
    webhook.apply(pod("web", "doctor-healthy", container(_SLEEP)))
    webhook.wait_for("wait", "--for=condition=Ready", "pod/web", "-n", "doctor-healthy")
    found = _diagnose(webhook, "doctor-healthy", "web")
    assert _checks(found) == []
    assert {*found["passed"]} >= {*_IN_CONTAINER, "authority-unreachable", "clock-wrong"}
    assert "eyJ" not in json.dumps(found)


def test_broken_containers_are_named(webhook: Node) -> None:
    space = "doctor-broken"
    create_namespace(webhook, space)
    authority = [{"name": "AZURE_AUTHORITY_HOST", "value": "https://127.0.0.1:1/"}]
    webhook.apply(pod("authority", space, container(_SLEEP, env=authority)))
    crash = pod("crash", space, container(["python", "-c", "raise SystemExit(1)"]))
    crash["spec"]["restartPolicy"] = "Always"
    webhook.apply(crash)
    webhook.apply(pod("image", space, container(_SLEEP, "absent.invalid/image:1")))
    webhook.wait_for("wait", "--for=condition=Ready", "pod/authority", "-n", space)
    assert _checks(_diagnose(webhook, space, "authority")) == ["authority-unreachable"]
    for name, reason in (("crash", "CrashLoopBackOff"), ("image", "ImagePullBackOff")):
        path = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=" + reason
        webhook.wait_for("wait", f"--for={path}", f"pod/{name}", "-n", space)
        found = _diagnose(webhook, space, name)
        assert _checks(found) == ["container-not-running"]
        text = found["findings"][0]["message"]
        assert reason in text or "exit code 1" in text or "ErrImagePull" in text


def test_pod_that_is_older_than_the_annotation_is_named(webhook: Node) -> None:
    create_namespace(webhook, "doctor-drift")
    webhook.apply(pod("web", "doctor-drift", container(_SLEEP)))
    webhook.wait_for("wait", "--for=condition=Ready", "pod/web", "-n", "doctor-drift")
    change = "azure.workload.identity/service-account-token-expiration=7200"
    webhook.kubectl("annotate", "serviceaccount", "web", "-n", "doctor-drift", change)
    assert _checks(_diagnose(webhook, "doctor-drift", "web")) == ["pod-outdated"]
