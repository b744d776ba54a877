"""The installed cloud under faults of node and cluster, while pods run and new ones are created."""

import contextlib
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import yaml

from podpass.lab.install.object_names import NAMESPACE
from podpass.lab.install.objects import DATA_DIR
from tests.node import commands
from tests.node.cloud_installation import COREFILE, IMAGE, READ, RESOLVE, WEB_SEED, Installation
from tests.node.creators import creating_pods
from tests.node.node import PODPASS_IMAGE, SEED
from tests.node.objects import container, pod
from tests.node.pki import NODE_NAME
from tests.node.sandbox import SandboxError, wait_until

_SECONDS = 300
_OUTAGE_READS = 60
_DEPLOYMENT = ("-n", NAMESPACE, "deployment/podpass-cloud")
_VAULT = "demo-vault.vault.azure.net"
# One line for each second or less: the secret, or why it cannot be read. Nothing is tried twice.
_LOOP = """
import time
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient

url = "https://demo-vault.vault.azure.net/"
while True:
    try:
        with WorkloadIdentityCredential(retry_total=0) as credential:
            print(SecretClient(url, credential, retry_total=0).get_secret("greeting").value, flush=True)
    except Exception as exc:
        print(type(exc).__name__, " ".join(str(exc).split())[:300], flush=True)
    time.sleep(0.5)
"""
# One line for each change: whether the gateway's Service has a pod.
_CONNECT = """
import socket, sys, time
last = ""
while True:
    try:
        socket.create_connection((sys.argv[1], 443), 5).close()
        found = "reached"
    except OSError as exc:
        found = str(exc)
    if found != last:
        print(found, flush=True)
    last = found
    time.sleep(0.05)
"""
_VALUE = "hello from the vault"

Lines = Callable[[], list[str]]


@pytest.fixture(scope="module")
def shop(cloud: Installation) -> Installation:
    """Install the cloud with a seed that has the credential of the namespace, so a new pod has it, too."""
    seed = cloud.node.sandbox.folder / "faults.yaml"
    found = yaml.safe_load(SEED.read_text())
    (web,) = yaml.safe_load(WEB_SEED)["identities"]
    found["identities"][0]["federated_credentials"] += web["federated_credentials"]
    seed.write_text(yaml.safe_dump(found))
    cloud.podpass("install", "--for=shop", f"--seed={seed}", "--timeout=280")
    return cloud


@contextlib.contextmanager
def _running_pod(shop: Installation, name: str, *command: str) -> Iterator[Lines]:
    """Run a pod until the context ends; yield a function that returns its lines."""
    shop.node.apply(pod(name, "shop", container(["python", "-uc", *command])))

    def lines() -> list[str]:
        # From the file of the node: it needs neither the API server nor the kubelet.
        script = f"cat /var/log/pods/shop_{name}_*/app/*.log"
        text = shop.node.sandbox.run("sh", "-c", script, check=False).stdout
        return [line.split(" ", 3)[3] for line in text.splitlines() if line.count(" ") >= 3]

    yield lines
    shop.node.kubectl("delete", "pod", name, "-n", "shop", "--wait=false")


@pytest.fixture(scope="module")
def reads(shop: Installation) -> Iterator[Lines]:
    """Run a pod that reads the secret with a new token repeatedly; return a line for each attempt."""
    with _running_pod(shop, "loop", _LOOP) as lines:
        wait_until(lambda: _VALUE in lines(), _SECONDS, "the first secret is read")
        yield lines


def _wait_for_reads(reads: Lines, count: int = 5) -> None:
    """Wait until the secret is read so many more times, one after the other."""
    before = len(reads())

    def succeeds() -> bool:
        later = reads()[before:]
        return later[-count:] == [_VALUE] * count

    wait_until(succeeds, _SECONDS, "the secret is read")


