"""What a running container is: its memory, its user, its rights, its root file system, its start."""

import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.node.node import Node
from tests.node.sandbox import wait_until

_MIB = 1024 * 1024
_SECONDS = 300
# It runs in a pod's network: it prints the time of the first answer after a container of the pod was killed.
_WATCH = """
import http.client, sys, time

def is_ready():
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

assert is_ready()
print("ready", flush=True)
while is_ready():
    time.sleep(0.005)
while not is_ready():
    time.sleep(0.005)
print(time.clock_gettime(time.CLOCK_BOOTTIME), flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """One container; memory is what the kubelet reports as its working set.

    `programs` are the executable files, without libraries.
    """

    memory_mib: float
    user: int
    capabilities: int
    no_new_privileges: bool
    has_seccomp: bool
    root_is_read_only: bool
    files: int
    content_mib: float
    programs: frozenset[str]


def read_facts(node: Node, namespace: str, pod: str, container: str = "") -> ContainerFacts:
    """Read the facts of a running container, by default of a pod's first one."""
    process = f"/proc/{node.container_pid(namespace, pod, container)}"
    status = _fields(node.read(f"{process}/status"))
    (root,) = (
        line for line in node.read(f"{process}/mounts").splitlines() if line.split()[1] == "/"
    )
    found = ["find", f"{process}/root/", "-xdev", "-type", "f", "-printf", "%s %m %P\\n"]
    files = [line.split(" ", 2) for line in node.sandbox.run(*found).stdout.splitlines()]
    return ContainerFacts(
        memory_mib=_working_set(node, process) / _MIB,
        user=int(status["Uid"].split()[0]),
        capabilities=int(status["CapEff"], 16) | int(status["CapBnd"], 16),
        no_new_privileges=status["NoNewPrivs"] == "1",
        has_seccomp=status["Seccomp"] == "2",
        root_is_read_only="ro" in root.split()[3].split(","),
        files=len(files),
        content_mib=sum(int(size) for size, _, _ in files) / _MIB,
        programs=frozenset(
            path for _, mode, path in files if int(mode, 8) & 0o111 and ".so" not in path
        ),
    )


def measure_start(node: Node, namespace: str, pod: str, container: str, port: int) -> float:
    """Kill a container, which the kubelet starts again; return the seconds from its process to `/readyz`."""
    before = node.container_pid(namespace, pod, container)
    network = ["nsenter", f"--target={before}", "--net", "--"]
    watch = node.sandbox.start(
        f"start-{namespace}-{pod}", [*network, sys.executable, "-IS", "-c", _WATCH, str(port)]
    )

    def lines() -> list[str]:
        return watch.log.read_text().splitlines()

    wait_until(lambda: lines() == ["ready"], _SECONDS, "the container serves")
    node.sandbox.run("kill", "-KILL", str(before))
    wait_until(lambda: len(lines()) == 2, _SECONDS, "the container serves again")
    wait_until(
        lambda: node.find_pid(namespace, pod, container) not in (None, before),
        _SECONDS,
        "the kubelet reports the new container",
    )
    pid = node.container_pid(namespace, pod, container)
    # Its fields after the name, which may contain spaces: the 20th is the start in ticks since the boot.
    ticks = int(node.read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19])
    return float(lines()[1]) - ticks / os.sysconf("SC_CLK_TCK")


def describe(name: str, facts: ContainerFacts, start_seconds: float) -> str:
    """Return one line for the log of a test run; docs/decisions has a table of them."""
    fields = dataclasses.asdict(facts) | {"programs": sorted(facts.programs)}
    return f"{name}: start {start_seconds:.2f} s, {fields}"


def _working_set(node: Node, process: str) -> int:
    """Return the memory of a container's cgroup that cannot be reclaimed at once."""
    for line in node.read(f"{process}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            folder = PurePosixPath("/sys/fs/cgroup/memory", path.lstrip("/"))
            used = int(node.read(f"{folder}/memory.usage_in_bytes"))
            return used - int(
                _fields(node.read(f"{folder}/memory.stat"), " ")["total_inactive_file"]
            )
    folder = PurePosixPath("/sys/fs/cgroup", path.lstrip("/"))
    used = int(node.read(f"{folder}/memory.current"))
    return used - int(_fields(node.read(f"{folder}/memory.stat"), " ")["inactive_file"])


def _fields(text: str, separator: str = ":") -> dict[str, str]:
    pairs = (line.partition(separator) for line in text.splitlines())
    return {key: value.strip() for key, _, value in pairs}
