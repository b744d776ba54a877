"""An instance with a real API server: all other parts are the same as with the embedded one."""

import json
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from podpass import names
from podpass.crypto import jose
from podpass.lab.tutorial.demo import run_demo
from tests.journey.instance import CLIENT, LABEL, Instance
from tests.lab.instance.kubectl import Kubectl, binaries
from tests.run_program import run_text
from tests.waiting import wait_until

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]


@pytest.fixture
def kubectl(real_instance: Instance, tmp_path: Path) -> Kubectl:
    found = binaries()
    kubeconfig = Path(real_instance.status["kubernetes"]["kubeconfig"])
    return Kubectl(
        binary=found["package"] or found["machine"], kubeconfig=kubeconfig, home=tmp_path
    )


@pytest.mark.usefixtures("assets")
async def test_demo_passes_on_a_real_api_server() -> None:
    said: list[str] = []
    await run_demo(said.append, kubernetes="kube-apiserver")
    text = "\n".join(said)
    assert "printed: hello from the vault" in text
    assert "hops:      none" in text
    assert "AADSTS700213" in text


def test_status_names_the_api_server(real_instance: Instance) -> None:
    assert real_instance.status["kubernetes"]["kind"] == "kube-apiserver"
    assert real_instance.status["pids"].keys() == {
        *("podpass", "etcd", "kube-apiserver", "kube-controller-manager")
    }
    version = client.VersionApi(real_instance.kubernetes).get_code()
    assert version.git_version.startswith("v1.")


def test_a_labelled_pod_is_mutated_and_reads_its_secret(real_instance: Instance) -> None:
    assert real_instance.run_pod("reads", "web") == ("Succeeded", "hello\n")
    found = real_instance.core.read_namespaced_pod("reads", "default")
    variables = {each.name: each.value for each in found.spec.containers[0].env}
    assert variables["AZURE_CLIENT_ID"] == CLIENT
    assert found.spec.node_name == "podpass"


def test_pod_without_the_label_is_not_mutated(real_instance: Instance) -> None:
    assert real_instance.run_command("plain", "web", ["true"], labels={}) == ("Succeeded", "")
    found = real_instance.core.read_namespaced_pod("plain", "default")
    assert not found.spec.containers[0].env


async def test_token_signed_by_the_real_api_server_is_exchanged(real_instance: Instance) -> None:
    assertion = real_instance.token("web")
    assert jose.parse(assertion).claims["iss"] == real_instance.status["kubernetes"]["issuer"]
    status, answer = await real_instance.exchange(assertion, correlation_id=str(uuid.uuid4()))
    assert (status, answer.get("token_type")) == (200, "Bearer")
    other = real_instance.token("web", "https://kubernetes.default.svc")
    status, answer = await real_instance.exchange(other, correlation_id=str(uuid.uuid4()))
    assert status == 401
    assert answer["error_codes"] == [700212]


def test_pod_log_is_followed_through_the_real_api_server(kubectl: Kubectl) -> None:
    program = "import time\nfor n in range(3): print('line', n, flush=True); time.sleep(0.3)"
    container = {"name": "app", "image": "none", "command": ["python", "-c", program]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talks"}, "spec": spec}
    kubectl("apply", "-f", "-", given=json.dumps(pod))
    kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/talks", "--timeout=30s")
    following = kubectl.following("logs", "-f", "talks")
    printed, _ = following.communicate(timeout=60)
    assert printed.splitlines() == ["line 0", "line 1", "line 2"]
    assert kubectl("logs", "talks", "--tail=1") == "line 2\n"


def test_the_pods_of_a_deployment_run_and_are_mutated(kubectl: Kubectl) -> None:
    container = {"name": "app", "image": "none", "command": ["sleep", "60"]}
    labels = {"app": "scaled", **LABEL}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "scaled"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "scaled"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"serviceAccountName": "web", "containers": [container]},
            },
        },
    }
    kubectl("apply", "-f", "-", given=json.dumps(deployment))
    kubectl("rollout", "status", "deployment/scaled", "--timeout=50s")
    found = json.loads(kubectl("get", "pods", "-l", "app=scaled", "-o", "json"))["items"]
    assert len(found) == 2
    for pod in found:
        variables = {each["name"] for each in pod["spec"]["containers"][0]["env"]}
        assert "AZURE_CLIENT_ID" in variables
    kubectl("delete", "deployment", "scaled", "--cascade=foreground", "--timeout=50s")


def test_kubectl_shows_events_and_describes_a_pod(kubectl: Kubectl) -> None:
    container = {"name": "app", "image": "none", "command": ["true"]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "described"}, "spec": spec}
    kubectl("apply", "-f", "-", given=json.dumps(pod))
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/described", "--timeout=30s")
    described = kubectl("describe", "pod", "described")
    assert "Scheduled" in described
    assert "Started" in described


@pytest.fixture
def webhook_unavailable(real_instance: Instance) -> Iterator[None]:
    """Point the webhook configuration at a port without a listener, and restore it."""
    api: Any = client.AdmissionregistrationV1Api(real_instance.kubernetes)
    found = api.read_mutating_webhook_configuration(names.WEBHOOK_CONFIGURATION)
    address = found.webhooks[0].client_config.url

    def point(url: str) -> None:
        hook = {"name": names.WEBHOOK_NAME, "clientConfig": {"url": url}}
        body = {"webhooks": [hook]}
        api.patch_mutating_webhook_configuration(names.WEBHOOK_CONFIGURATION, body)

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        point(f"https://127.0.0.1:{unused.getsockname()[1]}{names.WEBHOOK_PATH}")
        yield
    point(address)
    wait_until(lambda: _accepts_a_labelled_pod(real_instance))


def _accepts_a_labelled_pod(instance: Instance) -> bool:
    spec = {"serviceAccountName": "web", "containers": [{"name": "c", "image": "i"}]}
    body = {"metadata": {"generateName": "probe-", "labels": LABEL}, "spec": spec}
    try:
        instance.core.create_namespaced_pod("default", body, dry_run="All")
    except client.ApiException:
        return False
    return True


def test_etcd_refuses_clients_without_a_certificate(real_instance: Instance) -> None:
    """etcd stores Secrets unencrypted, and all users of a machine can reach its port."""
    command = Path(f"/proc/{real_instance.status['pids']['etcd']}/cmdline").read_text().split("\0")
    addresses = [each.partition("=")[2] for each in command if "listen-" in each]
    assert len(addresses) == 2
    for address in addresses:
        read = (
            "import ssl, sys, urllib.request as u; c = ssl.create_default_context(cafile=sys.argv[2]);"
            " u.urlopen(sys.argv[1], context=c, timeout=5)"
        )
        done = run_text(
            [sys.executable, "-c", read, f"{address}/version", real_instance.status["ca_file"]]
        )
        assert done.returncode != 0
        assert "certificate required" in done.stderr.lower().replace("_", " ")