def _check_only_lookups_failed(lines: Sequence[str]) -> None:
    """Check that each read succeeded, or found no address: none was led to a wrong one."""
    failed = [line for line in lines if line != _VALUE]
    assert all("Failed to resolve" in line for line in failed), failed


def _cloud_pod(cloud: Installation) -> dict[str, Any]:
    pods = cloud.node.get("pods", "-n", NAMESPACE)["items"]
    (found,) = (each for each in pods if "deletionTimestamp" not in each["metadata"])
    return dict(found)


def _evict(cloud: Installation) -> None:
    name = _cloud_pod(cloud)["metadata"]["name"]
    about = {"name": name, "namespace": NAMESPACE}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    cloud.node.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(body))
    cloud.node.kubectl("wait", "--for=delete", f"pod/{name}", "-n", NAMESPACE, "--timeout=120s")
    cloud.node.wait_for("rollout", "status", *_DEPLOYMENT, seconds=_SECONDS)


@contextlib.contextmanager
def _creating(cloud: Installation) -> Iterator[Lines]:
    """Create pods until the context ends; each has identity and CA, or was refused with the reason."""
    with creating_pods(cloud.node, "shop") as created:
        yield created
        before = len(created())
        wait_until(lambda: len(created()) > before + 5, _SECONDS, "pods are created afterwards")
    said = created()
    refused = [line for line in said if line != "mutated"]
    assert said[-1] == "mutated"
    assert all("trust.cloud.podpass.dev" in line for line in refused), refused
    direct = [
        each
        for each in cloud.node.get("pods", "-n", "shop")["items"]
        if each["metadata"]["name"].startswith("direct-")
    ]
    assert len(direct) == said.count("mutated")
    assert all(_trusts(each) for each in direct)
    names = [each["metadata"]["name"] for each in direct]
    cloud.node.kubectl("delete", "pod", "-n", "shop", "--force", "--grace-period=0", *names)


def _trusts(found: dict[str, Any]) -> bool:
    return "podpass-cloud-trust" in {each["name"] for each in found["spec"]["volumes"]}


def _vaults(cloud: Installation) -> list[str]:
    return sorted(cloud.status()["vaults"])


def _urls(*names: str) -> list[str]:
    return [f"https://{name}.vault.azure.net" for name in names]


def test_killed_cloud_keeps_what_was_written_and_refused_pods_name_it(
    shop: Installation, reads: Lines
) -> None:
    shop.podpass("apply", "-f", "-", given="vaults: [{name: before-kill}]")
    name = _cloud_pod(shop)["metadata"]["name"]
    with _creating(shop):
        shop.node.kill_container(NAMESPACE, name)
        wait_until(lambda: _restarts(shop) == 1, _SECONDS, "the kubelet restarts the cloud")
        shop.node.wait_for("rollout", "status", *_DEPLOYMENT, seconds=_SECONDS)
    assert _vaults(shop) == _urls("before-kill", "demo-vault")
    _wait_for_reads(reads)


def _restarts(cloud: Installation) -> int:
    (status,) = _cloud_pod(cloud)["status"]["containerStatuses"]
    return int(status["restartCount"]) if status["ready"] else 0


def test_evicted_cloud_is_the_same_with_the_seed(shop: Installation, reads: Lines) -> None:
    shop.podpass("apply", "-f", "-", given="vaults: [{name: before-eviction}]")
    before = shop.status()
    with _creating(shop):
        _evict(shop)
    after = shop.status()
    same = ("tenant_id", "subscription_id", "issuer", "address")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["vaults"] == _urls("demo-vault")
    _wait_for_reads(reads)
    assert shop.run("after-eviction", READ) == f"{_VALUE}\n"


