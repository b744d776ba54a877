"""Released kubectl, by WebSocket and by SPDY, and the Python client, in a running pod."""

import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config
from kubernetes.stream import portforward, stream

from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.port_forward import ForwardFailed, forward_port
from tests.lab.instance import kubectl_streams as streams
from tests.lab.instance.instances import Podpass
from tests.lab.instance.kubectl import Kubectl, binaries
from tests.ports import free_port

pytestmark = pytest.mark.processes

_FOUND = binaries()
# The oldest kubectl knows SPDY only.
_OLD = dict(
    zip(["oldest"], streams.old_binaries(_FOUND["machine"] or sys.executable), strict=False)
)
BINARIES = {name: path for name, path in {**_FOUND, **_OLD}.items() if path}


@pytest.fixture(params=[*BINARIES, "package-spdy"] if "package" in BINARIES else BINARIES)
def kubectl(request: pytest.FixtureRequest, running: Podpass, tmp_path: Path) -> Kubectl:
    name, _, spdy = request.param.partition("-")
    kubeconfig = Path(running.status()["kubernetes"]["kubeconfig"])
    found = Kubectl(binary=BINARIES[name], kubeconfig=kubeconfig, home=tmp_path)
    return streams.with_spdy(found) if spdy else found


@pytest.fixture(scope="module")
def pod(running: Podpass, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the name of a pod that serves HTTP."""
    kubeconfig = Path(running.status()["kubernetes"]["kubeconfig"])
    binary = next(iter(BINARIES.values()))
    kubectl = Kubectl(binary=binary, kubeconfig=kubeconfig, home=tmp_path_factory.mktemp("home"))
    name = f"streams-{uuid.uuid4().hex[:8]}"
    kubectl("apply", "-f", "-", given=json.dumps(streams.pod_manifest(name)))
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")
    yield name
    kubectl("delete", "pod", name, "--wait=false")


def test_commands_have_input_output_and_exit_code(kubectl: Kubectl, pod: str) -> None:
    streams.check_commands(kubectl, pod)


def test_files_are_copied(kubectl: Kubectl, pod: str, tmp_path: Path) -> None:
    streams.check_copies(kubectl, pod, tmp_path)


def test_ports_are_forwarded(kubectl: Kubectl, pod: str) -> None:
    streams.check_forwarding(kubectl, pod)


def test_shell_has_a_terminal(kubectl: Kubectl, pod: str) -> None:
    """The first move of a developer: `kubectl exec -it POD -- sh`."""
    streams.check_terminal(kubectl, "exec", "-it", pod, "--", "sh")


def test_run_attaches_to_the_new_pod(kubectl: Kubectl) -> None:
    streams.check_attached_input(kubectl, f"run-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def core(running: Podpass) -> client.CoreV1Api:
    configuration = client.Configuration()
    config.load_kube_config(  # type: ignore[no-untyped-call]
        running.status()["kubernetes"]["kubeconfig"], client_configuration=configuration
    )
    return client.CoreV1Api(client.ApiClient(configuration))


def test_python_client_runs_commands(core: client.CoreV1Api, pod: str) -> None:
    flags = {"stdin": True, "stdout": True, "stderr": True, "tty": False}
    session = stream(
        core.connect_get_namespaced_pod_exec,
        *(pod, "default"),
        command=["sh"],
        **flags,
        _preload_content=False,
    )
    # Both answers may arrive in one packet; each is read by itself.
    session.write_stdin("echo $WHO; echo sorry >&2\n")
    assert session.readline_stdout(timeout=20) == pod
    assert session.readline_stderr(timeout=20) == "sorry"
    session.write_stdin("exit 9\n")
    session.run_forever(timeout=20)
    assert session.returncode == 9
    session.close()


def test_python_client_forwards_ports(core: client.CoreV1Api, pod: str) -> None:
    port = int(core.read_namespaced_pod_log(pod, "default").split()[1])
    forward = portforward(
        core.connect_get_namespaced_pod_portforward, pod, "default", ports=str(port)
    )
    socket = forward.socket(port)
    socket.setblocking(True)
    socket.sendall(b"POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc")
    answer = b"".join(iter(lambda: socket.recv(65536), b""))
    assert answer.endswith(f"{pod} 3".encode())
    assert forward.error(port) is None


async def test_client_of_podpass_forwards_ports(
    core: client.CoreV1Api, running: Podpass, pod: str
) -> None:
    """The client of `podpass cloud env` and `run`, on the kubelet's own protocol."""
    port = int(core.read_namespaced_pod_log(pod, "default").split()[1])
    kubeconfig = Path(running.status()["kubernetes"]["kubeconfig"])
    async with KubeClient.from_kubeconfig(kubeconfig) as kube:
        async with forward_port(kube, "default", pod, port) as opened:
            await opened.send(b"POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc")
            answer = b""
            while data := await opened.receive():
                answer += data
        assert answer.endswith(f"{pod} 3".encode())
        async with forward_port(kube, "default", pod, free_port()) as refused:
            with pytest.raises(ForwardFailed, match="Connection refused"):
                await refused.receive()
