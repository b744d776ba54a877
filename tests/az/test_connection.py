"""`az aks connection`: every command, every target, and refusals that change nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.az.az_cli import AzCli, names
from tests.journey.instance import Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

GROUP = "connections"
SOURCE = f"-g {GROUP} -n aks"


@pytest.fixture(scope="module")
def identity(newest: AzCli) -> Iterator[dict[str, Any]]:
    """Create cluster, vault and identity; return the identity. The cluster is deleted at the end."""
    newest(f"group create -n {GROUP} -l westeurope")
    newest(f"aks create {SOURCE} --no-ssh-key")
    newest(f"keyvault create -n connections-vault -g {GROUP} --enable-rbac-authorization")
    yield newest(f"identity create -g {GROUP} -n connector")
    newest(f"group delete -n {GROUP} --yes")
    newest("keyvault purge -n connections-vault")


def _create(target: str, identity: dict[str, Any], more: str) -> str:
    auth = f"--target-resource-group {GROUP} --workload-identity {identity['id']}"
    return f"aks connection create {target} {SOURCE} {auth} {more}"


def test_connection_to_a_vault_is_created_shown_changed_and_deleted(
    newest: AzCli, instance: Instance, identity: dict[str, Any]
) -> None:
    made = newest(
        _create(
            "keyvault", identity, "--vault connections-vault --connection kv --client-type java"
        )
    )
    account = f"sc-account-{identity['clientId']}"
    assert made["kubernetesResourceName"] == {"secret": "sc-kv-secret", "serviceAccount": account}
    assert made["provisioningState"] == "Succeeded"
    secret = instance.core.read_namespaced_secret("sc-kv-secret", "default")
    stored = instance.core.read_namespaced_service_account(account, "default")
    assert stored.metadata.annotations["azure.workload.identity/client-id"] == identity["clientId"]
    shown, listed, configured, checked, trusted = newest.each(
        f"aks connection show {SOURCE} --connection kv",
        f"aks connection list {SOURCE}",
        f"aks connection list-configuration {SOURCE} --connection kv",
        f"aks connection validate {SOURCE} --connection kv",
        f"identity federated-credential list -g {GROUP} --identity-name connector",
    )
    assert shown["id"] == made["id"]
    assert shown["configurations"] == configured["configurations"]
    assert "kv" in names(listed)
    assert {each["name"] for each in configured["configurations"]} == set(secret.data)
    assert {each["result"] for each in checked} == {"success"}
    assert [each["subject"] for each in trusted] == [f"system:serviceaccount:default:{account}"]

    changed = newest(
        f"aks connection update keyvault {SOURCE} --connection kv --client-type python"
    )
    assert changed["clientType"] == "python"
    newest(f"aks connection wait {SOURCE} --connection kv --exists")
    newest(f"aks connection delete {SOURCE} --connection kv --yes")
    assert "kv" not in names(newest(f"aks connection list {SOURCE}"))
    # The objects in the cluster stay.
    assert instance.core.read_namespaced_secret("sc-kv-secret", "default").data == secret.data
    assert (
        "connections-vault"
        in newest(_create("keyvault", identity, "--vault connections-vault --connection kv"))[
            "targetService"
        ]["id"]
    )


@pytest.mark.parametrize(
    ("target", "options", "key"),
    [
        ("storage-blob", "--account acc", "AZURE_STORAGEBLOB_RESOURCEENDPOINT"),
        ("storage-queue", "--account acc", "AZURE_STORAGEQUEUE_RESOURCEENDPOINT"),
        ("storage-table", "--account acc", "AZURE_STORAGETABLE_RESOURCEENDPOINT"),
        ("servicebus", "--namespace bus", "AZURE_SERVICEBUS_FULLYQUALIFIEDNAMESPACE"),
        ("eventhub", "--namespace hub", "AZURE_EVENTHUB_FULLYQUALIFIEDNAMESPACE"),
        ("appconfig", "--app-config cfg", "AZURE_APPCONFIGURATION_ENDPOINT"),
        ("cosmos-sql", "--account cos --database db", "AZURE_COSMOS_RESOURCEENDPOINT"),
        ("cognitiveservices", "--account ai", "AZURE_COGNITIVESERVICES_ENDPOINT"),
    ],
)
def test_connection_to_another_target_is_created(
    newest: AzCli, instance: Instance, identity: dict[str, Any], target: str, options: str, key: str
) -> None:
    name = target.replace("-", "")
    newest(_create(target, identity, f"{options} --connection {name}"))
    secret = instance.core.read_namespaced_secret(f"sc-{name}-secret", "default")
    assert key in secret.data


def test_connection_to_redis_needs_the_stored_cache(
    newest: AzCli, identity: dict[str, Any]
) -> None:
    """az itself reads the cache first, and refuses one without Entra authentication."""
    connect = _create("redis", identity, "--server cache1 --database 0 --connection redis")
    assert "ResourceNotFound" in newest.refused(connect)
    body = '{"redisConfiguration": {"aadEnabled": "True"}}'
    create = f"resource create -g {GROUP} -n cache1 --resource-type Microsoft.Cache/redis"
    newest(f"{create} -l westeurope --properties", body)
    assert newest(connect)["kubernetesResourceName"]["secret"] == "sc-redis-secret"


def test_supported_types_are_listed(newest: AzCli) -> None:
    found = newest("aks connection list-support-types --target-type keyvault")
    [vault] = [each for each in found if each["target"] == "keyvault"]
    assert "workload-identity" in vault["auth_types"]


def test_refused_connection_names_the_step_and_changes_nothing(
    newest: AzCli, identity: dict[str, Any]
) -> None:
    before = newest.each(
        f"aks connection list {SOURCE}",
        f"role assignment list --all --assignee {identity['principalId']}",
    )
    for options, text in (
        ("--vault missing-vault --connection bad", "step 'target' failed"),
        ("--vault connections-vault --connection bad --kube-namespace nix", "create namespace nix"),
        (f"--vault connections-vault --connection {'b' * 61}", "1 to 60 letters"),
    ):
        assert text in newest.refused(_create("keyvault", identity, options))
    csi = f"aks connection create keyvault {SOURCE} --target-resource-group {GROUP} --enable-csi"
    assert "--enable-csi" in newest.refused(f"{csi} --vault connections-vault --connection csi")
    after = newest.each(
        f"aks connection list {SOURCE}",
        f"role assignment list --all --assignee {identity['principalId']}",
    )
    assert after == before
