"""Helm 3 as it is released, on the embedded API: a release from its first installation to its end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.kubernetes_clients.command import Command

CHART = str(Path(__file__).with_name("chart"))
CORE = "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
PATHS = (
    f"{CORE}/configmaps/shop-settings",
    f"{CORE}/secrets/shop-secret",
    f"{CORE}/serviceaccounts/shop",
    f"{CORE}/services/shop",
    f"{RBAC}/roles/shop",
    f"{RBAC}/rolebindings/shop",
)


async def greeting(live: Any) -> str | None:
    found = await live.call("GET", PATHS[0])
    return str(found.body["data"]["greeting"]) if found.status == 200 else None


async def statuses(live: Any) -> list[int]:
    return [(await live.call("GET", path)).status for path in PATHS]


async def pods_ready(live: Any, namespace: str = "default") -> None:
    """Be the kubelet: say of the deployment's pods that they are ready."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    for item in (await live.call("GET", pods)).body["items"]:
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        path = f"{pods}/{item['metadata']['name']}/status"
        kind = "application/merge-patch+json"
        await live.call("PATCH", path, {"status": status}, content_type=kind)


@asynccontextmanager
async def kubelet(live: Any, namespace: str = "default") -> AsyncIterator[None]:
    """Make pods ready as long as it lasts."""

    async def run() -> None:
        while True:
            await pods_ready(live, namespace)
            await asyncio.sleep(0.2)

    running = asyncio.create_task(run())
    try:
        yield
    finally:
        running.cancel()


async def history(helm: Command) -> list[tuple[int, str]]:
    found = json.loads(await helm("history", "shop", "-o", "json"))
    return [(each["revision"], each["status"]) for each in found]


async def test_a_release_is_installed_upgraded_rolled_back_and_uninstalled(
    live: Any, helm: Command
) -> None:
    told = await helm("install", "shop", CHART)
    assert "STATUS: deployed" in told
    assert "shop says hello." in told
    assert await statuses(live) == [200] * len(PATHS)
    await helm("upgrade", "shop", CHART, "--set", "greeting=bye,port=81")
    assert await greeting(live) == "bye"
    ports = (await live.call("GET", f"{CORE}/services/shop")).body["spec"]["ports"]
    assert [each["port"] for each in ports] == [81]
    await helm("rollback", "shop", "1")
    assert await greeting(live) == "hello"
    assert await history(helm) == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    listed = json.loads(await helm("list", "-o", "json"))
    assert [(each["name"], each["revision"]) for each in listed] == [("shop", "3")]
    assert "kind: RoleBinding" in await helm("get", "manifest", "shop")
    assert "greeting: bye" in await helm("get", "values", "shop", "--revision", "2")
    await helm("uninstall", "shop")
    assert await statuses(live) == [404] * len(PATHS)
    assert json.loads(await helm("list", "-a", "-o", "json")) == []


async def test_what_somebody_else_added_stays_through_an_upgrade(live: Any, helm: Command) -> None:
    """Helm merges three ways by strategic merge patches, which need each kind's list rules."""
    await helm("install", "shop", CHART)
    kind = "application/merge-patch+json"
    change = {"metadata": {"annotations": {"note": "mine"}}}
    await live.call("PATCH", f"{CORE}/serviceaccounts/shop", change, content_type=kind)
    await helm("upgrade", "shop", CHART, "--set", "clientId=changed")
    found = (await live.call("GET", f"{CORE}/serviceaccounts/shop")).body["metadata"]["annotations"]
    assert (found["note"], found["azure.workload.identity/client-id"]) == ("mine", "changed")


async def test_a_dry_run_on_the_server_leaves_nothing(live: Any, helm: Command) -> None:
    told = await helm("install", "shop", CHART, "--dry-run=server")
    assert "STATUS: pending-install" in told
    assert await statuses(live) == [404] * len(PATHS)
    assert json.loads(await helm("list", "-a", "-o", "json")) == []


async def test_an_atomic_installation_that_fails_is_undone(live: Any, helm: Command) -> None:
    told = await helm("install", "shop", CHART, "--atomic", "--set", "broken=true", code=1)
    assert "spec.ports[0].protocol" in told
    assert await statuses(live) == [404] * len(PATHS)
    assert json.loads(await helm("list", "-a", "-o", "json")) == []


async def test_an_atomic_upgrade_that_fails_goes_back(live: Any, helm: Command) -> None:
    await helm("install", "shop", CHART)
    changed = ("--atomic", "--set", "broken=true,greeting=bye")
    async with kubelet(live):  # going back waits for the pods
        await helm("upgrade", "shop", CHART, *changed, code=1)
    assert await greeting(live) == "hello"
    assert [status for _, status in await history(helm)] == ["superseded", "failed", "deployed"]


async def test_waiting_ends_when_all_is_ready(live: Any, helm: Command) -> None:
    async with kubelet(live):
        told = await helm("install", "shop", CHART, "--wait", "--timeout", "60s")
    assert "STATUS: deployed" in told


async def test_a_release_of_another_namespace_is_its_own(live: Any, helm: Command) -> None:
    await helm("install", "shop", CHART)
    await helm("install", "shop", CHART, "-n", "two", "--create-namespace")
    listed = json.loads(await helm("list", "-A", "-o", "json"))
    assert sorted(each["namespace"] for each in listed) == ["default", "two"]
    await helm("uninstall", "shop", "-n", "two")
    assert await statuses(live) == [200] * len(PATHS)


async def test_a_field_nobody_knows_is_warned_of_by_name(helm: Command, tmp_path: Path) -> None:
    """Helm leaves unknown fields to the server, and asks it for no more than a warning."""
    chart = tmp_path / "odd"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: odd\nversion: 1.0.0\n")
    wrong = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: odd}\nautomountToken: true\n"
    (chart / "templates" / "odd.yaml").write_text(wrong)
    assert "STATUS: deployed" in await helm("install", "odd", str(chart))
    assert "automountToken" in helm.told
