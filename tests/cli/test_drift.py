"""`podpass drift` on a running instance."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from podpass import names
from tests.diagnose.drift.rollouts import Rollouts, check_restart, deployment
from tests.lab.instance.instances import CLIENT, Podpass

pytestmark = pytest.mark.processes


@pytest.fixture
async def rollouts(running: Podpass, request: pytest.FixtureRequest) -> AsyncIterator[Rollouts]:
    kubeconfig = Path(running.status()["kubernetes"]["kubeconfig"])
    name = request.node.name.removeprefix("test_").replace("_", "-")[:50].rstrip("-")
    made = Rollouts(kubeconfig, name)
    yield made
    await made.delete()


async def test_pods_that_differ_are_restarted(running: Podpass, rollouts: Rollouts) -> None:
    await check_restart(rollouts, lambda *words: running("drift", *words), CLIENT)


async def test_restart_that_a_disruption_budget_forbids_is_not_started(
    running: Podpass, rollouts: Rollouts
) -> None:
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "all"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "recreated"}}},
    }
    recreated = deployment("recreated", strategy={"type": "Recreate"})
    await rollouts.create(budget, recreated, client_id=CLIENT)
    await rollouts.annotate("recreated", tenant_id="t")
    before = await rollouts.pods()
    done = running("drift", rollouts.namespace, "--restart", "-o", "json")
    assert done.returncode == 1
    [restart] = json.loads(done.stdout)["restarts"]
    assert restart["result"] == "skipped"
    assert "PodDisruptionBudget all allows 0 of 1" in restart["reason"]
    assert await rollouts.pods() == before


async def test_restart_stops_at_the_first_rollout_that_does_not_complete(
    running: Podpass, rollouts: Rollouts
) -> None:
    await rollouts.create(deployment("first"), deployment("second"), client_id=CLIENT)
    await rollouts.annotate("first", tenant_id="t")
    await rollouts.annotate("second", tenant_id="t")
    kubectl = ("run", "-q", "--", "kubectl", "-n", rollouts.namespace)
    broken: dict[str, Any] = {"spec": {"progressDeadlineSeconds": 1, "minReadySeconds": 0}}
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    broken["spec"]["template"] = {
        "spec": {"containers": [{"name": "app", "readinessProbe": probe}]}
    }
    paused = {"spec": {"paused": True}}
    for change in (paused, broken):
        done = running(*kubectl, "patch", "deployment", "first", "-p", json.dumps(change))
        assert done.returncode == 0, done.stderr
    before = await rollouts.pods()
    skipped = running("drift", rollouts.namespace, "--restart", "--dry-run", "-o", "json")
    assert "is paused" in json.loads(skipped.stdout)["restarts"][0]["reason"]
    running(*kubectl, "rollout", "resume", "deployment", "first")
    done = running("drift", rollouts.namespace, "--restart", "--timeout", "3", "-o", "json")
    assert done.returncode == 1
    restarts = {each["name"]: each["result"] for each in json.loads(done.stdout)["restarts"]}
    assert restarts == {"first": "failed", "second": "not_tried"}
    after = await rollouts.pods()
    assert {name for name in before if name.startswith("second-")} <= after.keys()


async def test_all_namespaces_are_compared(running: Podpass, rollouts: Rollouts) -> None:
    await rollouts.create(deployment("everywhere"), client_id=CLIENT)
    await rollouts.annotate("everywhere", client_id="22222222-aaaa-4bbb-8ccc-0000000000ff")
    done = running("drift", "--all-namespaces")
    assert done.returncode == 1
    assert f"Deployment {rollouts.namespace}/everywhere, pods everywhere-" in done.stdout
    line = f"container app, {names.ENV_CLIENT_ID}: {CLIENT}; admission would set:"
    assert line in done.stdout
    assert "drift --restart` restarts their controllers" in done.stderr


def test_namespace_that_does_not_exist_is_refused(running: Podpass) -> None:
    done = running("drift", "nosuch")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the namespace nosuch does not exist" in done.stderr
    assert "kubectl get namespaces" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("default", "--all-namespaces"), "pass a namespace or --all-namespaces, not both"),
        (("--dry-run",), "--dry-run needs --restart"),
        (("--timeout", "0"), "0 is not in the range"),
    ],
    ids=["both", "dry-run", "timeout"],
)
def test_wrong_options_are_refused(running: Podpass, words: tuple[str, ...], message: str) -> None:
    done = running("drift", *words)
    assert done.returncode == 2
    assert message in done.stderr
