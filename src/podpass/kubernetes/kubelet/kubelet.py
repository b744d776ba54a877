"""The runtime as a whole: what it is given, how it starts, how it ends."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from podpass.clock import Clock, system
from podpass.files import private_folder
from podpass.http.server import App
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.kubelet import node, sandbox
from podpass.kubernetes.kubelet.context import Host
from podpass.kubernetes.kubelet.environment import service_variables
from podpass.kubernetes.kubelet.event_recorder import Recorder
from podpass.kubernetes.kubelet.images import ImageSource
from podpass.kubernetes.kubelet.lifecycle import BackOffRule
from podpass.kubernetes.kubelet.orphan_reaper import Guard
from podpass.kubernetes.kubelet.pod_manager import Pods
from podpass.kubernetes.kubelet.pod_worker import PodWorker
from podpass.kubernetes.kubelet.process import RUNTIME_VARIABLE, kill_marked
from podpass.kubernetes.kubelet.sandbox import Sandbox
from podpass.kubernetes.kubelet.scheduler import Scheduler
from podpass.kubernetes.kubelet.server import create_app

_log = logging.getLogger(__name__)

# What a container may know of the user who started the instance: language and time zone.
_INHERITED = ("LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """What the runtime is given.

    Shapes:  `folder` is the runtime's own, one folder a pod in it; `environment` goes beneath what each
             container sets; programs are looked up beside this Python, then on `path`; built samples lie
             in `samples_folder`; `port` is where
             `app` is served, `address` the node's and its pods', which tells several nodes of one machine
             apart; `hidden` is a folder that pods may not look into where bubblewrap works,
             `shown` what of it they may read.
    Units:   seconds. `stop_seconds` is what containers get when the runtime itself ends.
    """

    kubeconfig: Path
    node_name: str
    folder: Path
    images: ImageSource
    environment: Mapping[str, str] = field(repr=False)
    path: str
    port: int = 10250
    address: str = node.ADDRESS
    hidden: Path | None = None
    shown: Sequence[Path] = ()
    clock: Clock = system
    restarts: BackOffRule = field(default_factory=BackOffRule)
    refresh_seconds: float = 60.0
    stop_seconds: float = 2.0


class Runtime:
    """A node of the cluster, as long as the context lasts."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._sandbox: Sandbox = sandbox.Rewrite()
        self._pods: Pods | None = None
        self.app: App = create_app(self._find, config.clock)

    @property
    def sandbox(self) -> str:
        """How paths in pods are made real: `bubblewrap` or `rewrite`."""
        return self._sandbox.name

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        config, stack = self._config, self._stack
        private_folder(config.folder)
        # A fixed length, so that no other runtime's mark can begin with ours.
        mark = hashlib.sha256(str(config.folder.resolve()).encode()).hexdigest()[:24]
        if left := kill_marked(RUNTIME_VARIABLE, mark):
            _log.warning("leftover_processes_ended", extra={"count": left})
        self._sandbox = await sandbox.choose(config.path, config.hidden, config.shown)
        client = await stack.enter_async_context(KubeClient.from_kubeconfig(config.kubeconfig))
        guard = await stack.enter_async_context(Guard(f"{RUNTIME_VARIABLE}={mark}"))
        events = Recorder(client, config.node_name, config.clock)
        stack.push_async_callback(events.stop)
        spec = node.describe(config.node_name, config.port, self.sandbox, config.address)
        host = self._host(client, guard, events, spec, mark)
        keeper = node.Node(client, spec, config.clock)
        await keeper.register()
        events.start()
        scheduler = Scheduler(client, events, spec.name, spec.labels, config.clock)
        self._pods = Pods(host, scheduler)
        stack.push_async_callback(self._pods.stop, config.stop_seconds)
        for work, name in ((keeper.keep(), "node"), (self._pods.follow(), "pods")):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(_complain)
            stack.push_async_callback(_cancel, task)
        _log.info("runtime_started", extra={"node": spec.name, "sandbox": self.sandbox})

    def _host(
        self, client: KubeClient, guard: Guard, events: Recorder, spec: node.NodeSpec, mark: str
    ) -> Host:
        config = self._config
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}  # noqa: TID251 tools
        return Host(
            client=client,
            events=events,
            guard=guard,
            sandbox=self._sandbox,
            node=spec.facts,
            folder=config.folder,
            images=config.images,
            environment={**inherited, **config.environment},
            services=service_variables(client.server),
            path=config.path,
            mark=mark,
            rule=config.restarts,
            refresh_seconds=config.refresh_seconds,
            clock=config.clock,
        )

    def _find(self, namespace: str, name: str) -> PodWorker | None:
        return self._pods.find(namespace, name) if self._pods else None


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _complain(task: "asyncio.Task[None]") -> None:
    """A part of the runtime that ended by itself is a fault, and must not end in silence."""
    if not task.cancelled() and (error := task.exception()):
        _log.error("runtime_part_failed", extra={"part": task.get_name()}, exc_info=error)
