"""Dependencies that all pod workers share: the API client, the machine and the settings."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from podpass.clock import Clock
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.event_recorder import EventRecorder
from podpass.kubernetes.kubelet.downward_api import NodeInfo
from podpass.kubernetes.kubelet.images import ImageSource
from podpass.kubernetes.kubelet.lifecycle import RestartBackOff
from podpass.kubernetes.kubelet.orphan_reaper import OrphanReaper
from podpass.kubernetes.kubelet.pod_addresses import PodAddresses
from podpass.kubernetes.kubelet.pod_network import PodNetworkConfig
from podpass.kubernetes.kubelet.sandbox import Sandbox

# A Deployment of thousands of pods would otherwise send all its requests at once and delay every other client
# of the API server by half a minute.
_MAX_CONCURRENT_PODS = 16

# Gets the addresses at which only containers of the same pod answer; returns defaults for their variables.
ContainerDefaults = Callable[[Sequence[str]], Mapping[str, str]]


def _new_semaphore() -> asyncio.Semaphore:
    return asyncio.Semaphore(_MAX_CONCURRENT_PODS)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletContext:
    """The dependencies of a pod worker.

    Shapes:  `folder` has one folder per pod, named by uid; `images` resolves an image to a command;
             `environment` and `path` are defaults for what a container sets; `services` are the variables
             with the address of the API server; `mark` identifies the processes of this kubelet; `addresses`
             gives each pod its own; `network` describes the networks of pods that need their own, and
             `nsenter` is the program that enters them, None if the kubelet cannot create any; `concurrency`
             limits how many pods are bound, mounted and reported at the same time.
    Units:   seconds.
    """

    client: KubeClient
    recorder: EventRecorder
    reaper: OrphanReaper
    sandbox: Sandbox
    node: NodeInfo
    folder: Path
    images: ImageSource
    environment: ContainerDefaults = field(repr=False)
    services: Mapping[str, str]
    path: str
    mark: str
    back_off: RestartBackOff
    refresh_seconds: float
    clock: Clock
    addresses: PodAddresses
    network: PodNetworkConfig = field(default_factory=PodNetworkConfig)
    nsenter: str | None = None
    concurrency: asyncio.Semaphore = field(default_factory=_new_semaphore)

    def for_pod(self, pod: Mapping[str, Any]) -> Self:
        """Return the dependencies with the address of a pod."""
        node = replace(self.node, pod_address=self.addresses.assign(pod))
        return replace(self, node=node)
