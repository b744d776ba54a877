"""`podpass cloud` on a real node: installation, memory, what trust adds to a pod's start, reset.

    python -m bench cloud

The node has the image, and no webhook. A target is a time that a user waits, so other programs on the machine
count; the processor seconds of the same work are printed next to it, because they do not.
"""

import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import rows
from podpass import __version__
from tests.node.commands import PAUSE_IMAGE
from tests.node.container_facts import read_facts
from tests.node.images import ROOT
from tests.node.node import PODPASS_IMAGE, SEED, Node, running_node
from tests.node.programs import CannotRun

INSTALLATIONS, RESETS, PAIRS = 3, 5, 15
_INSTALL_SECONDS, _RESET_SECONDS, _MEMORY_MB, _START_MS = 10.0, 1.0, 120.0, 150.0
_LIMIT_SECONDS = 280


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: the user's time, and processor time of the command alone."""

    seconds: float
    cpu_seconds: float


def run() -> Iterator[rows.Row]:
    """Measure and yield the rows of the table."""
    try:
        with running_node() as node:
            yield from _measure(node)
    except CannotRun as exc:
        print(f"SKIPPED: podpass cloud on a real node: {exc}", file=sys.stderr)


def _measure(node: Node) -> Iterator[rows.Row]:
    node.kubectl("create", "namespace", "bench")
    costs, pods = [], []
    for number in range(INSTALLATIONS):
        if number:
            _podpass(node, "uninstall", "--yes")
        costs.append(_install(node))
        pods.append(_pod_cpu_seconds(node))
    name = "podpass cloud install: seconds until ready"
    yield _row(name, costs, _INSTALL_SECONDS, f", pods {statistics.median(pods):.1f} s")
    resets = [_podpass(node, "reset") for _ in range(RESETS)]
    yield _row("podpass cloud reset: seconds", resets, _RESET_SECONDS)
    yield _added_by_trust(node)
    # Last, so that the pod has done all of this.
    memory = read_facts(node, "podpass-cloud", _cloud_pod(node)).memory_mib * 1.048576
    target = f"target {_MEMORY_MB:.0f} MB"
    ratio = memory / _MEMORY_MB
    yield rows.row(
        "podpass cloud: memory of its pod (MB)", f"{memory:.0f} MB", target, ratio, most=1
    )


def _row(name: str, costs: list[Cost], target: float, more: str = "") -> rows.Row:
    seconds = statistics.median(each.seconds for each in costs)
    cpu = statistics.median(each.cpu_seconds for each in costs)
    peer = f"target {target:.0f} s; CPU {cpu:.1f} s{more}"
    return rows.row(name, f"{seconds:.2f} s", peer, seconds / target, most=1)


def _install(node: Node) -> Cost:
    image = f"{PODPASS_IMAGE}:{__version__}"
    # The tests' node has Azure's names in its DNS already, in another place.
    arguments = (f"--image={image}", f"--seed={SEED}", "--for=bench")
    return _podpass(node, "install", *arguments, f"--timeout={_LIMIT_SECONDS}")


def _podpass(node: Node, *arguments: str) -> Cost:
    kubeconfig = f"KUBECONFIG={node.pki.kubeconfig('admin')}"
    command = ["env", kubeconfig, sys.executable, "-m", "podpass.cli", "cloud", *arguments]
    before, began = _children_cpu(), time.perf_counter()
    node.sandbox.run(*command, seconds=_LIMIT_SECONDS)
    return Cost(time.perf_counter() - began, _children_cpu() - before)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cloud_pod(node: Node) -> str:
    pods = node.get("pods", "-n", "podpass-cloud")["items"]
    (name,) = [
        each["metadata"]["name"] for each in pods if "deletionTimestamp" not in each["metadata"]
    ]
    return str(name)


def _pod_cpu_seconds(node: Node) -> float:
    """Return the processor seconds of the cloud's container since its start."""
    pid = node.container_pid("podpass-cloud", _cloud_pod(node))
    user, system = _stat(node, pid)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _stat(node: Node, pid: int) -> list[str]:
    """Return the fields of a process after its name, which may contain spaces."""
    return node.read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _added_by_trust(node: Node) -> rows.Row:
    """Compare the start of the same pod with and without the CA; both kinds alternate."""
    script = ["-m", "bench.pod_starts", str(node.pki.kubeconfig("admin")), PAUSE_IMAGE, str(PAIRS)]
    command: list[str | Path] = ["env", f"PYTHONPATH={ROOT}", sys.executable, *script]
    lines = node.sandbox.run(*command, seconds=PAIRS * 40).stdout.splitlines()
    took: dict[str, list[float]] = {"with": [], "without": []}
    for kind, name, sent in (line.split() for line in lines):
        started = int(_stat(node, node.container_pid("bench", name))[19])
        took[kind].append((started / os.sysconf("SC_CLK_TCK") - float(sent)) * 1000)
    added = statistics.median(took["with"]) - statistics.median(took["without"])
    peer = f"target {_START_MS:.0f} ms; without it {statistics.median(took['without']):.0f} ms"
    name = "podpass cloud: added to the start of a pod by trust webhook and CA"
    return rows.row(name, f"{added:.0f} ms", peer, max(added, 0) / _START_MS, most=1)
