"""What every pod's worker shares: the cluster, the machine, and how patient to be."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podpass.clock import Clock
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.kubelet.downward_api import NodeFacts
from podpass.kubernetes.kubelet.event_recorder import Recorder
from podpass.kubernetes.kubelet.images import ImageSource
from podpass.kubernetes.kubelet.lifecycle import BackOffRule
from podpass.kubernetes.kubelet.orphan_reaper import Guard
from podpass.kubernetes.kubelet.sandbox import Sandbox

# A deployment of thousands of pods would otherwise ask for everything at once, and keep everybody
# else who asks the API server waiting for half a minute.
_AT_ONCE = 16


def _turns() -> asyncio.Semaphore:
    return asyncio.Semaphore(_AT_ONCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The surroundings of a pod.

    Shapes:  `folder` holds one folder a pod, by uid; `environment` and `path` go beneath what a container
             sets; `services` are the variables that name the API server; `mark` tells this runtime's
             processes from all others; `turns` bound how many pods are bound, mounted and told of at once.
    Units:   seconds.
    """

    client: KubeClient
    events: Recorder
    guard: Guard
    sandbox: Sandbox
    node: NodeFacts
    folder: Path
    images: ImageSource
    environment: Mapping[str, str] = field(repr=False)
    services: Mapping[str, str]
    path: str
    mark: str
    rule: BackOffRule
    refresh_seconds: float
    clock: Clock
    turns: asyncio.Semaphore = field(default_factory=_turns)
