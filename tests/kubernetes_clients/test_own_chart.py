"""This project's chart with Helm 3 on the embedded API: install, upgrade, rollback and uninstall."""

import asyncio
import json
from pathlib import Path
from typing import Any

from podpass.kubernetes.client import KubeClient
from podpass.lab.cluster.registration import register_webhook
from tests.kubernetes_clients.command import CommandLineClient
from tests.kubernetes_clients.test_helm import kubelet

CHART = str(Path(__file__).parents[2] / "charts" / "podpass")
SPACE = "azure-workload-identity-system"
PODS = f"/api/v1/namespaces/{SPACE}/pods"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{SPACE}/deployments"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
LISTS = (
    DEPLOYMENTS,
    HOOKS,
    f"/apis/policy/v1/namespaces/{SPACE}/poddisruptionbudgets",
    f"/apis/networking.k8s.io/v1/namespaces/{SPACE}/networkpolicies",
    f"/api/v1/namespaces/{SPACE}/services",
    f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SPACE}/rolebindings",
)
RELEASE = ("podpass", "-n", SPACE)
WAIT = ("--wait", "--timeout", "120s")
TENANT = "azureTenantID=11111111-2222-3333-4444-555555555555,image.repository=podpass"


async def counts(live: Any) -> list[int]:
    return [len((await live.call("GET", path)).body["items"]) for path in LISTS]


async def pods(live: Any, wanted: int) -> None:
    """Wait until there is the expected number of pods, and none is terminating."""
    found: list[Any] = []
    for _ in range(100):
        items = (await live.call("GET", PODS)).body["items"]
        found = [each for each in items if "deletionTimestamp" not in each["metadata"]]
        if len(items) == len(found) == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{len(found)} pods and not {wanted}")


async def test_the_own_chart_is_installed_upgraded_rolled_back_and_uninstalled(
    live: Any, helm: CommandLineClient
) -> None:
    chart = ("podpass", CHART, "-n", SPACE, "--set")
    async with kubelet(live, SPACE):
        await helm("install", *chart, TENANT, "--create-namespace", *WAIT)
        await pods(live, 2)
        assert await counts(live) == [1] * len(LISTS)
        (hooks,) = (await live.call("GET", HOOKS)).body["items"]
        service = hooks["webhooks"][0]["clientConfig"]["service"]
        assert (service["namespace"], service["path"]) == (SPACE, "/mutate-v1-pod")
        await helm("upgrade", *chart, f"{TENANT},replicaCount=3,advice.enabled=true", *WAIT)
        await pods(live, 3)
        (hooks,) = (await live.call("GET", HOOKS)).body["items"]
        assert len(hooks["webhooks"]) == 2
        await helm("rollback", *RELEASE, "1", *WAIT)
        await pods(live, 2)
        (hooks,) = (await live.call("GET", HOOKS)).body["items"]
        assert len(hooks["webhooks"]) == 1
        history = json.loads(await helm("history", *RELEASE, "-o", "json"))
        assert [each["status"] for each in history] == ["superseded", "superseded", "deployed"]
        await helm("uninstall", *RELEASE, *WAIT)
    await pods(live, 0)
    assert await counts(live) == [0] * len(LISTS)


async def test_error_of_helm_on_an_instance_names_the_option_that_leaves_the_webhook_out(
    live: Any, helm: CommandLineClient
) -> None:
    async with KubeClient.from_kubeconfig(live.kubeconfig()) as admin:
        await register_webhook(admin, "https://127.0.0.1:1/mutate-v1-pod", b"")
    install = ("install", "podpass", CHART, "-n", SPACE, "--set", TENANT, "--create-namespace")
    error = await helm(*install, code=1)
    assert "exists and cannot be imported into the current release" in error
    assert "podpass up --no-webhook" in error
