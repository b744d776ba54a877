"""Create pods one after the other, and print the boot time at which each was sent, until each runs.

    python -m bench.pod_starts KUBECONFIG IMAGE COUNT

It runs in the network of a node. Every second pod has the label that excludes it from the trust webhook. A
line is `with NAME SECONDS` or `without NAME SECONDS`; a pod stays until its namespace is deleted.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from podpass.kubernetes.client import KubeClient
from podpass.lab.names.injection import BundleNames
from podpass.lab.names.trust_objects import DISABLED, NAMESPACE_LABEL

_PODS = "/api/v1/namespaces/bench/pods"
_POLL_SECONDS = 0.2
_LIMIT_SECONDS = 120


def _pod(name: str, image: str, *, excluded: bool) -> dict[str, Any]:
    labels = {NAMESPACE_LABEL: DISABLED} if excluded else {}
    container = {"name": "app", "image": image}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def _run(kubeconfig: Path, image: str, count: int) -> None:
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        for number in range(count * 2):
            # The order within a pair alternates.
            excluded = number % 4 in (1, 2)
            name = f"pod-{number}"
            sent = time.clock_gettime(time.CLOCK_BOOTTIME)
            made = await client.create(_PODS, _pod(name, image, excluded=excluded))
            # Otherwise both kinds of pods would be the same.
            assert (BundleNames().bundle in str(made["spec"]["volumes"])) is not excluded
            async with asyncio.timeout(_LIMIT_SECONDS):
                await _wait_until_running(client, f"{_PODS}/{name}")
            print("without" if excluded else "with", name, sent, flush=True)


async def _wait_until_running(client: KubeClient, path: str) -> None:
    while True:
        found = await client.get(path)
        if found["status"]["phase"] == "Running":
            return
        await asyncio.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
