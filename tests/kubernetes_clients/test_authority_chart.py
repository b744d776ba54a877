"""The token service's chart with Helm 3 on the embedded API: install, upgrade, uninstall, and adoption."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.charts.authority.rendering import SETS, AuthorityChart
from tests.charts.rendering import FOREIGN
from tests.kubernetes_clients.command import CommandLineClient
from tests.kubernetes_clients.test_helm import kubelet
from tests.kubernetes_clients.test_own_chart import WAIT

ROOT = Path(__file__).parents[2]
CHART = str(ROOT / "charts" / "podpass-authority")
VALUES = ("--values", str(ROOT / "deploy" / "values.yaml"))
SPACE = "podpass"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{SPACE}/deployments/podpass-authority"
CONFIG = f"/api/v1/namespaces/{SPACE}/configmaps/podpass-authority"
PODS = f"/api/v1/namespaces/{SPACE}/pods"
OBJECTS = (
    DEPLOYMENT,
    CONFIG,
    f"/api/v1/namespaces/{SPACE}/services/podpass-authority",
    f"/api/v1/namespaces/{SPACE}/serviceaccounts/podpass-authority",
    f"/apis/policy/v1/namespaces/{SPACE}/poddisruptionbudgets/podpass-authority",
    f"/apis/networking.k8s.io/v1/namespaces/{SPACE}/networkpolicies/podpass-authority",
)
RELEASE = ("podpass-authority", CHART, "-n", SPACE, *VALUES)


async def uids(live: Any) -> list[str | None]:
    """Return the uids of the release's objects, to detect recreated objects."""
    found = [await live.call("GET", path) for path in OBJECTS]
    return [one.body["metadata"]["uid"] if one.status == 200 else None for one in found]


async def pods(live: Any, wanted: int) -> set[str]:
    """Wait until there is the expected number of pods; return their names."""
    found: list[Any] = []
    for _ in range(100):
        found = (await live.call("GET", PODS)).body["items"]
        if len(found) == wanted:
            return {one["metadata"]["name"] for one in found}
        await asyncio.sleep(0.1)
    raise AssertionError(f"{len(found)} pods and not {wanted}")


async def test_a_token_service_is_installed_upgraded_rolled_back_and_uninstalled(
    live: Any, helm: CommandLineClient
) -> None:
    async with kubelet(live, SPACE):
        output = await helm("install", *RELEASE, "--create-namespace", *WAIT)
        assert "tokens of tenant 00000000-0000-4000-8000-000000000000" in output
        await pods(live, 2)
        first = await uids(live)
        assert all(first)
        before = (await live.call("GET", DEPLOYMENT)).body["spec"]
        more = "replicaCount=3,settings.PODPASS_AUTHORITY_LOG_LEVEL=debug"
        await helm("upgrade", *RELEASE, "--set", more, *WAIT)
        await pods(live, 3)
        assert await uids(live) == first
        data = (await live.call("GET", CONFIG)).body["data"]
        assert data["PODPASS_AUTHORITY_LOG_LEVEL"] == "debug"
        await helm("rollback", "podpass-authority", "1", "-n", SPACE, *WAIT)
        await pods(live, 2)
        assert (await live.call("GET", DEPLOYMENT)).body["spec"] == before
        await helm("uninstall", "podpass-authority", "-n", SPACE, *WAIT)
    await pods(live, 0)
    assert await uids(live) == [None] * len(OBJECTS)


async def test_manually_applied_objects_are_adopted_by_a_release(
    live: Any, helm: CommandLineClient, kubectl: CommandLineClient
) -> None:
    """The objects stay, and the Deployment restarts once because of the checksum of its settings."""
    async with kubelet(live, SPACE):
        manifests = str(ROOT / "deploy" / "authority")
        await kubectl("apply", "-f", f"{manifests}/namespace.yaml")
        await kubectl("apply", "-f", manifests)
        by_hand = await pods(live, 2)
        applied = await uids(live)
        refused = await helm("install", *RELEASE, code=1)
        assert "cannot be imported into the current release" in refused
        await helm("install", *RELEASE, "--take-ownership", *WAIT)
        released = await pods(live, 2)
        assert await uids(live) == applied
        assert not released & by_hand
        (mark,) = (await live.call("GET", DEPLOYMENT)).body["spec"]["template"]["metadata"][
            "annotations"
        ].keys() - {"prometheus.io/scrape", "prometheus.io/port"}
        assert mark == "podpass/config"
        await helm("upgrade", *RELEASE, *WAIT)
        assert await pods(live, 2) == released
        await helm("uninstall", "podpass-authority", "-n", SPACE, *WAIT)
    assert await uids(live) == [None] * len(OBJECTS)


@pytest.mark.parametrize("name", SETS)
async def test_api_server_accepts_each_set_of_values(
    kubectl: CommandLineClient, helm_binary: Path, name: str
) -> None:
    """The API server checks defaults and validation, which a schema does not contain."""
    objects = [
        one
        for one in AuthorityChart(str(helm_binary)).render(SETS[name])
        if one["kind"] not in FOREIGN
    ]
    await kubectl("create", "namespace", SPACE)
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    output = await kubectl("apply", "-f", "-", given=json.dumps(listed))
    assert output.count(" created\n") == len(objects)
