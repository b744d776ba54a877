"""Diagnose workloads: read the facts of each concurrently, then run the checks."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from podpass.clock import Clock, system
from podpass.diagnose.doctor.checks import examine
from podpass.diagnose.doctor.cloud_facts import read_cloud_facts
from podpass.diagnose.doctor.cluster_facts import ClusterReader, WorkloadRef
from podpass.diagnose.doctor.model import CloudFacts, ClusterFacts, Diagnosis, Facts
from podpass.kubernetes.client import KubeClient

ReadCloud = Callable[[ClusterFacts], Awaitable[CloudFacts]]
_CONCURRENT = 8  # workloads that are read at the same time


async def diagnose(
    client: KubeClient,
    workloads: Iterable[WorkloadRef],
    *,
    read_cloud: ReadCloud = read_cloud_facts,
    clock: Clock = system,
) -> Sequence[Diagnosis]:
    """Return the diagnosis of each workload, in the given order. Raises KubeUnreachable."""
    reader = ClusterReader(client, clock)
    limit = asyncio.Semaphore(_CONCURRENT)

    async def read_and_examine(workload: WorkloadRef) -> Diagnosis:
        async with limit:
            objects = await reader.read_objects(workload)
            cluster, cloud = await asyncio.gather(
                reader.probe_container(objects), read_cloud(objects)
            )
            return examine(Facts(cluster=cluster, cloud=cloud))

    return await asyncio.gather(*(read_and_examine(each) for each in workloads))
