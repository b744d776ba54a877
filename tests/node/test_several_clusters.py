"""One instance as the cloud of two kubelings and of the node's cluster at once, as the guide sets it up."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guides import DOCS, read_listings
from tests.lab.instance.kubectl import binaries
from tests.node.node import CLIENT_IMAGE, Node
from tests.node.objects import create_namespace
from tests.waiting import wait_until

GUIDE = DOCS / "develop/several-clusters.md"
SHARED, JOBS = (f"3f2a7c60-3c1e-4c52-9f0e-6c1d5f6f7a0{last}" for last in "12")
SECRET = "hello from the vault\n"
SPACE = "several-clusters"
ENDED = "--for=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"


class Machine:
    """The node's host, on which the kubelings and the instance run, too."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.folder = node.sandbox.folder / "several"
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        found = binaries()
        (programs / "kubectl").symlink_to(found["package"] or found["machine"])
        path = [str(programs), str(Path(sys.executable).parent), "/usr/bin", "/bin", "/usr/sbin"]
        self._variables = {
            "PATH": os.pathsep.join(path),
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

    def __call__(self, script: str) -> str:
        """Run a script of bash that must succeed; return its output."""
        given = [f"{name}={value}" for name, value in self._variables.items()]
        shell = ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", f'cd "$0"\n{script}']
        return self.node.sandbox.run("env", "-i", *given, *shell, self.folder).stdout

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def run_pod(self, name: str, account: str, client_id: str) -> str:
        """Run a pod of the guide on the node; return its phase and its log."""
        changes = {"account": account, "client_id": client_id}
        self.node.apply(_node_pod(yaml.safe_load(_listing("yaml")), name, **changes))
        self.node.wait_for("wait", "-n", SPACE, ENDED, f"pod/{name}")
        wait_until(lambda: self._phase(name) in ("Succeeded", "Failed"))
        return f"{self._phase(name)}: {self.node.kubectl('logs', name, '-n', SPACE)}"

    def _phase(self, name: str) -> str:
        return str(self.node.get("pod", name, "-n", SPACE)["status"]["phase"])


def _listing(language: str) -> str:
    [found] = read_listings(GUIDE, language)
    return found


def _node_pod(pod: Any, name: str, *, account: str, client_id: str) -> Any:
    """Return the pod of the guide with the changes that the guide names for a node."""
    pod["metadata"] |= {"name": name, "namespace": SPACE}
    pod["spec"]["serviceAccountName"] = account
    [container] = pod["spec"]["containers"]
    container["image"] = CLIENT_IMAGE
    variables = {"SSL_CERT_FILE": "/cloud/ca.pem", "REQUESTS_CA_BUNDLE": "/cloud/ca.pem"}
    variables["AZURE_CLIENT_ID"] = client_id
    container["env"] += [{"name": key, "value": value} for key, value in variables.items()]
    container["volumeMounts"].append({"name": "ca", "mountPath": "/cloud"})
    pod["spec"]["volumes"].append({"name": "ca", "configMap": {"name": "cloud-ca"}})
    return pod


@pytest.fixture(scope="module")
def machine(node: Node) -> Iterator[Machine]:
    """Start the two kubelings and the instance of the guide on the node's host."""
    found = Machine(node)
    clusters, seed, program, pods, end, *_ = read_listings(GUIDE, "sh")
    exports = "\n".join(line for line in program.splitlines() if line.startswith("export "))
    for name, language in (("read.py", "python"), ("pod.yaml", "yaml")):
        found.write(name, _listing(language))
    create_namespace(node, SPACE)
    node.kubectl("create", "serviceaccount", "jobs", "-n", SPACE)
    try:
        found(clusters)
        found(seed)
        found(f"{exports}\n{pods.partition('for name')[0]}")
        found("podpass run -q -- sh -c 'cp \"$SSL_CERT_FILE\" ca.pem'")
        environment = found.folder / "cloud.env"
        node.kubectl("create", "configmap", "cloud", "-n", SPACE, f"--from-env-file={environment}")
        ca = f"--from-file={found.folder / 'ca.pem'}"
        node.kubectl("create", "configmap", "cloud-ca", "-n", SPACE, ca)
        yield found
    finally:
        found(end)
        node.kubectl("delete", "namespace", SPACE, "--wait=false")
        node.kubectl("delete", "clusterrolebinding", "issuer-discovery", "--ignore-not-found")


def test_pods_of_two_kubelings_and_of_a_node_read_the_secret_of_one_instance(
    machine: Machine,
) -> None:
    node = machine.node
    # No identity trusts the cluster of the node, and the instance does not know its keys.
    refused = machine.run_pod("unregistered", "web", SHARED)
    assert refused.startswith("Failed: ")
    assert "AADSTS700211" in refused

    subject = f"system:serviceaccount:{SPACE}"
    trusted = f"""
identities:
  - name: shared
    client_id: {SHARED}
    federated_credentials:
      - {{name: node-web, issuer: "{node.cloud.issuer}", subject: "{subject}:web"}}
  - name: jobs
    client_id: {JOBS}
    federated_credentials:
      - {{name: node-jobs, issuer: "{node.cloud.issuer}", subject: "{subject}:jobs"}}
"""
    machine.write("node.yaml", trusted)
    machine("podpass apply -f node.yaml")
    refused = machine.run_pod("without-keys", "web", SHARED)
    assert refused.startswith("Failed: ")
    assert "AADSTS501661" in refused

    role = "--clusterrole=system:service-account-issuer-discovery"
    anyone = "--group=system:unauthenticated"
    node.kubectl("create", "clusterrolebinding", "issuer-discovery", role, anyone)
    issuer = {
        "url": node.cloud.issuer,
        "server": node.pki.network.server,
        "ca_file": str(node.pki.ca),
    }
    machine.write("node.yaml", yaml.safe_dump({"issuers": [issuer]}) + trusted)
    machine("podpass apply -f node.yaml")

    # Three credentials of one identity, and two identities of the node's cluster.
    assert machine.run_pod("shared", "web", SHARED) == f"Succeeded: {SECRET}"
    assert machine.run_pod("jobs", "jobs", JOBS) == f"Succeeded: {SECRET}"
    pods = read_listings(GUIDE, "sh")[3].partition("for name")
    assert machine("".join(pods[1:])).count(SECRET) == 2
    other = machine.run_pod("other", "jobs", SHARED)
    assert other.startswith("Failed: ")
    assert "AADSTS700213" in other