def test_pods_read_their_secret_while_the_api_server_is_away_for_a_minute(
    shop: Installation, reads: Lines
) -> None:
    node = shop.node
    _wait_for_reads(reads)
    before = len(reads())
    # Not SIGTERM, after which it serves its watches for a minute.
    node.sandbox.stop(node.services["kube-apiserver"], signal.SIGKILL)
    wait_until(lambda: len(reads()) >= before + _OUTAGE_READS, _SECONDS, "reads in the outage")
    during = reads()[before : before + _OUTAGE_READS]
    node.start("kube-apiserver", commands.api_server(node.layout))
    wait_until(
        lambda: node.kubectl("get", "--raw", "/readyz", check=False) == "ok", _SECONDS, "readyz"
    )
    # After an outage its watches may wait for a minute before they try again.
    node.sandbox.stop(node.services["kube-proxy"])
    node.start("kube-proxy", commands.proxy(node.layout))
    assert [line for line in during if line != _VALUE] == []
    assert shop.status()["ready"] is True
    node.wait_for("wait", "--for=condition=Ready", f"node/{NODE_NAME}")
    assert shop.run("after-outage", READ) == f"{_VALUE}\n"


def test_only_dns_lookups_fail_in_running_pods_while_the_kubelet_restarts(
    shop: Installation, reads: Lines
) -> None:
    node = shop.node
    with _running_pod(shop, "connect", _CONNECT, str(shop.status()["address"])) as connections:
        wait_until(connections, _SECONDS, "the gateway is reached")
        _wait_for_reads(reads)
        before = len(reads())
        node.sandbox.stop(node.services["kubelet"], signal.SIGKILL)
        node.apply(pod("no-kubelet", "shop", container(["python", "-c", READ])))
        _wait_for_reads(reads)
        node.start("kubelet", commands.kubelet(node.layout))
        done = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
        node.wait_for("wait", done, "pod/no-kubelet", "-n", "shop", seconds=_SECONDS)
        assert node.kubectl("logs", "no-kubelet", "-n", "shop") == f"{_VALUE}\n"
        # The Service of the cloud keeps its pod, although the kubelet has not probed it yet.
        assert connections() == ["reached"]
    # The restarted kubelet reports the one pod of the cluster's DNS as not ready until it has probed it.
    _check_only_lookups_failed(reads()[before:])
    assert _restarts(shop) == 0


def test_azures_names_resolve_again_after_coredns_restarts(
    shop: Installation, reads: Lines
) -> None:
    node = shop.node
    (dns,) = node.get("pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"]
    _wait_for_reads(reads)
    before = len(reads())
    node.kill_container("kube-system", dns["metadata"]["name"])
    _wait_for_reads(reads, 10)
    _check_only_lookups_failed(reads()[before:])
    address = shop.status()["address"]
    assert shop.run("after-dns", RESOLVE, _VAULT) == f"{_VAULT} {address}\n"


def test_cloud_on_a_full_volume_reports_it_and_serves_again_when_there_is_room(
    shop: Installation, reads: Lines
) -> None:
    shop.podpass("apply", "-f", "-", given="vaults: [{name: before-full}]")
    _in_cloud(shop, _FILL)
    with pytest.raises(SandboxError, match="disk"):
        shop.podpass("apply", "-f", "-", given="vaults: [{name: while-full}]")
    with _creating(shop):
        _in_cloud(shop, _FREE)
        shop.node.wait_for("rollout", "status", *_DEPLOYMENT, seconds=_SECONDS)
    assert _vaults(shop) == _urls("before-full", "demo-vault")
    shop.podpass("apply", "-f", "-", given="vaults: [{name: after-full}]")
    _wait_for_reads(reads)


_FILL = f"""
import contextlib
with contextlib.suppress(OSError), open("{DATA_DIR}/fill", "wb", buffering=0) as file:
    while file.write(bytes(4096)):
        pass
"""
_FREE = f"import os; os.unlink('{DATA_DIR}/fill')"


def _in_cloud(cloud: Installation, script: str) -> None:
    cloud.node.kubectl("exec", *_DEPLOYMENT, "--", "python3", "-c", script)


