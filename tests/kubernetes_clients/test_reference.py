"""The Go reference's webhook on the embedded API: its REST mapper, informers and certificate rotator."""

import asyncio
import base64
from typing import Any

from kubeling.apiserver.storage.watch_cache import WatchCache

from tests.kubernetes_clients.reference import HOOKS, SECRET, TENANT, ReferenceWebhook

PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
CLIENT_ID = "azure.workload.identity/client-id"
FIRST, SECOND = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "ffffffff-bbbb-cccc-dddd-eeeeeeeeeeee"


async def account(live: Any, client_id: str) -> None:
    body = {"metadata": {"name": "web", "annotations": {CLIENT_ID: client_id}}}
    assert (await live.call("POST", ACCOUNTS, body)).status == 201


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"serviceAccountName": "web", "containers": [{"name": "c", "image": "i"}]},
    }


async def client_id_of(live: Any, name: str) -> str | None:
    """Create a labelled pod and return its client id."""
    made = await live.call("POST", PODS, pod(name, **{"azure.workload.identity/use": "true"}))
    assert made.status == 201, made.text
    environ = made.body["spec"]["containers"][0].get("env") or []
    found = {each["name"]: each.get("value") for each in environ}
    assert found["AZURE_TENANT_ID"] == TENANT
    return found.get("AZURE_CLIENT_ID")


async def test_reference_creates_its_certificate_and_injects_its_ca(
    live: Any, reference: ReferenceWebhook
) -> None:
    del reference
    secret = (await live.call("GET", SECRET)).body["data"]
    assert {"ca.crt", "ca.key", "tls.crt", "tls.key"} <= set(secret)
    hooks = (await live.call("GET", HOOKS)).body["webhooks"]
    bundle = base64.b64decode(hooks[0]["clientConfig"]["caBundle"])
    assert bundle == base64.b64decode(secret["ca.crt"])


async def test_reference_mutates_only_labelled_pods(live: Any, reference: ReferenceWebhook) -> None:
    del reference
    await account(live, FIRST)
    assert await client_id_of(live, "labelled") == FIRST
    stored = (await live.call("GET", f"{PODS}/labelled")).body["spec"]
    sources = [each["projected"]["sources"] for each in stored["volumes"] if "projected" in each]
    audiences = [
        source["serviceAccountToken"].get("audience")
        for each in sources
        for source in each
        if "serviceAccountToken" in source
    ]
    assert "api://AzureADTokenExchange" in audiences
    plain = await live.call("POST", PODS, pod("plain"))
    assert "env" not in plain.body["spec"]["containers"][0]


async def test_informer_sees_created_changed_and_deleted_accounts(
    live: Any, reference: ReferenceWebhook
) -> None:
    """The webhook uses its informer's cache, so it sees only changes that a watch sends."""
    del reference
    await account(live, FIRST)
    assert await client_id_of(live, "first") == FIRST
    kind = "application/merge-patch+json"
    change = {"metadata": {"annotations": {CLIENT_ID: SECOND}}}
    await live.call("PATCH", f"{ACCOUNTS}/web", change, content_type=kind)
    await _eventually(live, "second", SECOND)
    await live.call("DELETE", f"{ACCOUNTS}/web")
    await account(live, FIRST)
    await _eventually(live, "third", FIRST)


async def _eventually(live: Any, name: str, wanted: str) -> None:
    """Create pods until one has the client id, because an informer may lag."""
    found = None
    for attempt in range(50):
        found = await client_id_of(live, f"{name}-{attempt}")
        if found == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the client id is {found}, want {wanted}")


async def test_informer_lists_again_after_410_gone(live: Any, reference: ReferenceWebhook) -> None:
    """An outdated watch must get 410; otherwise the informer would miss changes for good."""
    del reference
    await account(live, FIRST)
    assert await client_id_of(live, "before") == FIRST
    live.cluster.drain()
    kind = "application/merge-patch+json"
    change = {"metadata": {"annotations": {CLIENT_ID: SECOND}}}
    await live.call("PATCH", f"{ACCOUNTS}/web", change, content_type=kind)
    live.cluster.store.watch_cache = WatchCache(live.cluster.store.revision)
    live.cluster._watches._stopping = False
    await _eventually(live, "after", SECOND)
