"""Commands of `az aks command invoke` as pods of the embedded cluster; tests/az runs them."""

import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from podpass.kubernetes.client import KubeClient
from podpass.lab.cluster import run_command

BASE = "/api/v1/namespaces/aks-command"
CLUSTER = {"server": "https://127.0.0.1:1", "certificate-authority-data": "Y2E="}


@pytest.fixture
async def client(live: Any) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(live.kubeconfig()) as made:
        yield made


async def test_command_without_a_token_has_the_rights_of_the_administrator(
    client: KubeClient,
) -> None:
    command_id = await run_command.start(client, "kubectl get pods", "", CLUSTER)
    pod = await client.get(f"{BASE}/pods/{command_id}")
    assert pod["spec"]["containers"][0]["command"] == ["sh", "-c", "kubectl get pods"]
    account = f"system:serviceaccount:aks-command:{pod['spec']['serviceAccountName']}"
    spec = {"user": account, "resourceAttributes": {"verb": "delete", "resource": "nodes"}}
    reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert (await client.create(reviews, {"spec": spec}))["status"]["allowed"]
    found = await run_command.read(client, command_id)
    assert found is not None
    assert found.state == "Running"


async def test_command_with_a_token_has_no_other_credential(client: KubeClient) -> None:
    """Fails if a user of a cluster with Entra integration gets the account of the administrator."""
    command_id = await run_command.start(client, "id", "the-token", CLUSTER)
    spec = (await client.get(f"{BASE}/pods/{command_id}"))["spec"]
    assert [one["secret"]["secretName"] for one in spec["volumes"]] == [command_id]
    [container] = spec["containers"]
    assert container["env"] == [{"name": "KUBECONFIG", "value": "/command/kubeconfig"}]
    data = (await client.get(f"{BASE}/secrets/{command_id}"))["data"]
    kubeconfig = yaml.safe_load(base64.b64decode(data["kubeconfig"]))
    assert kubeconfig["users"][0]["user"] == {"token": "the-token"}
    assert kubeconfig["clusters"][0]["cluster"] == CLUSTER


async def test_old_commands_are_deleted_and_new_results_are_kept(client: KubeClient) -> None:
    """Fails if a second command deletes the result for which the client of the first one polls."""
    old, running = [await run_command.start(client, "id", "t", CLUSTER) for _ in range(2)]
    status = {"status": {"phase": "Failed", "message": "evicted"}}
    await client.patch(f"{BASE}/pods/{old}/status", status)
    found = await run_command.read(client, old)
    assert found is not None
    assert (found.state, found.reason) == ("Failed", "evicted")
    second = await run_command.start(client, "id", "t", CLUSTER)
    assert await run_command.read(client, old) == found
    assert await _list_names(client, "secrets") == {running, second}
    later = lambda: time.time() + 3600.0  # noqa: E731
    third = await run_command.start(client, "id", "t", CLUSTER, later)
    assert await run_command.read(client, old) is None
    for kind in ("pods", "secrets"):
        assert await _list_names(client, kind) == {running, second, third}


async def _list_names(client: KubeClient, kind: str) -> set[str]:
    found, _ = await client.list(f"{BASE}/{kind}")
    return {one["metadata"]["name"] for one in found}


@pytest.mark.parametrize("command_id", ["0" * 32, "..", "x/../../secrets/y", ""])
async def test_unknown_command_has_no_result(client: KubeClient, command_id: str) -> None:
    assert await run_command.read(client, command_id) is None
