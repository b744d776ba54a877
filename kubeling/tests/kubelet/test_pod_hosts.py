"""The host name of a pod, and its /etc/hosts."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from kubeling.kubelet.pod_hosts import build_hosts, host_name
from kubeling.kubelet.sandbox import choose_sandbox
from tests.kubelet.cluster import KubeletCluster, eventually, programs, shell

pytestmark = pytest.mark.processes

LONG = "a" * 62 + "-b"


def pod(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (pod(), "web"),
        (pod(hostname="db"), "db"),
        (pod(LONG), "a" * 62),
        (pod("b" * 70), "b" * 63),
        (pod(subdomain="all"), "web"),
        (pod(subdomain="all", setHostnameAsFQDN=True), "web.all.shop.svc.cluster.local"),
        (pod(hostname="db", hostnameOverride="other.example"), "other.example"),
        (pod(hostname="db", hostNetwork=True), socket.gethostname()),
    ],
)
def test_host_name_is_that_of_the_spec_or_of_the_pod(given: dict[str, Any], name: str) -> None:
    assert host_name(given) == name


def test_hosts_file_has_the_names_of_a_pod_before_those_of_the_machine() -> None:
    aliases = [{"ip": "192.0.2.1", "hostnames": ["one", "two"]}]
    found = build_hosts(pod(subdomain="all", hostAliases=aliases), "127.64.0.9", "::1 six\n")
    assert "127.64.0.9\tweb.all.shop.svc.cluster.local\tweb\n" in found
    assert found.endswith("192.0.2.1\tone\ttwo\n::1 six\n")


@pytest.mark.parametrize("kind", ["bubblewrap", "namespaces"])
async def test_pod_has_its_own_host_name_and_resolves_it(
    bare_cluster: KubeletCluster, tmp_path: Path, kind: str
) -> None:
    """Fails if a pod sees the name of the machine, or cannot resolve its own name."""
    if (await choose_sandbox(os.environ["PATH"], kinds=[kind])).name != kind:
        pytest.skip(f"a sandbox by {kind} does not work here")
    lines = tmp_path / "lines"
    lines.write_text("192.0.2.1 one.example\n")
    kubelet = await bare_cluster.start(
        path=programs(bare_cluster.folder, "bwrap", "grep"), sandboxes=[kind], hosts_file=lines
    )
    code = """
import os, socket
print(socket.gethostname(), os.environ["HOSTNAME"])
"""
    resolve = code + "print(socket.gethostbyname(socket.gethostname()))"
    for name, program, spec in (
        ("web", resolve, {"hostname": "db"}),
        ("machine", code, {"hostNetwork": True}),
    ):
        container = {"name": "app", "image": "none", "command": [sys.executable, "-c", program]}
        await bare_cluster.run(name, container, **spec)
    found = await bare_cluster.phase("web", "Succeeded", "Failed")
    await bare_cluster.phase("machine", "Succeeded", "Failed")
    address = found["status"]["podIP"]
    assert (await bare_cluster.log("web")).splitlines() == ["db db", address]
    assert await bare_cluster.log("machine") == f"{socket.gethostname()} {socket.gethostname()}\n"

    script = "until grep two.example /etc/hosts; do sleep 0.1; done"
    await bare_cluster.run("running", shell(f"grep one /etc/hosts; {script}"))
    await eventually(lambda: _log_has(bare_cluster, "one.example"))
    lines.write_text("192.0.2.2 two.example\n")
    kubelet.update_hosts()
    await bare_cluster.phase("running", "Succeeded")


async def _log_has(cluster: KubeletCluster, text: str) -> bool:
    pod = await cluster.get("running")
    is_started = pod["status"].get("phase") in ("Running", "Succeeded")
    return is_started and text in await cluster.log("running")
