"""The Secret and the ServiceAccount of a connection, in the embedded cluster."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from podpass.directory.resource_manager.errors import ManagerError
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.cluster.backend import ConnectionObjects
from podpass.lab.cluster.connection_objects import written

CLIENT_ID = "11111111-aaaa-4bbb-8ccc-000000000001"
OBJECTS = ConnectionObjects(
    connection_id="/subscriptions/s/resourceGroups/rg/providers/x/linkers/kv",
    namespace="default",
    secret="sc-kv-secret",
    secret_values={"AZURE_KEYVAULT_CLIENTID": CLIENT_ID},
    account=f"sc-account-{CLIENT_ID}",
    client_id=CLIENT_ID,
)
SECRET = "/api/v1/namespaces/default/secrets/sc-kv-secret"
ACCOUNT = f"/api/v1/namespaces/default/serviceaccounts/sc-account-{CLIENT_ID}"


async def find(admin: KubeClient, path: str) -> dict[str, Any] | None:
    try:
        return await admin.get(path)
    except KubeError as exc:
        assert exc.status == 404
        return None


async def test_objects_are_created_and_a_second_run_changes_nothing(admin: KubeClient) -> None:
    async with written(admin, OBJECTS):
        pass
    secret, account = await admin.get(SECRET), await admin.get(ACCOUNT)
    assert list(secret["data"]) == ["AZURE_KEYVAULT_CLIENTID"]
    assert account["metadata"]["annotations"]["azure.workload.identity/client-id"] == CLIENT_ID
    async with written(admin, OBJECTS):
        pass
    assert (await admin.get(SECRET), await admin.get(ACCOUNT)) == (secret, account)


@pytest.mark.parametrize(
    "failure", [RuntimeError("the database is full"), asyncio.CancelledError()]
)
async def test_created_objects_are_deleted_if_a_later_step_fails(
    admin: KubeClient, failure: BaseException
) -> None:
    with pytest.raises(type(failure)):
        async with written(admin, OBJECTS):
            raise failure
    assert (await find(admin, SECRET), await find(admin, ACCOUNT)) == (None, None)


async def test_changed_objects_are_restored_if_a_later_step_fails(admin: KubeClient) -> None:
    async with written(admin, OBJECTS):
        pass
    before = await admin.get(SECRET)
    new = replace(OBJECTS, secret_values={"OTHER": "x"})

    async def fail() -> None:
        async with written(admin, new):
            assert list((await admin.get(SECRET))["data"]) == ["OTHER"]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    after = await admin.get(SECRET)
    assert after["data"] == before["data"]


async def test_change_by_another_client_survives_a_later_failure(admin: KubeClient) -> None:

    async def fail() -> None:
        async with written(admin, OBJECTS):
            await admin.patch(ACCOUNT, {"metadata": {"labels": {"team": "a"}}})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    kept = await find(admin, ACCOUNT)
    assert kept is not None
    assert kept["metadata"]["labels"] == {"team": "a"}
    assert await find(admin, SECRET) is None


async def test_secret_of_another_owner_is_not_overwritten(admin: KubeClient) -> None:
    """Attack: a connection replaces a Secret that another program wrote."""
    meta = {"name": "sc-kv-secret"}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"a": "b"}}
    await admin.create("/api/v1/namespaces/default/secrets", body)
    before = await admin.get(SECRET)
    with pytest.raises(ManagerError) as refused:
        async with written(admin, OBJECTS):
            pass
    assert refused.value.wire_code == "SecretExists"
    assert await admin.get(SECRET) == before
    assert await find(admin, ACCOUNT) is None
    other = replace(OBJECTS, connection_id=OBJECTS.connection_id + "2", secret_values={"x": "y"})
    await admin.delete(SECRET)
    async with written(admin, OBJECTS):
        pass
    with pytest.raises(ManagerError):
        async with written(admin, other):
            pass


async def test_account_for_another_identity_is_a_conflict(admin: KubeClient) -> None:
    meta = {
        "name": f"sc-account-{CLIENT_ID}",
        "annotations": {"azure.workload.identity/client-id": "another"},
    }
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    await admin.create("/api/v1/namespaces/default/serviceaccounts", body)
    with pytest.raises(ManagerError) as refused:
        async with written(admin, OBJECTS):
            pass
    assert refused.value.wire_code == "ServiceAccountExists"
    assert await find(admin, SECRET) is None


async def test_existing_account_keeps_its_annotations(admin: KubeClient) -> None:
    meta = {"name": f"sc-account-{CLIENT_ID}", "annotations": {"team": "a"}}
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    await admin.create("/api/v1/namespaces/default/serviceaccounts", body)
    async with written(admin, OBJECTS):
        pass
    account = await admin.get(ACCOUNT)
    assert account["metadata"]["annotations"] == {
        "team": "a",
        "azure.workload.identity/client-id": CLIENT_ID,
    }


async def test_missing_namespace_is_refused_with_the_command_that_creates_it(
    admin: KubeClient,
) -> None:
    with pytest.raises(ManagerError) as refused:
        async with written(admin, replace(OBJECTS, namespace="nix")):
            pass
    assert refused.value.wire_code == "NamespaceNotFound"
    assert "kubectl create namespace nix" in refused.value.message


async def test_connection_without_configuration_has_no_secret(admin: KubeClient) -> None:
    async with written(admin, replace(OBJECTS, secret_values=None)):
        pass
    assert await find(admin, SECRET) is None
    assert await find(admin, ACCOUNT) is not None
