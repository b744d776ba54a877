"""The kubelet: configuration, start and stop."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from podpass.clock import Clock, system
from podpass.files import create_private_folder
from podpass.http.server import App
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.event_recorder import EventLimits, EventRecorder
from podpass.kubernetes.kubelet import node, sandbox
from podpass.kubernetes.kubelet.context import ContainerDefaults, KubeletContext
from podpass.kubernetes.kubelet.environment import service_variables
from podpass.kubernetes.kubelet.images import ImageSource
from podpass.kubernetes.kubelet.lifecycle import RestartBackOff
from podpass.kubernetes.kubelet.orphan_reaper import OrphanReaper
from podpass.kubernetes.kubelet.pending_pods import NodeCapacity
from podpass.kubernetes.kubelet.pod_addresses import PodAddresses, usable_network
from podpass.kubernetes.kubelet.pod_manager import PodManager
from podpass.kubernetes.kubelet.pod_network import PodNetworkConfig, find_nsenter
from podpass.kubernetes.kubelet.pod_worker import PodWorker
from podpass.kubernetes.kubelet.process import RUNTIME_VARIABLE, kill_marked
from podpass.kubernetes.kubelet.sandbox import Mount, Sandbox
from podpass.kubernetes.kubelet.scheduler import Scheduler
from podpass.kubernetes.kubelet.server import create_app

_log = logging.getLogger(__name__)

COMPONENT = "kubelet"
EVENT_LIMITS = EventLimits(max_series=1024, max_queued=1000, attempts=5, drain_seconds=1.0)
# Containers inherit only language and time zone from the user who started the instance.
_INHERITED = ("LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletConfig:
    """The configuration of a kubelet.

    Shapes:  `folder` belongs to this kubelet alone and has one folder per pod; `environment` gives defaults
             of variables to each container; programs are searched next to this Python, then on `path`;
             `images` resolves an image to a command; `app` is served on `port`; `address` is the address of
             the node and its pods, which distinguishes several nodes on one machine; `max_pods` is the
             capacity of the node. In a sandbox with mounts, `hosts_file` is /etc/hosts of every container,
             and pods cannot read the folder `hidden`, except its parts in `shown`; `sandboxes` are the kinds
             of such a sandbox that are tried; `network` is the network of pods that need their own.
    Units:   seconds. `stop_seconds` is the grace period of containers when the kubelet stops.
    """

    kubeconfig: Path
    node_name: str
    folder: Path
    images: ImageSource
    environment: ContainerDefaults = field(repr=False)
    path: str
    port: int = 10250
    address: str = node.ADDRESS
    max_pods: int = node.MAX_PODS
    hosts_file: Path | None = None
    hidden: Path | None = None
    shown: Sequence[Path] = ()
    sandboxes: Sequence[str] = (sandbox.BUBBLEWRAP, sandbox.NAMESPACES)
    network: PodNetworkConfig = field(default_factory=PodNetworkConfig)
    clock: Clock = system
    restarts: RestartBackOff = field(default_factory=RestartBackOff)
    refresh_seconds: float = 60.0
    stop_seconds: float = 2.0


class Kubelet:
    """A node of the cluster for the lifetime of the context."""

    def __init__(self, config: KubeletConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._sandbox: Sandbox = sandbox.PathRewriter()
        self._pods: PodManager | None = None
        self._client: KubeClient | None = None
        self._addresses = PodAddresses(config.address, usable_network())
        self.app: App = create_app(self._find_worker, config.clock)

    @property
    def sandbox(self) -> str:
        """Return the name of the sandbox: `bubblewrap`, `namespaces` or `rewrite`."""
        return self._sandbox.name

    @property
    def pod_network(self) -> str:
        """Return `pod-addresses` if each pod has its own address, or `node-address`."""
        return "node-address" if self._addresses.is_shared else "pod-addresses"

    @property
    def has_users(self) -> bool:
        """Return whether the sandbox obeys the user of a container."""
        return self._sandbox.has_users

    def reload_kubeconfig(self) -> None:
        """Read the kubeconfig again, because its certificates have changed."""
        if self._client is not None:
            self._client.reload()

    def stopped_containers(self) -> list[str]:
        """Return the containers that a signal has stopped, with pod and process."""
        return self._pods.stopped_containers() if self._pods else []

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
        create_private_folder(config.folder)
        # A fixed length, so that the mark of another kubelet cannot begin with this one.
        mark = hashlib.sha256(str(config.folder.resolve()).encode()).hexdigest()[:24]
        if killed := kill_marked(RUNTIME_VARIABLE, mark):
            _log.warning("orphaned_processes_killed", extra={"count": killed})
        self._sandbox = await sandbox.choose_sandbox(
            config.path,
            config.hidden,
            config.shown,
            _shared_mounts(config),
            kinds=config.sandboxes,
        )
        client = await stack.enter_async_context(KubeClient.from_kubeconfig(config.kubeconfig))
        self._client = client
        reaper = await stack.enter_async_context(OrphanReaper(f"{RUNTIME_VARIABLE}={mark}"))
        spec = node.describe_node(
            config.node_name,
            config.port,
            self.sandbox,
            address=config.address,
            max_pods=config.max_pods,
        )
        registration = node.NodeRegistration(client, spec, config.clock)
        await registration.register()
        recorder = await stack.enter_async_context(
            EventRecorder(
                client, COMPONENT, host=config.node_name, clock=config.clock, limits=EVENT_LIMITS
            )
        )
        capacity = NodeCapacity(spec.max_pods)
        scheduler = Scheduler(client, recorder, spec.name, spec.labels, capacity, config.clock)
        context = self._build_context(client, reaper, recorder, spec, mark)
        context = replace(context, nsenter=await find_nsenter(config.path))
        self._pods = PodManager(context, scheduler, capacity)
        stack.push_async_callback(self._pods.stop, config.stop_seconds)
        for work, name in (
            (registration.run(), "node"),
            (self._pods.run(), "pods"),
            (self._pods.watch_namespaces(), "namespaces"),
            (scheduler.run(), "scheduler"),
        ):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(_log_failure)
            stack.push_async_callback(_cancel, task)
        _log.info("kubelet_started", extra={"node": spec.name, "sandbox": self.sandbox})

    def _build_context(
        self,
        client: KubeClient,
        reaper: OrphanReaper,
        recorder: EventRecorder,
        spec: node.NodeSpec,
        mark: str,
    ) -> KubeletContext:
        config = self._config
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}  # noqa: TID251 tools
        return KubeletContext(
            client=client,
            recorder=recorder,
            reaper=reaper,
            sandbox=self._sandbox,
            node=spec.info,
            folder=config.folder,
            images=config.images,
            environment=lambda own: {**inherited, **config.environment(own)},
            services=service_variables(client.server),
            path=config.path,
            mark=mark,
            back_off=config.restarts,
            refresh_seconds=config.refresh_seconds,
            clock=config.clock,
            addresses=self._addresses,
            network=config.network,
        )

    def _find_worker(self, namespace: str, name: str) -> PodWorker | None:
        return self._pods.find(namespace, name) if self._pods else None


def _shared_mounts(config: KubeletConfig) -> list[Mount]:
    if config.hosts_file is None:
        return []
    return [Mount(source=config.hosts_file, target="/etc/hosts", read_only=True)]


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _log_failure(task: "asyncio.Task[None]") -> None:
    """Log the error of a task that failed without being cancelled."""
    if not task.cancelled() and (error := task.exception()):
        _log.error("kubelet_task_failed", extra={"task": task.get_name()}, exc_info=error)
