"""The control plane as one thing: its programs started in their order, ready for pods, and stopped."""

import asyncio
import contextlib
import hashlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from podpass.files import private_folder
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.kubelet.orphan_reaper import Guard
from podpass.kubernetes.kubelet.process import kill_marked
from podpass.local.control_plane import commands
from podpass.local.control_plane.programs import API_SERVER, CONTROLLERS, ETCD, Programs
from podpass.local.control_plane.service import ControlPlaneFailed, Service
from podpass.local.datadir import DataDir

_log = logging.getLogger(__name__)

VARIABLE = "PODPASS_CONTROL_PLANE"
_READY_SECONDS = 120.0
_LOOK_SECONDS = 0.05
_READY = "/readyz"
# Pods are refused before the controllers have made these.
_FOR_PODS = (
    "/api/v1/namespaces/default/serviceaccounts/default",
    "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneConfig:
    """What a control plane is made from.

    Shapes:  `data_dir` holds its certificates, kubeconfigs and the issuer's keys already; `port` is free,
             and the API server's; `more` and `more_controllers` are further flags; `started_again` hears of
             each program that ended and has another process now.
    """

    programs: Programs
    data_dir: DataDir
    issuer: str
    port: int
    more: Sequence[str] = ()
    more_controllers: Sequence[str] = ()
    started_again: Callable[[], None] = lambda: None


class ControlPlane:
    """A real control plane, as long as the context lasts; what it holds stays in the data dir."""

    def __init__(self, config: ControlPlaneConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._services: dict[str, Service] = {}

    @property
    def pids(self) -> Mapping[str, int]:
        """The processes that run now, by program."""
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
        """Send a program a signal; one that ends is started again."""
        self._services[name].send(number)

    async def until_ready(self) -> None:
        """Wait until the API server takes requests.

        Errors:  ControlPlaneFailed.
        """
        await self._answered(_READY)

    async def _start(self) -> None:
        data_dir = self._config.data_dir
        private_folder(data_dir.path("etcd"))
        mark = hashlib.sha256(str(data_dir.root.resolve()).encode()).hexdigest()[:24]
        if left := kill_marked(VARIABLE, mark):
            _log.warning("leftover_processes_ended", extra={"count": left})
        guard = await self._stack.enter_async_context(Guard(f"{VARIABLE}={mark}"))
        # Nothing of the caller's: a proxy's address or a Go setting would change what they do.
        environ = {VARIABLE: mark}
        layout = self._layout()
        await self._run(ETCD, commands.etcd(layout), guard, environ)
        await self._run(API_SERVER, commands.api_server(layout), guard, environ)
        await self._answered(_READY)
        if layout.programs.controllers is not None:
            await self._run(CONTROLLERS, commands.controllers(layout), guard, environ)
            for path in _FOR_PODS:
                await self._answered(path)

    def _layout(self) -> commands.Layout:
        config = self._config
        return commands.Layout(
            programs=config.programs,
            data_dir=config.data_dir,
            issuer=config.issuer,
            port=config.port,
            etcd_ports=_free_ports(),
            keys=sorted(config.data_dir.path("keys", "issuer").glob("*.pem")),
            more=config.more,
            more_controllers=config.more_controllers,
        )

    async def _run(
        self, name: str, command: Sequence[str], guard: Guard, environ: Mapping[str, str]
    ) -> None:
        log = self._config.data_dir.path(f"{name}.log")
        service = Service(
            name,
            command,
            log=log,
            guard=guard,
            environ=environ,
            started_again=self._config.started_again,
        )
        self._services[name] = service
        self._stack.push_async_callback(service.stop)
        await service.start()

    async def _answered(self, path: str) -> None:
        """Ask until there is an answer; a program that ended meanwhile would not give one."""
        ends = {name: each.ends for name, each in self._services.items()}
        deadline = time.monotonic() + _READY_SECONDS
        async with KubeClient.from_kubeconfig(self._config.data_dir.admin_kubeconfig) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(KubeError):
                    await client.text(path)
                    return
                for name, each in self._services.items():
                    if each.ends > ends[name]:
                        raise _failed(each, "ended while starting")
                await asyncio.sleep(_LOOK_SECONDS)
        raise _failed(self._services[API_SERVER], f"gave no answer within {_READY_SECONDS:.0f} s")


def _failed(service: Service, how: str) -> ControlPlaneFailed:
    return ControlPlaneFailed(
        f"{service.name} {how}", hint=f"look at {service.log}; its last lines say why"
    )


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
