"""The workloads that the argument of the command names."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from podpass.doctor.cluster_facts import WorkloadRef
from podpass.doctor.run import diagnose
from podpass.doctor.targets import WorkloadNotFound, find_workloads
from podpass.errors import UsageError
from podpass.kubernetes.client import KubeClient, KubeUnreachable, Target
from tests.doctor.lab import Authority, Lab
from tests.ports import free_port


@pytest.fixture
async def names(lab_without_webhook: Lab) -> Lab:
    """A namespace with two annotated accounts, an account without annotation, and four pods."""
    lab = lab_without_webhook
    await lab.account()
    await lab.account("idle")
    await lab.account("plain", client_id="")
    await lab.pod("labelled", serviceAccountName="plain")
    await lab.pod("web", labels={})
    await lab.pod("other", labels={}, serviceAccountName="plain")
    await lab.pod("ended", status={"phase": "Succeeded"})
    return lab


async def _find(lab: Lab, word: str) -> list[WorkloadRef]:
    return await find_workloads(lab.client, word, lab.namespace)


async def test_namespace_has_labelled_pods_and_annotated_accounts(names: Lab) -> None:
    space = names.namespace
    expected = [
        WorkloadRef(namespace=space, pod="labelled"),
        WorkloadRef(namespace=space, pod="web"),
        WorkloadRef(namespace=space, account="idle"),
    ]
    assert await _find(names, "") == expected
    assert await _find(names, f"ns/{space}") == expected
    assert await find_workloads(names.client, space, "default") == expected


async def test_name_is_a_pod_before_it_is_an_account(names: Lab) -> None:
    space = names.namespace
    assert await _find(names, "web") == [WorkloadRef(namespace=space, pod="web")]
    assert await _find(names, "sa/web") == [WorkloadRef(namespace=space, pod="web")]
    assert await _find(names, "plain") == [
        WorkloadRef(namespace=space, pod="labelled"),
        WorkloadRef(namespace=space, pod="other"),
    ]
    assert await _find(names, "idle") == [WorkloadRef(namespace=space, account="idle")]
    assert await _find(names, "pod/absent") == [WorkloadRef(namespace=space, pod="absent")]


async def test_unknown_name_fails_with_the_next_step(names: Lab) -> None:
    with pytest.raises(WorkloadNotFound) as caught:
        await _find(names, "absent")
    assert "kubectl get pods,serviceaccounts" in caught.value.hint


async def test_namespace_without_a_workload_fails(names: Lab) -> None:
    with pytest.raises(WorkloadNotFound):
        await find_workloads(names.client, "", "kube-public")


@pytest.mark.parametrize("word", ["node/a", "pod/A_B", "pod/", "../x", "a b"])
async def test_malformed_argument_is_refused(names: Lab, word: str) -> None:
    with pytest.raises(UsageError):
        await _find(names, word)


@pytest.fixture
async def lab_without_webhook(serve: Callable[..., Any], tmp_path: Path) -> AsyncIterator[Lab]:
    live = await serve()
    async with KubeClient.from_kubeconfig(live.kubeconfig()) as client, AsyncExitStack() as stack:
        made = Lab(
            client=client,
            kubeconfig=live.kubeconfig(),
            folder=tmp_path,
            authority=Authority.create(),
            namespace="targets",
            stack=stack,
        )
        await made.reset()
        yield made


async def test_unreachable_server_is_reported_with_one_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = Target(server=f"http://127.0.0.1:{free_port()}")
    async with KubeClient(target) as client:
        with pytest.raises(KubeUnreachable):
            await diagnose(client, [WorkloadRef(namespace="n", pod="web")])
    gc.collect()  # an exception that no code has retrieved is logged with its task
    await asyncio.sleep(0)
    assert [each for each in caplog.records if each.name == "asyncio"] == []
