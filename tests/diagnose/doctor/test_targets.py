"""The workloads that the argument of the command names."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from podpass.diagnose.doctor.cluster_facts import WorkloadRef
from podpass.diagnose.doctor.run import diagnose
from podpass.diagnose.doctor.targets import WorkloadNotFound, find_workloads
from podpass.errors import UsageError
from podpass.kubernetes.client import KubeClient, KubeUnreachable, Target
from tests.diagnose.doctor.lab import Authority, Lab
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


async def test_target_name_is_searched_among_pods_before_service_accounts(names: Lab) -> None:
    space = names.namespace
    assert await _find(names, "web") == [WorkloadRef(namespace=space, pod="web")]
    assert await _find(names, "sa/web") == [WorkloadRef(namespace=space, pod="web")]
    assert await _find(names, "plain") == [
        WorkloadRef(namespace=space, pod="labelled"),
        WorkloadRef(namespace=space, pod="other"),
    ]
    assert await _find(names, "idle") == [WorkloadRef(namespace=space, account="idle")]
    assert await _find(names, "pod/absent") == [WorkloadRef(namespace=space, pod="absent")]


async def test_deployment_is_its_template_and_its_newest_pods(names: Lab) -> None:
    """The controllers of the API server create the pods."""
    await names.deployment("shop", on_template=True, with_pod=False)
    apps = f"/apis/apps/v1/namespaces/{names.namespace}/deployments/shop"
    await names.client.patch(apps, {"spec": {"replicas": 5}})

    async def find_pods() -> set[str]:
        path = f"/api/v1/namespaces/{names.namespace}/pods"
        return {
            each["metadata"]["name"]
            for each in (await names.client.list(path))[0]
            if each["metadata"]["name"].startswith("shop-")
        }

    async with asyncio.timeout(30):
        while len(await find_pods()) < 5:  # noqa: ASYNC110 a controller creates them
            await asyncio.sleep(0.05)
    template, *pods = await _find(names, "deployment/shop")
    assert await _find(names, "deploy/shop") == [template, *pods]
    assert template == WorkloadRef(namespace=names.namespace, controller="Deployment/shop")
    assert len(pods) == 3
    assert {each.pod for each in pods} < await find_pods()


async def test_name_is_a_deployment_before_it_is_an_account(names: Lab) -> None:
    await names.deployment("idle", on_template=True, with_pod=False)
    expected = [WorkloadRef(namespace=names.namespace, controller="Deployment/idle")]
    assert await _find(names, "idle") == expected


@pytest.mark.parametrize("word", ["deployment/web", "job/web", "sts/web", "ds/web"])
async def test_controller_that_does_not_exist_is_reported(names: Lab, word: str) -> None:
    """Other objects have the name."""
    with pytest.raises(WorkloadNotFound, match="has no"):
        await _find(names, word)


async def test_unknown_name_fails_with_the_next_step(names: Lab) -> None:
    with pytest.raises(WorkloadNotFound) as caught:
        await _find(names, "absent")
    assert "kubectl get pods,deployments,serviceaccounts" in caught.value.hint


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