def test_claim_keeps_what_was_written_through_an_eviction_and_a_full_volume(
    shop: Installation, reads: Lines
) -> None:
    folder = _create_claim(shop)
    shop.podpass("install", "--for=shop", "--claim=data", "--timeout=280")
    shop.podpass("apply", "-f", "-", given="vaults: [{name: claimed}]")
    _evict(shop)
    assert _vaults(shop) == _urls("claimed", "demo-vault")
    fill = f"{folder}/fill"
    shop.node.sandbox.run("dd", "if=/dev/zero", f"of={fill}", "bs=4096", check=False)
    with pytest.raises(SandboxError, match="disk"):
        shop.podpass("apply", "-f", "-", given="vaults: [{name: while-full}]")
    shop.node.sandbox.run("rm", fill)
    shop.node.wait_for("rollout", "status", *_DEPLOYMENT, seconds=_SECONDS)
    assert _vaults(shop) == _urls("claimed", "demo-vault")
    shop.podpass("apply", "-f", "-", given="vaults: [{name: later}]")
    _wait_for_reads(reads)


def _create_claim(cloud: Installation) -> str:
    """Create a small volume and a claim for it; return the folder of the volume."""
    folder = f"{cloud.node.sandbox.folder}/claim"
    owner = "size=24m,uid=65532,gid=65532,mode=0770"
    cloud.node.sandbox.run("mkdir", folder)
    cloud.node.sandbox.run("mount", "-t", "tmpfs", "-o", owner, "tmpfs", folder)
    size = {"storage": "24Mi"}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    cloud.node.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "data"},
            "spec": {**spec, "capacity": size, "hostPath": {"path": folder}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": NAMESPACE},
            "spec": {**spec, "volumeName": "data", "resources": {"requests": size}},
        },
    )
    return folder


def test_upgrade_and_reset_while_pods_are_created(shop: Installation, reads: Lines) -> None:
    later = f"docker.io/{PODPASS_IMAGE.removeprefix('docker.io/')}:later"
    shop.node.ctr("images", "tag", IMAGE, later)
    with _creating(shop):
        output = shop.podpass("install", "--for=shop", f"--image={later}", "--timeout=280")
    assert "deployment/podpass-cloud configured" in output
    assert shop.status()["image"] == later
    with _creating(shop) as created:
        shop.podpass("reset")
        assert [line for line in created() if line != "mutated"] == []
    assert _vaults(shop) == _urls("demo-vault")
    _wait_for_reads(reads)


@pytest.mark.usefixtures("reads")
def test_after_uninstall_pods_are_created_and_azures_names_resolve_as_before(
    shop: Installation,
) -> None:
    with creating_pods(shop.node, "shop") as created:
        shop.podpass("uninstall", "--yes")
        before = len(created())
        wait_until(lambda: len(created()) > before + 5, _SECONDS, "pods are created afterwards")
        said = created()
    assert [line for line in said if line != "mutated"] == []
    _check_names_lead_elsewhere(shop, "after-removal")


def test_cloud_whose_pod_is_away_is_removed_completely(shop: Installation) -> None:
    shop.podpass("install", f"--image={IMAGE}", "--for=shop", f"--seed={SEED}", "--timeout=280")
    shop.node.kubectl("scale", *_DEPLOYMENT, "--replicas=0")
    shop.node.kubectl("wait", "--for=delete", "pod", "-n", NAMESPACE, "--all", "--timeout=120s")
    shop.podpass("uninstall", "--yes")
    _check_names_lead_elsewhere(shop, "after-away")


def _check_names_lead_elsewhere(shop: Installation, name: str) -> None:
    """Check that a new pod is created, and gets the addresses that the cluster's own DNS gives."""
    assert shop.node.kubectl(*COREFILE) == shop.corefile
    names: Sequence[str] = (_VAULT, "login.microsoftonline.com", "graph.microsoft.com")
    lines = shop.run(name, RESOLVE, *names).splitlines()
    assert lines == [f"{each} {shop.node.pki.network.first.node}" for each in names]
