"""`podpass drift` with a real API server and its controllers."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podpass import names
from tests.diagnose.drift.rollouts import Rollouts, check_restart, workload
from tests.journey.instance import CLIENT, Instance

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]


@pytest.fixture
async def rollouts(
    real_instance: Instance, request: pytest.FixtureRequest
) -> AsyncIterator[Rollouts]:
    made = Rollouts(
        Path(real_instance.status["kubernetes"]["kubeconfig"]),
        request.node.name.removeprefix("test_").replace("_", "-"),
    )
    yield made
    await made.delete()


async def test_pods_that_differ_are_restarted(real_instance: Instance, rollouts: Rollouts) -> None:
    await check_restart(
        rollouts, lambda *words: real_instance.podpass("drift", *words, check=False), CLIENT
    )


async def test_stateful_sets_and_daemon_sets_are_restarted(
    real_instance: Instance, rollouts: Rollouts
) -> None:
    objects = [workload("StatefulSet", "set", replicas=1, serviceName="set")]
    objects.append(workload("DaemonSet", "daemon"))
    await rollouts.create(*objects, client_id=CLIENT)
    for account in ("set", "daemon"):
        await rollouts.annotate(account, tenant_id="t")
    before = await rollouts.pods()
    done = real_instance.podpass("drift", rollouts.namespace, "--restart", "-o", "json")
    restarts = json.loads(done.stdout)["restarts"]
    assert {each["kind"]: each["result"] for each in restarts} == {
        "DaemonSet": "restarted",
        "StatefulSet": "restarted",
    }
    after = await rollouts.pods()
    assert {each[names.ENV_TENANT_ID] for each in after.values()} == {"t"}
    assert len(after) == len(before) == 2
