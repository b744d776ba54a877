"""A real Kubernetes node with its control plane and the cloud half, in one sandbox."""

import contextlib
import json
import signal
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.instance.kubectl import binaries
from tests.node import commands, images, programs
from tests.node.cloud_half import ZONES, CloudHalf, start_cloud_half
from tests.node.network import IPV4, Network
from tests.node.pki import NODE_NAME, Pki
from tests.node.sandbox import Sandbox, SandboxError, Service, sandbox, wait_until
from tests.node.sandbox_init import remove_cgroups

SEED = images.ROOT / "examples" / "quickstart" / "seed.yaml"
DNS_IMAGE = "podpass.test/coredns:1"
PODPASS_IMAGE = "docker.io/library/podpass"
# The image that the quick start names; here it has the Azure SDK and trusts the instance's CA.
CLIENT_IMAGE = "docker.io/library/python:3.12-slim"
_READY_SECONDS = 600
# kubectl and Helm end their waits themselves, with a message.
_MARGIN_SECONDS = 60
# The kernel of a node that restarts has no processes, no cgroups, no pod networks and an empty /run.
_END_CONTAINERS = """
pgrep containerd-shim | xargs -r kill -KILL
find /sys/fs/cgroup -path "*$1/*" -name cgroup.procs -exec cat {} + | sort -u | xargs -r kill -KILL
cat /proc/mounts | cut -d' ' -f2 | grep -E '^/run/(containerd|netns)/' | sort -r | xargs -r -n1 umount -l
rm -rf /run/containerd /run/netns
"""
BUNDLE = "/etc/ssl/certs/instance.crt"


