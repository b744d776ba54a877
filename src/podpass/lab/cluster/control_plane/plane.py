"""The control plane: start its programs in order, wait until it is ready for pods, stop it."""

import asyncio
import contextlib
import hashlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from kubeling.kubelet.orphan_reaper import OrphanReaper
from kubeling.kubelet.process import kill_marked

from podpass.files import create_private_folder
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.cluster.control_plane import commands
from podpass.lab.cluster.control_plane.programs import API_SERVER, CONTROLLERS, ETCD, Programs
from podpass.lab.cluster.control_plane.service import ControlPlaneFailed, ManagedProcess
from podpass.lab.data.datadir import DataDir

_log = logging.getLogger(__name__)

VARIABLE = "PODPASS_CONTROL_PLANE"
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.05
_READY = "/readyz"
# A start creates much garbage on a small heap, so rarer collections save a seventh of its CPU time.
_GO_SETTINGS = {"GOGC": "200"}
# The API server refuses pods until the controllers have created these objects.
_REQUIRED_OBJECTS = (
    "/api/v1/namespaces/default/serviceaccounts/default",
    "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneConfig:
    """Configuration of a control plane.

    `data_dir` already contains the certificates, the kubeconfigs and the issuer's keys; `port` is a free port
    for the API server; `token_args` are the flags of other keys or of an external signer instead of the
    issuer's keys; `api_server_args` and `controller_args` are extra flags; `on_restart` is called after each
    restart of a program.
    """

    programs: Programs
    data_dir: DataDir
    issuer: str
    port: int
    token_args: Sequence[str] = ()
    api_server_args: Sequence[str] = ()
    controller_args: Sequence[str] = ()
    on_restart: Callable[[], None] = lambda: None


class ControlPlane:
    """A real control plane that runs until the context ends; its data stays in the data directory."""

    def __init__(self, config: ControlPlaneConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._services: dict[str, ManagedProcess] = {}

    @property
    def pids(self) -> Mapping[str, int]:
        """Return the process ids of the running programs, by program name."""
        return {name: pid for name, each in self._services.items() if (pid := each.pid)}

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program; a program that exits is restarted."""
        self._services[name].send(number)

    async def until_ready(self) -> None:
        """Wait until the API server is ready; controllers that exit without it are started again.

        Raises ControlPlaneFailed.
        """
        await self._wait_for(_READY, (ETCD, API_SERVER))

    async def _start(self) -> None:
        data_dir = self._config.data_dir
        create_private_folder(data_dir.path("etcd"))
        mark = hashlib.sha256(str(data_dir.root.resolve()).encode()).hexdigest()[:24]
        if left := kill_marked(VARIABLE, mark):
            _log.warning("orphaned_processes_killed", extra={"count": left})
        guard = await self._stack.enter_async_context(OrphanReaper(f"{VARIABLE}={mark}"))
        # No variables of the caller: a proxy or a Go setting would change the programs' behaviour.
        environ = {VARIABLE: mark, **_GO_SETTINGS}
        layout = self._layout()
        await self._run(ETCD, commands.etcd(layout), guard, environ)
        await self._run(API_SERVER, commands.api_server(layout), guard, environ)
        await self._wait_for(_READY)
        if layout.programs.controllers is not None:
            await self._run(CONTROLLERS, commands.controllers(layout), guard, environ)
            for path in _REQUIRED_OBJECTS:
                await self._wait_for(path)

    def _layout(self) -> commands.Layout:
        config = self._config
        return commands.Layout(
            programs=config.programs,
            data_dir=config.data_dir,
            issuer=config.issuer,
            port=config.port,
            etcd_ports=_free_ports(),
            keys=sorted(config.data_dir.path("keys", "issuer").glob("*.pem")),
            token_args=config.token_args,
            api_server_args=config.api_server_args,
            controller_args=config.controller_args,
        )

    async def _run(
        self, name: str, command: Sequence[str], guard: OrphanReaper, environ: Mapping[str, str]
    ) -> None:
        log = self._config.data_dir.path(f"{name}.log")
        service = ManagedProcess(
            name, command, log=log, guard=guard, environ=environ, on_restart=self._config.on_restart
        )
        self._services[name] = service
        self._stack.push_async_callback(service.stop)
        await service.start()

    async def _wait_for(self, path: str, names: Collection[str] = ()) -> None:
        """Poll a path until it succeeds; fail if one of the programs exits, or the time is over.

        No `names` means every program that runs. Raises ControlPlaneFailed.
        """
        needed = {name: self._services[name] for name in names or self._services}
        exits = {name: each.exits for name, each in needed.items()}
        deadline = time.monotonic() + _READY_SECONDS
        async with KubeClient.from_kubeconfig(self._config.data_dir.admin_kubeconfig) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(KubeError):
                    await client.text(path)
                    return
                for name, each in needed.items():
                    if each.exits > exits[name]:
                        raise _failed(each, "exited while starting")
                await asyncio.sleep(_POLL_SECONDS)
        raise _failed(
            self._services[API_SERVER], f"was not ready within {_READY_SECONDS:.0f} seconds"
        )


def _failed(process: ManagedProcess, reason: str) -> ControlPlaneFailed:
    return ControlPlaneFailed(
        f"{process.name} {reason}", hint=f"check the last lines of {process.log}"
    )


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
