"""A real control plane in a folder of its own, from the product's own code; and what tests do to it.

`Plane` runs in a thread, so that it outlives the event loop of a test: start it, kill any of its programs,
start the API server anew, stop it. Programs come from KUBEBUILDER_ASSETS, the PATH, or Go, in this order.
"""

import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.peers import kubernetes
from bench.peers.build import CannotBuild
from podpass.assertion.keys import KeyRing
from podpass.kubernetes.client import KubeClient
from podpass.local import ca, kubeconfig
from podpass.local.control_plane.plane import ControlPlane, ControlPlaneConfig
from podpass.local.control_plane.programs import API_SERVER, ASSETS, Programs, find
from podpass.local.datadir import DataDir, initialise, prepare
from tests.control_plane.background import Background

ISSUER = "https://oidc.example/issuer/"
_PATIENCE_SECONDS = 150
# Services of these addresses can be reached on this machine alone, and without a rule of its firewall.
SERVICE_ADDRESSES = "127.96.0.0/16"


def environ() -> dict[str, str]:
    """Give an environment in which a control plane is found, or skip, saying why there is none."""
    try:
        return kubernetes.environ()
    except CannotBuild as exc:
        pytest.skip(f"a real control plane: none whole in {ASSETS} or on the PATH, and {exc}")


def programs() -> Programs:
    return find(environ())


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


class Plane:
    """A control plane; `more` and `more_controllers` are further flags of its programs."""

    def __init__(
        self, folder: Path, more: Sequence[str] = (), more_controllers: Sequence[str] = ()
    ) -> None:
        self.data_dir = DataDir(folder)
        self.port = free_port()
        self._more, self._more_controllers = more, more_controllers
        self._background = Background()
        self._plane: ControlPlane | None = None

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.data_dir.admin_kubeconfig

    @property
    def ca_file(self) -> Path:
        return self.data_dir.ca_file

    @property
    def pids(self) -> Mapping[str, int]:
        return self._plane.pids if self._plane else {}

    def admin(self) -> KubeClient:
        """Give a client for the event loop that uses it; close it."""
        return KubeClient.from_kubeconfig(self.kubeconfig)

    def start(self) -> None:
        """Start everything, on what an earlier run of the same folder left."""
        prepare(self.data_dir)
        initialise(self.data_dir)
        ca.ensure(self.data_dir)
        kubeconfig.write_all(self.data_dir, self.server)
        KeyRing.open(self.data_dir.path("keys", "issuer"))
        config = ControlPlaneConfig(
            programs=programs(),
            data_dir=self.data_dir,
            issuer=ISSUER,
            port=self.port,
            more=[f"--service-cluster-ip-range={SERVICE_ADDRESSES}", *self._more],
            more_controllers=self._more_controllers,
        )
        plane = ControlPlane(config)
        self._background.run(plane.__aenter__())
        self._plane = plane

    def stop(self) -> None:
        if self._plane is not None:
            self._background.run(self._plane.__aexit__())
            self._plane = None

    def close(self) -> None:
        self.stop()
        self._background.close()

    def restart_api_server(self) -> None:
        """End the API server as an upgrade does; return when the next one is ready."""
        self._end(API_SERVER, signal.SIGTERM)

    def kill(self, name: str) -> None:
        """End a program as a lack of memory does; return when all is ready again."""
        self._end(name, signal.SIGKILL)

    def _end(self, name: str, number: signal.Signals) -> None:
        assert self._plane is not None
        before = self.pids[name]
        self._background.run(_signal(self._plane, name, number))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.pids.get(name, before) == before:
            assert time.monotonic() < deadline, f"{name} was not started again"
            time.sleep(0.02)
        self._background.run(self._plane.until_ready())


async def _signal(plane: ControlPlane, name: str, number: signal.Signals) -> None:
    plane.signal(name, number)


@contextmanager
def running(
    folder: Path, more: Sequence[str] = (), more_controllers: Sequence[str] = ()
) -> Iterator[Plane]:
    """Give a control plane that is ready, and leave no process of it behind."""
    plane = Plane(folder, more, more_controllers)
    try:
        plane.start()
        yield plane
    finally:
        plane.close()
