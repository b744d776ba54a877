"""The demo of an installed cloud in the embedded cluster: what it removes when a step fails.

`tests/node/test_cloud_host.py` runs it to its end.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from podpass.clock import system
from podpass.kubernetes.client import KubeClient
from podpass.lab.install.demo import CloudDemo, CloudDemoFailed, build_pod, build_seed
from podpass.lab.services import parse_seed


@dataclass
class CloudPod:
    """Stands for the commands that run in the cloud's pod; `hangs` never ends the seed.

    `is_removing` is set when the removal begins; with `removes` off, it never ends.
    """

    hangs: bool = False
    removes: bool = True
    is_removing: asyncio.Event = field(default_factory=asyncio.Event)
    commands: list[Sequence[str]] = field(default_factory=list)
    is_applied: asyncio.Event = field(default_factory=asyncio.Event)
    name: str = ""

    async def run(self, command: Sequence[str], given: bytes) -> str:
        self.commands.append(command)
        if command[0] == "apply":
            self.name = str(parse_seed(given.decode(), "seed").entries["vaults"][0].name)
            self.is_applied.set()
            if self.hangs:
                await asyncio.Event().wait()
        if "remove-demo" in command:
            self.is_removing.set()
            if not self.removes:
                await asyncio.Event().wait()
        if command[0] == "identity":
            return json.dumps([{"name": self.name, "client_id": "c"}])
        return "{}"


def demo(client: KubeClient, pod: CloudPod, lines: list[str]) -> CloudDemo:
    return CloudDemo(
        client=client,
        namespace="podpass-cloud",
        image="podpass:1",
        run_in_pod=pod.run,
        echo=lines.append,
        clock=system,
        timeout=30,
    )


async def find_demos(client: KubeClient) -> list[str]:
    found, _ = await client.list("/api/v1/namespaces")
    names = [each["metadata"]["name"] for each in found]
    return [name for name in names if name.startswith("podpass-demo-")]


async def test_cluster_without_a_webhook_fails_with_a_hint_and_everything_is_removed(
    admin: KubeClient,
) -> None:
    pod, lines = CloudPod(), list[str]()
    with pytest.raises(CloudDemoFailed, match="injected no token") as caught:
        await demo(admin, pod, lines).run()
    assert "podpass cloud install" in caught.value.hint
    assert pod.commands[-1] == ["cloud", "control", "remove-demo", pod.name]
    assert await find_demos(admin) == []
    assert lines[-1].endswith(f"namespace, identity and vault {pod.name}")


async def test_interrupted_demo_removes_everything(admin: KubeClient) -> None:
    pod = CloudPod(hangs=True)
    task = asyncio.create_task(demo(admin, pod, []).run())
    await pod.is_applied.wait()
    assert await find_demos(admin) == [pod.name]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pod.commands[-1] == ["cloud", "control", "remove-demo", pod.name]
    assert await find_demos(admin) == []


async def test_second_interruption_during_the_removal_names_what_may_be_left(
    admin: KubeClient,
) -> None:
    pod, lines = CloudPod(hangs=True, removes=False), list[str]()

    async def run() -> None:
        # The end of a process cancels the remaining tasks.
        await demo(admin, pod, lines).run()

    before = asyncio.all_tasks()
    task = asyncio.create_task(run())
    await pod.is_applied.wait()
    task.cancel()
    await pod.is_removing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = asyncio.all_tasks() - before
    assert left
    for each in left:
        each.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert f"kubectl delete namespace {pod.name}; podpass cloud reset" in lines[-1]


def test_pod_holds_no_secret_and_complies_with_the_restricted_profile() -> None:
    pod: dict[str, Any] = build_pod("podpass-demo-1", "podpass:1")
    [container] = pod["spec"]["containers"]
    assert "env" not in container
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["command"][-2:] == ["podpass-demo-1", "greeting"]
    assert "hello from the vault" not in json.dumps(pod)


def test_seed_of_the_demo_is_valid() -> None:
    seed = parse_seed(json.dumps(build_seed("podpass-demo-1")), "seed")
    assert [each.name for each in seed.identities] == ["podpass-demo-1"]
