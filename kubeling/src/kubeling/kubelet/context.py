"""Dependencies that all pod workers share: the API client, the machine and the settings."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from kubeling.api import Api
from kubeling.clock import Clock
from kubeling.event_recorder import EventRecorder
from kubeling.kubelet.downward_api import NodeInfo
from kubeling.kubelet.images import ImageSource
from kubeling.kubelet.lifecycle import RestartBackOff
from kubeling.kubelet.node_network import NodeNetwork
from kubeling.kubelet.orphan_reaper import OrphanReaper
from kubeling.kubelet.pod_addresses import PodAddresses
from kubeling.kubelet.pod_hosts import HOSTS
from kubeling.kubelet.pod_network import PodNetwork, PodNetworkConfig, needs_own_network
from kubeling.kubelet.sandbox import Sandbox
from kubeling.kubelet.service_lister import ServiceLister
from kubeling.kubelet.service_network import ServiceNetwork

# A Deployment of thousands of pods would otherwise send all its requests at once and delay every other client
# of the API server by half a minute.
_MAX_CONCURRENT_PODS = 16

# Gets the addresses at which only containers of the same pod answer; returns defaults for their variables.
ContainerDefaults = Callable[[Sequence[str]], Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletContext:
    """The dependencies of a pod worker.

    `folder` has one folder per pod, named by uid. `images` resolves an image to a command. `environment` and
    `path` are defaults for what a container sets. `services` returns the variables with the addresses of
    Services. `mark` identifies the processes of this kubelet. `addresses` assigns each pod an address.

    `network` is the configuration of the networks of pods, and `node_network` creates them; it is None if the
    kubelet cannot create any. `own_networks` is true if each pod has a network, and not only the pods that
    may change their network. `pod_networks` are the existing networks by address. `service_network` is None
    if Services have no addresses. If pods have no networks, `network_problem` says why, and `network_hint`
    what the user can do.

    `hosts_file` has lines for /etc/hosts of every pod.

    `concurrency` limits how many pods are bound, mounted and reported at the same time.
    """

    client: Api
    recorder: EventRecorder
    reaper: OrphanReaper
    sandbox: Sandbox
    node: NodeInfo
    folder: Path
    images: ImageSource
    environment: ContainerDefaults = field(repr=False)
    services: ServiceLister
    path: str
    mark: str
    back_off: RestartBackOff
    refresh_seconds: float
    clock: Clock
    addresses: PodAddresses
    network: PodNetworkConfig = field(default_factory=PodNetworkConfig)
    node_network: NodeNetwork | None = None
    own_networks: bool = False
    pod_networks: dict[str, PodNetwork] = field(default_factory=dict)
    service_network: ServiceNetwork | None = None
    network_problem: str = ""
    network_hint: str = ""
    hosts_file: Path = HOSTS
    concurrency: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_MAX_CONCURRENT_PODS)
    )

    def has_own_network(self, pod: Mapping[str, Any]) -> bool:
        """Return whether a pod runs in a network of its own."""
        if self.node_network is None:
            return False
        is_wanted = self.own_networks and not pod["spec"].get("hostNetwork")
        return is_wanted or (self.node_network.is_privileged and needs_own_network(pod))

    def for_pod(self, pod: Mapping[str, Any]) -> Self:
        """Return the dependencies with the address of a pod."""
        node = replace(self.node, pod_address=self.addresses.assign(pod))
        return replace(self, node=node)
