"""Released Helm 3 on the embedded API: a release from its installation to its removal."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.kubernetes_clients.command import CommandLineClient

CHART = str(Path(__file__).with_name("chart"))
CORE = "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
PATHS = (
    *(f"{CORE}/configmaps/shop-settings", f"{CORE}/secrets/shop-secret"),
    *(f"{CORE}/serviceaccounts/shop", f"{CORE}/services/shop"),
    *(f"{RBAC}/roles/shop", f"{RBAC}/rolebindings/shop"),
)


async def greeting(live: Any) -> str | None:
    found = await live.call("GET", PATHS[0])
    return str(found.body["data"]["greeting"]) if found.status == 200 else None


async def statuses(live: Any) -> list[int]:
    return [(await live.call("GET", path)).status for path in PATHS]


async def pods_ready(live: Any, namespace: str = "default") -> None:
    """Act as kubelet: report the Deployment's pods as ready."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    for item in (await live.call("GET", pods)).body["items"]:
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        path = f"{pods}/{item['metadata']['name']}/status"
        kind = "application/merge-patch+json"
        await live.call("PATCH", path, {"status": status}, content_type=kind)


@asynccontextmanager
async def kubelet(live: Any, namespace: str = "default") -> AsyncIterator[None]:
    """Report pods as ready while the context is active."""

    async def run() -> None:
        while True:
            await pods_ready(live, namespace)
            await asyncio.sleep(0.2)

    running = asyncio.create_task(run())
    try:
        yield
    finally:
        running.cancel()


async def history(helm: CommandLineClient) -> list[tuple[int, str]]:
    found = json.loads(await helm("history", "shop", "-o", "json"))
    return [(each["revision"], each["status"]) for each in found]


async def test_a_release_is_installed_upgraded_rolled_back_and_uninstalled(
    live: Any, helm: CommandLineClient
) -> None:
    output = await helm("install", "shop", CHART)
    assert "STATUS: deployed" in output
    assert "shop says hello." in output
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


async def test_foreign_fields_are_preserved_by_an_upgrade(
    live: Any, helm: CommandLineClient
) -> None:
    """Helm uses strategic merge patches, which need each kind's merge keys."""
    await helm("install", "shop", CHART)
    kind = "application/merge-patch+json"
    change = {"metadata": {"annotations": {"note": "mine"}}}
    await live.call("PATCH", f"{CORE}/serviceaccounts/shop", change, content_type=kind)
    await helm("upgrade", "shop", CHART, "--set", "clientId=changed")
    found = (await live.call("GET", f"{CORE}/serviceaccounts/shop")).body["metadata"]["annotations"]
    assert (found["note"], found["azure.workload.identity/client-id"]) == ("mine", "changed")


async def test_server_side_dry_run_stores_no_object(live: Any, helm: CommandLineClient) -> None:
    output = await helm("install", "shop", CHART, "--dry-run=server")
    assert "STATUS: pending-install" in output
    assert await statuses(live) == [404] * len(PATHS)
    assert json.loads(await helm("list", "-a", "-o", "json")) == []


async def test_failed_atomic_installation_is_removed(live: Any, helm: CommandLineClient) -> None:
    output = await helm("install", "shop", CHART, "--atomic", "--set", "broken=true", code=1)
    assert "spec.ports[0].protocol" in output
    assert await statuses(live) == [404] * len(PATHS)
    assert json.loads(await helm("list", "-a", "-o", "json")) == []


async def test_failed_atomic_upgrade_is_rolled_back(live: Any, helm: CommandLineClient) -> None:
    await helm("install", "shop", CHART)
    changed = ("--atomic", "--set", "broken=true,greeting=bye")
    async with kubelet(live):  # the rollback waits for the pods
        await helm("upgrade", "shop", CHART, *changed, code=1)
    assert await greeting(live) == "hello"
    assert [status for _, status in await history(helm)] == ["superseded", "failed", "deployed"]


async def test_waiting_ends_when_all_is_ready(live: Any, helm: CommandLineClient) -> None:
    async with kubelet(live):
        output = await helm("install", "shop", CHART, "--wait", "--timeout", "60s")
    assert "STATUS: deployed" in output


async def test_releases_of_one_name_in_two_namespaces_are_independent(
    live: Any, helm: CommandLineClient
) -> None:
    await helm("install", "shop", CHART)
    await helm("install", "shop", CHART, "-n", "two", "--create-namespace")
    listed = json.loads(await helm("list", "-A", "-o", "json"))
    assert sorted(each["namespace"] for each in listed) == ["default", "two"]
    await helm("uninstall", "shop", "-n", "two")
    assert await statuses(live) == [200] * len(PATHS)


async def test_unknown_field_causes_a_warning(helm: CommandLineClient, tmp_path: Path) -> None:
    """Helm requests a warning, not an error, for unknown fields."""
    chart = tmp_path / "odd"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: odd\nversion: 1.0.0\n")
    wrong = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: odd}\nautomountToken: true\n"
    (chart / "templates" / "odd.yaml").write_text(wrong)
    assert "STATUS: deployed" in await helm("install", "odd", str(chart))
    assert "automountToken" in helm.stderr