@dataclass(slots=True, kw_only=True)
class Node:
    """A running node."""

    sandbox: Sandbox
    cloud: CloudHalf
    pki: Pki
    layout: commands.Layout
    binaries: Mapping[str, Path]
    services: dict[str, Service] = field(default_factory=dict)

    def kubectl(
        self, *arguments: str, given: str = "", check: bool = True, seconds: float = 300
    ) -> str:
        """Run kubectl as the administrator; return its output, with its errors if `check` is off."""
        found = binaries()
        binary = found["package"] or found["machine"]
        done = self.sandbox.run(
            binary,
            f"--kubeconfig={self.pki.kubeconfig('admin')}",
            *arguments,
            given=given,
            check=check,
            seconds=seconds,
        )
        return done.stdout if check else done.stdout + done.stderr

    def get(self, *arguments: str) -> Any:
        """Return an object, or a list, of the cluster."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects."""
        for each in objects:
            self.kubectl("apply", "-f", "-", given=json.dumps(each))

    def helm(self, *arguments: str) -> str:
        """Run Helm as the cluster's administrator; return its output."""
        kubeconfig = f"--kubeconfig={self.pki.kubeconfig('admin')}"
        command: list[str | Path] = [self.binaries["helm"], kubeconfig, *arguments]
        return self.sandbox.run(*command, seconds=_READY_SECONDS + _MARGIN_SECONDS).stdout

    def import_image(self, archive: Path, *options: str) -> None:
        """Import an image into the container runtime, as a pull would."""
        self.ctr("images", "import", *options, str(archive))

    def start(self, name: str, arguments: Sequence[str], binary: str | Path | None = None) -> None:
        """Start a program of the node."""
        command = [binary or self.binaries[name], *arguments]
        self.services[name] = self.sandbox.start(name, command)

    def read(self, path: str) -> str:
        """Return the content of a file, as the sandbox's processes see it."""
        return self.sandbox.run("cat", path).stdout

    def container_pid(self, namespace: str, pod: str, name: str = "") -> int:
        """Return the process id, in the sandbox, of a container, by default of the pod's first one."""
        pid = self.find_pid(namespace, pod, name)
        assert pid is not None, f"{namespace}/{pod}: the container does not run"
        return pid

    def find_pid(self, namespace: str, pod: str, name: str = "") -> int | None:
        """Return the process id of a container, None while it does not run."""
        found = self.get("pod", pod, "-n", namespace)["status"]
        statuses = [*found["containerStatuses"], *found.get("initContainerStatuses", ())]
        status = next(each for each in statuses if name in ("", each["name"]))
        container = status.get("containerID", "").removeprefix("containerd://")
        tasks = [line.split() for line in self.ctr("tasks", "list").splitlines()]
        return next((int(pid) for task, pid, _ in tasks if task == container), None)

    def kill_container(self, namespace: str, pod: str) -> None:
        """Kill the processes of a pod's first container, as the kernel does when memory is short."""
        self.sandbox.run("kill", "-KILL", str(self.container_pid(namespace, pod)))

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client; return its output."""
        return self.sandbox.run("ctr", "-a", commands.RUNTIME, "-n", "k8s.io", *arguments).stdout

    def start_programs(self, prepare: Callable[[], None] = lambda: None) -> None:
        """Start all programs; `prepare` ends, next to the start of the others, before the kubelet starts."""
        layout = self.layout
        containerd = programs.find("containerd")
        assert containerd is not None
        self.start("containerd", commands.containerd(layout), containerd)
        self.start("etcd", commands.etcd(layout))
        self.start("kube-apiserver", commands.api_server(layout))
        with ThreadPoolExecutor(1) as background:
            prepared = background.submit(prepare)
            _wait_for_api(self)
            self.start("kube-controller-manager", commands.controllers(layout))
            self.start("kube-scheduler", commands.scheduler(layout))
            self.start("kube-proxy", commands.proxy(layout))
            prepared.result()
        self.start("kubelet", commands.kubelet(layout))

    def reboot(self) -> None:
        """End all programs and containers at once, and start the programs again."""
        for service in self.services.values():
            self.sandbox.stop(service, signal.SIGKILL)
        self.sandbox.run("sh", "-c", _END_CONTAINERS, "end", self.sandbox.cgroup)
        # The kubelet would wait three seconds for the task of each of them.
        remove_cgroups(f"{self.sandbox.folder.name}/kubepods")
        self.start_programs()

    def wait_for(self, *arguments: str, seconds: int = _READY_SECONDS) -> None:
        """Wait until `kubectl wait` or `kubectl rollout status` succeeds."""
        self.kubectl(*arguments, f"--timeout={seconds}s", seconds=seconds + _MARGIN_SECONDS)


@contextlib.contextmanager
def running_node(network: Network = IPV4) -> Iterator[Node]:
    """Start a node; it is ready, and so is the cluster's DNS.

    Raises CannotRun, if a program is missing; SandboxError.
    """
    programs.check_machine()
    binaries_ = programs.build_programs()
    with sandbox(network) as box:
        cloud = start_cloud_half(box, SEED)
        pki = Pki(box.folder / "pki", network)
        pki.write()
        layout = commands.Layout(
            folder=box.folder,
            pki=pki,
            issuer=cloud.issuer,
            issuer_keys=cloud.issuer_keys,
            cgroup=box.cgroup,
        )
        node = Node(sandbox=box, cloud=cloud, pki=pki, layout=layout, binaries=binaries_)
        try:
            _start(node)
        except SandboxError as exc:
            raise SandboxError(f"{exc}\n{_last_lines(node)}") from exc
        yield node


def _start(node: Node) -> None:
    node.start_programs(lambda: _import_images(node))
    node.kubectl("apply", "-f", "-", given=_dns(node.pki.network))
    wait_until(lambda: NODE_NAME in node.kubectl("get", "nodes"), _READY_SECONDS, "the node")
    node.wait_for("wait", "--for=condition=Ready", f"node/{NODE_NAME}")
    node.wait_for("rollout", "status", "-n", "kube-system", "deployment/coredns")


def _wait_for_api(node: Node) -> None:
    def is_ready() -> bool:
        for name in ("etcd", "kube-apiserver"):
            if node.sandbox.exit_code(node.services[name]) is not None:
                raise SandboxError(f"{name} has exited")
        # While it is not ready, it lists its checks; those that passed have "ok" as well.
        return node.kubectl("get", "--raw", "/readyz", check=False) == "ok"

    wait_until(is_ready, _READY_SECONDS, f"the API server {node.pki.network.server}")


def _import_images(node: Node) -> None:
    folder = node.sandbox.folder
    wait_until(
        lambda: node.sandbox.run("test", "-S", commands.RUNTIME, check=False).returncode == 0,
        _READY_SECONDS,
        "containerd",
    )
    for image in (
        _program(node, commands.PAUSE_IMAGE, "pause"),
        _program(node, DNS_IMAGE, "coredns"),
    ):
        node.import_image(images.write_archive(image, folder / "image.tar"))
    node.import_image(images.write_archive(_client(node), folder / "image.tar"))
    node.import_image(images.podpass_archive(), f"--base-name={PODPASS_IMAGE}")
    (folder / "image.tar").unlink()


def _program(node: Node, image: str, program: str) -> images.Image:
    layer = node.sandbox.folder / f"{program}.layer"
    images.program_layer(layer, {f"/{program}": node.binaries[program]})
    user = "0:0" if program == "coredns" else images.USER
    return images.Image(name=image, layers=[layer], command=[f"/{program}"], user=user)


def _client(node: Node) -> images.Image:
    own = node.sandbox.folder / "client.layer"
    images.text_layer(own, {BUNDLE: node.cloud.ca.read_bytes()})
    variables = {"PATH": "/usr/local/bin", "SSL_CERT_FILE": BUNDLE, "REQUESTS_CA_BUNDLE": BUNDLE}
    return images.Image(name=CLIENT_IMAGE, layers=[images.client_layer(), own], variables=variables)


def _dns(network: Network) -> str:
    text = Path(__file__).with_name("dns.yaml").read_text()
    kinds = ("A", "AAAA") if network.has_ipv4 else ("AAAA", "A")
    return string.Template(text).substitute(
        **dict(zip(("kind", "other"), kinds, strict=True)),
        zones=" ".join(ZONES),
        address=network.first.node,
        image=DNS_IMAGE,
        service=network.first.dns_service,
    )


def _last_lines(node: Node) -> str:
    """Return the last lines of each program's log."""
    found = []
    for service in node.services.values():
        lines = service.log.read_text(errors="replace").splitlines()[-15:]
        found.append("\n".join([f"--- {service.name}", *lines]))
    return "\n".join(found)
