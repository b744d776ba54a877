"""The kubelet: configuration, start and stop."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from kubeling.api import Api
from kubeling.asgi import App
from kubeling.clock import Clock, system
from kubeling.event_recorder import WARNING, ApiEvents, EventLimits, EventRecorder
from kubeling.files import create_private_folder
from kubeling.kubelet import node, sandbox
from kubeling.kubelet.cluster_dns import ClusterDns
from kubeling.kubelet.context import ContainerDefaults, KubeletContext
from kubeling.kubelet.images import ImageSource
from kubeling.kubelet.lifecycle import RestartBackOff
from kubeling.kubelet.node_network import NetworkUnavailable, NodeNetwork
from kubeling.kubelet.orphan_reaper import OrphanReaper
from kubeling.kubelet.pending_pods import NodeCapacity
from kubeling.kubelet.pod_addresses import PodAddresses, usable_network
from kubeling.kubelet.pod_hosts import HOSTS
from kubeling.kubelet.pod_manager import PodManager
from kubeling.kubelet.pod_network import PodNetworkConfig
from kubeling.kubelet.pod_worker import NETWORK_UNAVAILABLE, PodWorker
from kubeling.kubelet.process import RUNTIME_VARIABLE, handle_ignored_signals, kill_marked
from kubeling.kubelet.sandbox import Mount, Sandbox
from kubeling.kubelet.scheduler import Scheduler
from kubeling.kubelet.server import KubeletApp
from kubeling.kubelet.service_lister import ServiceLister
from kubeling.kubelet.service_network import ServiceNetwork
from kubeling.tasks import cancel_all

_log = logging.getLogger(__name__)

COMPONENT = "kubelet"
EVENT_LIMITS = EventLimits(attempts=5, drain_seconds=1.0)
# Containers inherit only language and time zone from the user who started the instance.
_INHERITED = ("LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletConfig:
    """The configuration of a kubelet.

    `folder` belongs to this kubelet alone and has one folder per pod. `environment` returns the default
    variables of a container. Programs are searched next to this Python, then on `path`. `images` resolves an
    image to a command. `port` is reported in the status of the node: the embedder serves `Kubelet.app` there
    for a real API server. `address` is the address of the node and of pods without their own, which
    distinguishes several nodes on one machine. `max_pods` is the capacity of the node.

    In a sandbox with mounts, /etc/hosts of every container has the lines of `hosts_file` (see `update_hosts`;
    the default is the machine's), and pods cannot read the folder `hidden`, except its parts in `shown`;
    `sandboxes` are the kinds of such a sandbox that are tried.

    `network` is the configuration of the networks of pods. With `own_networks` each pod has a network where
    the machine permits it, and reaches Services by address and by name. `stop_seconds` is the grace period of
    containers when the kubelet stops.
    """

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
    own_networks: bool = False
    clock: Clock = system
    restarts: RestartBackOff = field(default_factory=RestartBackOff)
    refresh_seconds: float = 60.0
    stop_seconds: float = 2.0


class Kubelet:
    """A node of the cluster for the lifetime of the context.

    `app` serves logs and streams to an API server in this process; see `server.require_api_server` for a
    port.
    """

    def __init__(self, config: KubeletConfig, api: Api) -> None:
        self._config, self._api = config, api
        self._stack = AsyncExitStack()
        self._sandbox: Sandbox = sandbox.PathRewriter()
        self._pods: PodManager | None = None
        self._own_networks = False
        self.dns: ClusterDns | None = None
        self._addresses = PodAddresses(config.address, usable_network())
        self.app: App = KubeletApp(self._find_worker, self._list_workers, config.clock)

    @property
    def sandbox(self) -> str:
        """Return the name of the sandbox: `bubblewrap`, `namespaces` or `rewrite`."""
        return self._sandbox.name

    @property
    def pod_network(self) -> str:
        """Return `pod-networks`; `pod-addresses` if pods have only their own addresses; or `node-address`."""
        if self._own_networks:
            return "pod-networks"
        return "node-address" if self._addresses.is_shared else "pod-addresses"

    @property
    def has_users(self) -> bool:
        """Return whether the sandbox obeys the user of a container."""
        return self._sandbox.has_users

    def stopped_containers(self) -> list[str]:
        """Return the containers that a signal has stopped, with pod and process."""
        return self._pods.stopped_containers() if self._pods else []

    def update_hosts(self) -> None:
        """Write /etc/hosts of every pod again, because `hosts_file` has changed."""
        if self._pods:
            self._pods.update_hosts()

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
        config, stack, hosts = self._config, self._stack, self._config.hosts_file
        is_new = not config.folder.exists()
        create_private_folder(config.folder)
        handle_ignored_signals()
        # A fixed length, so that the mark of another kubelet cannot begin with this one.
        mark = hashlib.sha256(str(config.folder.resolve()).encode()).hexdigest()[:24]
        # Only for a used folder: the search reads the environment of every process, tens of milliseconds.
        if not is_new and (killed := kill_marked(RUNTIME_VARIABLE, mark)):
            _log.warning("orphaned_processes_killed", extra={"count": killed})
        # Both wait for other programs, so they run at the same time.
        self._sandbox, network = await asyncio.gather(
            sandbox.choose_sandbox(
                config.path,
                config.hidden,
                config.shown,
                [Mount(source=hosts, target=str(HOSTS), read_only=True)] if hosts else [],
                kinds=config.sandboxes,
            ),
            self._open_network(),
        )
        client = self._api
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
                ApiEvents(client),
                COMPONENT,
                host=config.node_name,
                clock=config.clock,
                limits=EVENT_LIMITS,
            )
        )
        capacity = NodeCapacity(spec.max_pods)
        scheduler = Scheduler(client, recorder, spec.name, spec.labels, capacity, config.clock)
        context = self._build_context(client, reaper, recorder, spec, mark)
        context = await self._join_network(context, network)
        self._pods = PodManager(context, scheduler, capacity)
        stack.push_async_callback(self._pods.stop, config.stop_seconds)
        for work, name in (
            (registration.run(), "node"),
            (context.services.run(), "services"),
            (self._pods.run(), "pods"),
            (self._pods.watch_namespaces(), "namespaces"),
            (scheduler.run(), "scheduler"),
        ):
            self._start_task(work, name)
        _log.info("kubelet_started", extra={"node": spec.name, "sandbox": self.sandbox})

    async def _open_network(self) -> NodeNetwork | NetworkUnavailable | None:
        """Open the network of the node, or return why this machine does not permit one."""
        own = self._config.own_networks and not self._addresses.is_shared
        if not own and os.geteuid() != 0:
            return None
        try:
            network = await NodeNetwork.open(self._config.path)
        except NetworkUnavailable as exc:
            if not own:
                return None
            _log.warning(exc.code, extra={"cause": exc.message, "hint": exc.hint})
            return exc
        self._stack.push_async_callback(network.close)
        self._own_networks = own
        return network

    async def _join_network(
        self, context: KubeletContext, network: NodeNetwork | NetworkUnavailable | None
    ) -> KubeletContext:
        """Return the context with the network, and serve Services in it."""
        if isinstance(network, NetworkUnavailable):
            reference = {"apiVersion": "v1", "kind": "Node", "name": self._config.node_name}
            message = (
                f"{network.message}. Pods share the network of this machine. Fix: {network.hint}"
            )
            context.recorder.record(reference, WARNING, NETWORK_UNAVAILABLE, message)
            return replace(context, network_problem=message, network_hint=network.hint)
        if network is None:
            return context
        pods = context.pod_networks
        if self._config.network.shared:
            await network.share(self._config.network.shared)
        network.may_leave = lambda address: address in pods and pods[address].may_leave
        services = None
        if self._own_networks:
            services = ServiceNetwork(
                context.client,
                context.services,
                network,
                pods,
                context.recorder,
                self._is_host_port,
            )
            self._start_task(services.run(), "endpoints")
            self.dns = ClusterDns(services)
            await self._stack.enter_async_context(self.dns.serving(network))
        return replace(
            context,
            node_network=network,
            own_networks=self._own_networks,
            service_network=services,
        )

    def _start_task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_log_failure)
        self._stack.push_async_callback(cancel_all, [task])

    def _build_context(
        self,
        client: Api,
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
            services=ServiceLister(client),
            path=config.path,
            mark=mark,
            back_off=config.restarts,
            refresh_seconds=config.refresh_seconds,
            clock=config.clock,
            addresses=self._addresses,
            network=_with_api_server(config.network, client.server),
            hosts_file=config.hosts_file or HOSTS,
        )

    def _is_host_port(self, namespace: str, name: str, address: str, port: int) -> bool:
        """Return whether a pod in the network of the machine declares a port at an address."""
        worker = self._find_worker(namespace, name)
        return worker is not None and worker.declares_host_port(address, port)

    def _find_worker(self, namespace: str, name: str) -> PodWorker | None:
        return self._pods.find(namespace, name) if self._pods else None

    def _list_workers(self) -> Sequence[PodWorker]:
        return self._pods.workers() if self._pods else ()


def _with_api_server(network: PodNetworkConfig, server: str) -> PodNetworkConfig:
    """Return the configuration with the API server, which pods reach at its loopback address."""
    url = urlsplit(server)
    if url.hostname is None or url.port is None or not url.hostname.startswith("127."):
        return network
    address = (url.hostname, url.port)
    return replace(network, outbound={address: address, **network.outbound})


def _log_failure(task: "asyncio.Task[None]") -> None:
    """Log the error of a task that failed without being cancelled."""
    if not task.cancelled() and (error := task.exception()):
        _log.error("kubelet_task_failed", extra={"task": task.get_name()}, exc_info=error)
