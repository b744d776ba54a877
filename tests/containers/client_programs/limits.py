"""Print what an instance in a container, its clients and its neighbours can do, as lines `NAME: RESULT`."""

import subprocess
import sys
from pathlib import Path

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from podpass.errors import Error
from podpass.lab.data.ports import SERVICES
from podpass.testcontainers import PodpassContainer

_APPLICATION = "your-application:1.0"
_PROBE = f"""
import socket, os
for offset, service in enumerate({SERVICES!r}):
    try:
        socket.create_connection(("podpass", 18440 + offset), 10)
        print(f"{{service}} from a container: connected")
    except OSError as exc:
        print(f"{{service}} from a container: {{os.strerror(exc.errno)}}")
for target in ("127.0.0.1:18448", "localhost:18442", "podpass:18447", "169.254.169.254:80"):
    with socket.create_connection(("podpass", 18440), 10) as proxy:
        proxy.sendall(f"CONNECT {{target}} HTTP/1.1\\r\\n\\r\\n".encode())
        print(f"tunnel to {{target}}: {{proxy.recv(100).decode().split()[1]}}")
"""


def main(seed: Path) -> None:
    """Run the program."""
    with Network() as network, PodpassContainer(seed=seed, network=network) as container:
        podpass = container.podpass
        web = podpass.identity("web")
        print("identity:", web.client_id)
        podpass.create_identity("late")
        podpass.reset()
        try:
            podpass.identity("late")
        except LookupError as exc:
            print("after reset:", exc)
        podpass.kubernetes.create_account("default/web", web.client_id)
        kubectl = ("kubectl", "--kubeconfig", podpass.kubernetes.kubeconfig)
        command = (*kubectl, "get", "serviceaccount", "web", "-o", "name")
        print("kubectl:", subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip())
        found = (each for each in podpass.data_dir.rglob("*") if each.is_file())
        print("files:", *sorted(str(each.relative_to(podpass.data_dir)) for each in found))
        probe = DockerContainer(_APPLICATION, entrypoint=["python", "-c", _PROBE])
        with container.configure(probe):
            probe.wait()
            print(probe.get_logs()[0].decode(), end="")
    _try_wrong_use()


def _try_wrong_use() -> None:
    try:
        PodpassContainer(seed={"vault": []}).start()
    except Error as exc:
        print("bad seed:", exc.message)
    with PodpassContainer() as container:
        try:
            container.configure(DockerContainer(_APPLICATION))
        except Error as exc:
            print("no network:", exc.message)


main(Path(sys.argv[1]))
