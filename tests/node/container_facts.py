"""What the kernel says about a running container: its memory, its user, its rights, its root."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.node.node import Node

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """One container; memory is what the kubelet reports as its working set."""

    memory_mib: float
    user: int
    capabilities: int
    no_new_privileges: bool
    has_seccomp: bool
    root_is_read_only: bool


def read_facts(node: Node, namespace: str, pod: str, container: str = "") -> ContainerFacts:
    """Read the facts of a running container, by default of a pod's first one."""
    process = f"/proc/{node.container_pid(namespace, pod, container)}"
    status = _fields(node.read(f"{process}/status"))
    (root,) = (
        line for line in node.read(f"{process}/mounts").splitlines() if line.split()[1] == "/"
    )
    return ContainerFacts(
        memory_mib=_working_set(node, process) / _MIB,
        user=int(status["Uid"].split()[0]),
        capabilities=int(status["CapEff"], 16) | int(status["CapBnd"], 16),
        no_new_privileges=status["NoNewPrivs"] == "1",
        has_seccomp=status["Seccomp"] == "2",
        root_is_read_only="ro" in root.split()[3].split(","),
    )


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
