"""Runs a real control plane with the product's own code, and kills and restarts its programs for tests.

It runs in a thread, so it can run longer than the event loop of a test. The programs come from
KUBEBUILDER_ASSETS, the PATH, or a build with Go, in this order.
"""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.peers import kubernetes
from bench.peers.build import CannotBuild
from podpass.assertion.keys import KeyRing
from podpass.kubernetes.client import KubeClient
from podpass.lab.cluster.control_plane.plane import ControlPlane, ControlPlaneConfig
from podpass.lab.cluster.control_plane.programs import API_SERVER, ASSETS, Programs, find
from podpass.lab.data import ca, kubeconfig
from podpass.lab.data.datadir import DataDir, initialise, prepare
from tests.control_plane.background_loop import BackgroundLoop
from tests.ports import free_port

ISSUER = "https://oidc.example/issuer/"
_TIMEOUT_SECONDS = 150
# Service addresses in this range are reachable only on this machine, and without firewall rules.
SERVICE_ADDRESSES = "127.96.0.0/16"


def environ() -> dict[str, str]:
    """Return the environment variables of a control plane, or skip the test with a reason."""
    try:
        return kubernetes.environ()
    except CannotBuild as exc:
        pytest.skip(f"a real control plane: none whole in {ASSETS} or on the PATH, and {exc}")


def programs() -> Programs:
    return find(environ())


class PlaneThread:
    """A control plane; `api_server_args` and `controller_args` are additional flags of its programs.

    `token_args` are flags that replace those of the issuer's keys.
    """

    def __init__(
        self,
        folder: Path,
        api_server_args: Sequence[str] = (),
        controller_args: Sequence[str] = (),
        token_args: Sequence[str] = (),
        issuer: str = ISSUER,
    ) -> None:
        self.data_dir = DataDir(folder)
        self.port = free_port()
        self._api_server_args, self._controller_args = api_server_args, controller_args
        self._token_args, self._issuer = token_args, issuer
        self._background = BackgroundLoop()
        self._plane: ControlPlane | None = None

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.data_dir.admin_kubeconfig

    @property
    def ca_file(self) -> Path:
        return self.data_dir.ca_file

    @property
    def pids(self) -> Mapping[str, int]:
        return self._plane.pids if self._plane else {}

    def admin(self) -> KubeClient:
        """Return a client for the current event loop; the caller closes it."""
        return KubeClient.from_kubeconfig(self.kubeconfig)

    def start(self) -> None:
        """Start all programs on the data of an earlier run in the same folder."""
        prepare(self.data_dir)
        initialise(self.data_dir)
        ca.ensure_certificates(self.data_dir)
        kubeconfig.write_all(self.data_dir, self.server)
        KeyRing.open(self.data_dir.path("keys", "issuer"))
        config = ControlPlaneConfig(
            programs=programs(),
            data_dir=self.data_dir,
            issuer=self._issuer,
            port=self.port,
            token_args=self._token_args,
            api_server_args=[
                f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
                *self._api_server_args,
            ],
            controller_args=self._controller_args,
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
        """Stop the API server with SIGTERM, as an upgrade does; return when the next one is ready."""
        self._terminate(API_SERVER, signal.SIGTERM)

    def kill(self, name: str) -> None:
        """Kill a program with SIGKILL, as the OOM killer does; return when everything is ready again."""
        self._terminate(name, signal.SIGKILL)

    def _terminate(self, name: str, number: signal.Signals) -> None:
        assert self._plane is not None
        before = self.pids[name]
        self._background.run(_signal(self._plane, name, number))
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while self.pids.get(name, before) == before:
            assert time.monotonic() < deadline, f"{name} was not started again"
            time.sleep(0.02)
        self._background.run(self._plane.until_ready())


async def _signal(plane: ControlPlane, name: str, number: signal.Signals) -> None:
    plane.signal(name, number)


@contextmanager
def running(
    folder: Path,
    api_server_args: Sequence[str] = (),
    controller_args: Sequence[str] = (),
    token_args: Sequence[str] = (),
    issuer: str = ISSUER,
) -> Iterator[PlaneThread]:
    """Run a control plane; at the end all its processes have ended."""
    plane = PlaneThread(folder, api_server_args, controller_args, token_args, issuer)
    try:
        plane.start()
        yield plane
    finally:
        plane.close()
