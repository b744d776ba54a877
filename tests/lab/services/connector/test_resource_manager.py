"""Service Connector over HTTP: what a connection writes, what it needs, and what remains after a failure."""

import asyncio
from typing import Any

import pytest

from podpass.directory.model import RoleAssignment, RoleDefinition
from podpass.lab.services.connector.store import Linkers
from podpass.lab.services.vault.vaults import Vaults
from tests.directory.resource_manager.harness import ISSUER, SUB, SUBSCRIPTION

GROUP = f"{SUB}/resourceGroups/rg"
CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/aks"
ALL = f"{CLUSTER}/providers/Microsoft.ServiceLinker/linkers"
ONE = f"{ALL}/kv_1"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/demo-vault"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/acc"
PROVIDERS = f"{GROUP}/providers"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
CERTIFICATE_USER = "db79e9a7-68ee-4b58-9aeb-b90e7c24fcba"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


@pytest.fixture(autouse=True)
async def web(manager: Any) -> dict[str, str]:
    """Create group, cluster, vault and identity; return the ids of the identity."""
    await manager.group()
    pools = [{"name": "nodepool1", "count": 1}]
    on = {"workloadIdentity": {"enabled": True}}
    properties = {"dnsPrefix": "aks", "agentPoolProfiles": pools, "securityProfile": on}
    body = {"location": "eastus", "properties": properties}
    assert (await manager.send("PUT", CLUSTER, body))[0] == 201
    await manager.vault(enableRbacAuthorization=True)
    made = await manager.identity()
    return {"id": made["id"], **made["properties"]}


def linker(web: dict[str, str], target: str = VAULT, **more: Any) -> dict[str, Any]:
    """Return the body that az sends."""
    auth = {
        "authType": "userAssignedIdentity",
        "clientId": web["clientId"],
        "subscriptionId": SUBSCRIPTION,
        **more.pop("auth", {}),
    }
    properties = {
        "targetService": {"type": "AzureResource", "id": target},
        "authInfo": auth,
        "clientType": "python",
        "scope": "default",
        "secretStore": {"keyVaultId": None},
        "configurationInfo": {
            "customizedKeys": None,
            "configurationStore": {"appConfigurationId": None},
            "action": None,
        },
        "publicNetworkSolution": {"action": None},
        **more,
    }
    return {"properties": properties}


async def audit(manager: Any) -> list[str]:
    return [f"{one.action} {one.target}" for one in await manager.directory.audit.list()]


async def state(manager: Any, web: dict[str, str]) -> tuple[Any, ...]:
    """Return everything that a connection may change."""
    identity = await manager.directory.find_identity(
        manager.subscription.tenant_id, web["clientId"]
    )
    assigned = await manager.directory.assignments.list(principal=web["principalId"])
    _, cluster, _ = await manager.send("GET", CLUSTER)
    _, listed, _ = await manager.send("GET", ALL)
    vault = await manager.directory.store(Vaults).get("demo-vault")
    return (
        identity.credentials,
        assigned,
        cluster,
        listed,
        vault,
        list(manager.cluster.written),
        manager.cluster.workload_identity,
        len(await audit(manager)),
    )


async def test_connection_writes_credential_roles_and_objects(
    manager: Any, web: dict[str, str]
) -> None:
    status, body, headers = await manager.send("PUT", ONE, linker(web))
    assert (status, body["id"], body["type"]) == (201, ONE, "microsoft.servicelinker/linkers")
    assert body["properties"]["provisioningState"] == "Succeeded"
    path = headers["Azure-AsyncOperation"].removeprefix("https://management.azure.com")
    assert (await manager.send("GET", path, version=None))[1]["status"] == "Succeeded"

    [written] = manager.cluster.written
    assert (written.namespace, written.secret) == ("default", "sc-kv1-secret")
    assert (written.account, written.client_id) == (
        f"sc-account-{web['clientId']}",
        web["clientId"],
    )
    assert written.secret_values == {
        "AZURE_KEYVAULT_RESOURCEENDPOINT": "https://demo-vault.vault.azure.net/",
        "AZURE_KEYVAULT_SCOPE": "https://management.azure.com/.default",
        "AZURE_KEYVAULT_CLIENTID": web["clientId"],
    }
    identity = await manager.directory.find_identity(
        manager.subscription.tenant_id, web["clientId"]
    )
    [credential] = identity.credentials
    assert credential.issuer == ISSUER
    assert credential.subject == f"system:serviceaccount:default:sc-account-{web['clientId']}"
    assert credential.audiences == ("api://AzureADTokenExchange",)
    assigned = await manager.directory.assignments.list(principal=web["principalId"])
    assert {(one.role, one.scope) for one in assigned} == {
        (SECRETS_USER, VAULT.lower()),
        (CERTIFICATE_USER, VAULT.lower()),
    }
    entries = await audit(manager)
    for action in (
        "Microsoft.ServiceLinker/linkers/write",
        "Microsoft.Authorization/roleAssignments/write",
        "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write",
    ):
        assert any(one.startswith(action) for one in entries), action


async def test_repeated_put_of_a_connection_changes_nothing(
    manager: Any, web: dict[str, str]
) -> None:
    await manager.send("PUT", ONE, linker(web))
    manager.cluster.written.clear()
    before = await state(manager, web)
    status, body, _ = await manager.send("PUT", ONE, linker(web))
    assert (status, body["id"]) == (200, ONE)
    manager.cluster.written.clear()
    assert await state(manager, web) == before


async def test_existing_credential_and_inherited_role_are_reused(
    manager: Any, web: dict[str, str]
) -> None:
    subject = f"system:serviceaccount:default:sc-account-{web['clientId']}"
    properties = {"issuer": ISSUER, "subject": subject, "audiences": ["api://AzureADTokenExchange"]}
    path = f"{web['id']}/federatedIdentityCredentials/mine"
    await manager.send("PUT", path, {"properties": properties})
    for role in (SECRETS_USER, CERTIFICATE_USER):
        await manager.directory.assign_role(
            RoleAssignment(scope=GROUP, principal_id=web["principalId"], role=role)
        )
    before = await state(manager, web)
    assert (await manager.send("PUT", ONE, linker(web)))[0] == 201
    after = await state(manager, web)
    assert after[:2] == before[:2]


async def test_existing_credential_with_another_audience_is_a_conflict(
    manager: Any, web: dict[str, str]
) -> None:
    subject = f"system:serviceaccount:default:sc-account-{web['clientId']}"
    properties = {"issuer": ISSUER, "subject": subject, "audiences": ["api://other"]}
    path = f"{web['id']}/federatedIdentityCredentials/mine"
    await manager.send("PUT", path, {"properties": properties})
    before = await state(manager, web)
    status, body, _ = await manager.send("PUT", ONE, linker(web))
    assert (status, body["error"]["code"]) == (409, "FederatedCredentialConflict")
    assert "'federated credential' failed" in body["error"]["message"]
    assert "'mine'" in body["error"]["message"]
    assert await state(manager, web) == before


async def test_issuer_and_workload_identity_are_enabled(manager: Any, web: dict[str, str]) -> None:
    off = {"securityProfile": {"workloadIdentity": {"enabled": False}}}
    pools = [{"name": "nodepool1", "count": 1}]
    body = {"location": "eastus", "properties": {"agentPoolProfiles": pools, **off}}
    await manager.send("PUT", CLUSTER, body)
    assert manager.cluster.workload_identity is False
    assert (await manager.send("PUT", ONE, linker(web)))[0] == 201
    assert manager.cluster.workload_identity is True
    _, shown, _ = await manager.send("GET", CLUSTER)
    assert shown["properties"]["securityProfile"]["workloadIdentity"] == {"enabled": True}


@pytest.mark.parametrize(
    ("target", "values", "roles"),
    [
        (
            f"{ACCOUNT}/blobServices/default",
            {"AZURE_STORAGEBLOB_RESOURCEENDPOINT": "https://acc.blob.core.windows.net/"},
            1,
        ),
        (
            f"{ACCOUNT}/queueServices/default",
            {"AZURE_STORAGEQUEUE_RESOURCEENDPOINT": "https://acc.queue.core.windows.net/"},
            1,
        ),
        (
            f"{ACCOUNT}/tableServices/default",
            {"AZURE_STORAGETABLE_RESOURCEENDPOINT": "https://acc.table.core.windows.net/"},
            1,
        ),
        (
            f"{PROVIDERS}/Microsoft.ServiceBus/namespaces/bus",
            {"AZURE_SERVICEBUS_FULLYQUALIFIEDNAMESPACE": "bus.servicebus.windows.net"},
            2,
        ),
        (
            f"{PROVIDERS}/Microsoft.EventHub/namespaces/hub",
            {"AZURE_EVENTHUB_FULLYQUALIFIEDNAMESPACE": "hub.servicebus.windows.net"},
            2,
        ),
        (
            f"{PROVIDERS}/Microsoft.AppConfiguration/configurationStores/cfg",
            {"AZURE_APPCONFIGURATION_ENDPOINT": "https://cfg.azconfig.io"},
            1,
        ),
        (
            f"{PROVIDERS}/Microsoft.DocumentDB/databaseAccounts/cos/sqlDatabases/db",
            {"AZURE_COSMOS_RESOURCEENDPOINT": "https://cos.documents.azure.com:443/"},
            1,
        ),
        (
            f"{PROVIDERS}/Microsoft.CognitiveServices/accounts/ai",
            {"AZURE_COGNITIVESERVICES_ENDPOINT": "https://ai.cognitiveservices.azure.com/"},
            1,
        ),
        (
            f"{PROVIDERS}/Microsoft.Cache/redis/cache/databases/0",
            {"AZURE_REDIS_HOST": "cache.redis.cache.windows.net"},
            0,
        ),
    ],
    ids=["blob", "queue", "table", "bus", "hub", "appconfig", "cosmos", "ai", "redis"],
)
async def test_target_of_an_unserved_service_gets_its_values_and_roles(
    manager: Any, web: dict[str, str], target: str, values: dict[str, str], roles: int
) -> None:
    status, body, _ = await manager.send("PUT", ONE, linker(web, target))
    assert status == 201, body
    [written] = manager.cluster.written
    assert written.secret_values.items() >= values.items()
    assert [key for key in written.secret_values if key.endswith("_CLIENTID")]
    assigned = await manager.directory.assignments.list(principal=web["principalId"])
    assert len(assigned) == roles
    assert all(one.scope in target.lower() for one in assigned)
    _, listed, _ = await manager.send("POST", f"{ONE}/listConfigurations")
    shown = {one["name"]: one["value"] for one in listed["configurations"]}
    assert shown == written.secret_values


async def test_connection_to_a_stored_openai_account_has_the_openai_endpoint(
    manager: Any, web: dict[str, str]
) -> None:
    target = f"{PROVIDERS}/Microsoft.CognitiveServices/accounts/ai"
    body = {"location": "eastus", "kind": "OpenAI", "properties": {}}
    assert (await manager.send("PUT", target, body))[0] == 201
    assert (await manager.send("PUT", ONE, linker(web, target)))[0] == 201
    [written] = manager.cluster.written
    assert written.secret_values["AZURE_OPENAI_BASE"] == "https://ai.openai.azure.com/"


async def test_stored_resource_is_shown_and_listed_and_accepts_role_assignments(
    manager: Any,
) -> None:
    body = {"location": "eastus", "kind": "StorageV2", "tags": {"a": "b"}, "properties": {"x": 1}}
    status, made, _ = await manager.send("PUT", ACCOUNT, body)
    assert (status, made["id"], made["kind"]) == (200, ACCOUNT, "StorageV2")
    assert made["properties"]["x"] == 1
    assert made["properties"]["primaryEndpoints"]["blob"] == "https://acc.blob.core.windows.net/"
    assert (await manager.send("GET", ACCOUNT))[1] == made
    assert (await manager.send("PUT", ACCOUNT, body))[0] == 200
    for path in (f"{PROVIDERS}/Microsoft.Storage/storageAccounts", f"{GROUP}/resources"):
        _, listed, _ = await manager.send("GET", path)
        assert ACCOUNT in [one["id"] for one in listed["value"]]
    query = "$filter=resourceType%20eq%20'Microsoft.Storage/storageAccounts'"
    _, listed, _ = await manager.send("GET", f"{SUB}/resources?{query}")
    assert [one["id"] for one in listed["value"]] == [ACCOUNT]
    roles = "providers/Microsoft.Authorization/roleAssignments"
    assert (await manager.send("GET", f"{ACCOUNT}/{roles}"))[0] == 200
    assert (await manager.send("GET", f"{ACCOUNT}2/{roles}"))[0] == 404
    assert (await manager.send("DELETE", ACCOUNT))[0] == 200
    assert (await manager.send("GET", ACCOUNT))[0] == 404


async def test_storage_account_with_an_invalid_or_used_name_is_refused(manager: Any) -> None:
    body = {"location": "eastus", "properties": {}}
    check = f"{SUB}/providers/Microsoft.Storage/checkNameAvailability"
    assert (await manager.send("POST", check, {"name": "acc"}))[1] == {"nameAvailable": True}
    assert (await manager.send("PUT", ACCOUNT, body))[0] == 200
    for name, reason in (("acc", "AlreadyExists"), ("Acc", "AccountNameInvalid")):
        _, found, _ = await manager.send("POST", check, {"name": name})
        assert (found["nameAvailable"], found["reason"]) == (False, reason)
    for name in ("Orders", "my-account", "ab", "a" * 25):
        path = f"{PROVIDERS}/Microsoft.Storage/storageAccounts/{name}"
        status, refused, _ = await manager.send("PUT", path, body)
        assert (status, refused["error"]["code"]) == (400, "AccountNameInvalid")
    other = GROUP.replace(GROUP.rpartition("/")[2], "other")
    assert (await manager.send("PUT", other, {"location": "eastus"}))[0] == 201
    status, refused, _ = await manager.send("PUT", ACCOUNT.replace(GROUP, other), body)
    assert (status, refused["error"]["code"]) == (409, "StorageAccountAlreadyTaken")
    assert (await manager.send("PUT", ACCOUNT, body))[0] == 200


async def test_vault_with_access_policies_gets_a_policy(manager: Any, web: dict[str, str]) -> None:
    await manager.vault("demo-vault", enableRbacAuthorization=False, accessPolicies=[])
    assert (await manager.send("PUT", ONE, linker(web)))[0] == 201
    vault = await manager.directory.store(Vaults).get("demo-vault")
    [policy] = vault.policies
    assert (policy.object_id, policy.secrets) == (web["principalId"], ("get", "list"))
    assert await manager.directory.assignments.list(principal=web["principalId"]) == []
    _, result, _ = await manager.send("POST", f"{ONE}/validateLinker")
    assert result["properties"]["isConnectionAvailable"] is True


async def test_requested_roles_replace_the_default_roles(manager: Any, web: dict[str, str]) -> None:
    body = linker(web, auth={"roles": ["Key Vault Reader"]})
    assert (await manager.send("PUT", ONE, body))[0] == 201
    [assigned] = await manager.directory.assignments.list(principal=web["principalId"])
    assert assigned.role == "21090545-7ca7-4776-b22c-e363652d74d2"
    body = linker(web, auth={"roles": ["Nobody"]})
    assert (await manager.send("PUT", f"{ALL}/two", body))[1]["error"]["code"] == (
        "RoleDefinitionDoesNotExist"
    )


async def test_opted_out_connection_writes_no_access_or_no_configuration(
    manager: Any, web: dict[str, str]
) -> None:
    before = await state(manager, web)
    body = linker(web, auth={"authMode": "optOutAllAuth"})
    assert (await manager.send("PUT", ONE, body))[0] == 201
    assert (await state(manager, web))[:2] == before[:2]
    manager.cluster.written.clear()
    body = linker(web, configurationInfo={"action": "optOut"})
    assert (await manager.send("PUT", f"{ALL}/two", body))[0] == 201
    [written] = manager.cluster.written
    assert written.secret_values is None


async def test_customized_keys_rename_secret_keys_and_invalid_ones_are_refused(
    manager: Any, web: dict[str, str]
) -> None:
    renamed = {"AZURE_KEYVAULT_RESOURCEENDPOINT": "VAULT_URL"}
    body = linker(web, configurationInfo={"customizedKeys": renamed})
    assert (await manager.send("PUT", ONE, body))[0] == 201
    [written] = manager.cluster.written
    assert written.secret_values["VAULT_URL"] == "https://demo-vault.vault.azure.net/"
    assert "AZURE_KEYVAULT_RESOURCEENDPOINT" not in written.secret_values
    for wrong in ({"X": "Y"}, {"AZURE_KEYVAULT_SCOPE": "a b"}, {"AZURE_KEYVAULT_SCOPE": ".."}):
        body = linker(web, configurationInfo={"customizedKeys": wrong})
        assert await manager.refused("PUT", ONE, body) == "400 ValidationFailed"


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"targetService": {"id": VAULT + "x"}}, 404, "step 'target' failed"),
        (
            {"targetService": {"id": VAULT.replace("/rg/", "/other/")}},
            404,
            "resource group 'other'",
        ),
        ({"targetService": {"id": VAULT.replace("0b1f", "0b1e")}}, 404, "only '0b1f6471"),
        ({"targetService": {"id": f"{PROVIDERS}/Microsoft.Sql/servers/x"}}, 400, "not the id of"),
        (
            {"targetService": {"id": f"{PROVIDERS}/Microsoft.Cache/redis/a.b/databases/0"}},
            400,
            "id",
        ),
        ({"auth": {"clientId": "nobody"}}, 404, "step 'identity' failed"),
        ({"auth": {"subscriptionId": "another"}}, 404, "identity is in the subscription"),
        ({"auth": {"authType": "secret"}}, 400, "--workload-identity"),
        ({"scope": "Not_A_Namespace"}, 400, "not a valid name"),
        ({"clientType": "springBoot"}, 400, "client type 'springBoot'"),
        ({"vNetSolution": {"type": "privateLink"}}, 400, "vNetSolution"),
        ({"secretStore": {"keyVaultId": VAULT}}, 400, "--vault-id"),
        (
            {
                "targetService": {
                    "id": VAULT,
                    "resourceProperties": {
                        "type": "KeyVault",
                        "connectAsKubernetesCsiDriver": True,
                    },
                }
            },
            400,
            "--enable-csi",
        ),
    ],
    ids=[
        *("no vault", "no group", "another subscription", "unknown kind", "a name with a dot"),
        *("no identity", "subscription of the identity", "secret", "namespace", "client type"),
        *("network", "secret store", "csi"),
    ],
)
async def test_invalid_connection_is_refused_and_changes_nothing(
    manager: Any, web: dict[str, str], change: dict[str, Any], status: int, text: str
) -> None:
    before = await state(manager, web)
    found, body, _ = await manager.send("PUT", ONE, linker(web, **change))
    assert (found, text in body["error"]["message"]) == (status, True), body
    assert await state(manager, web) == before


@pytest.mark.parametrize("name", ["a" * 61, "a-b", "...", "a%20b"])
async def test_invalid_name_is_refused(manager: Any, web: dict[str, str], name: str) -> None:
    assert await manager.refused("PUT", f"{ALL}/{name}", linker(web)) == "400 InvalidResourceName"


async def test_failure_in_the_cluster_changes_nothing(manager: Any, web: dict[str, str]) -> None:
    before = await state(manager, web)
    manager.cluster.broken = True
    status, body, _ = await manager.send("PUT", ONE, linker(web))
    assert (status, body["error"]["code"]) == (409, "SecretExists")
    assert (
        "step 'objects of the cluster' failed, and nothing was changed"
        in (body["error"]["message"])
    )
    assert await state(manager, web) == before


async def test_failure_of_the_directory_restores_the_cluster(
    manager: Any, web: dict[str, str]
) -> None:
    """An identity with the maximum of credentials: the last step fails after the objects were written."""
    for number in range(20):
        properties = {
            "issuer": "https://issuer.example/",
            "subject": f"s{number}",
            "audiences": ["api://AzureADTokenExchange"],
        }
        path = f"{web['id']}/federatedIdentityCredentials/fic-{number}"
        assert (await manager.send("PUT", path, {"properties": properties}))[0] == 201
    off = {"securityProfile": {"workloadIdentity": {"enabled": False}}}
    pools = [{"name": "nodepool1", "count": 1}]
    body = {"location": "eastus", "properties": {"agentPoolProfiles": pools, **off}}
    await manager.send("PUT", CLUSTER, body)
    before = await state(manager, web)
    status, body, _ = await manager.send("PUT", ONE, linker(web))
    assert status == 400
    assert "step 'connection with its credential and role' failed" in body["error"]["message"]
    assert "20" in body["error"]["message"]
    assert await state(manager, web) == before


_LINK = "Microsoft.ServiceLinker/linkers/*"
_WRITE = "Microsoft.KubernetesConfiguration/extensions/write"
_TRUST = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write"
_ASSIGN = "Microsoft.Authorization/roleAssignments/write"
_READ = "Microsoft.KeyVault/vaults/read"
_CLUSTER = "Microsoft.ContainerService/managedClusters/write"
_NEEDED = (_LINK, _WRITE, _TRUST, _ASSIGN, _READ, _CLUSTER)


async def define_role(manager: Any, name: str, actions: list[str]) -> None:
    await manager.directory.role_definitions.put(
        RoleDefinition(
            id="00000000-0000-4000-8000-000000000001",
            name=name,
            actions=tuple(actions),
            scopes=(SUB,),
        )
    )
    found = await manager.directory.role_definitions.list(name)
    made = await manager.add_caller(name)
    await manager.directory.assignments.put(
        RoleAssignment(scope=SUB, principal_id=made.object_id, role=found[0].id)
    )


async def test_caller_with_every_needed_permission_connects(
    manager: Any, web: dict[str, str]
) -> None:
    await define_role(manager, "connector", list(_NEEDED))
    assert (await manager.send("PUT", ONE, linker(web), caller="connector"))[0] == 201


@pytest.mark.parametrize(
    "missing",
    [_LINK, _WRITE, _TRUST, _ASSIGN, _READ],
    ids=["link", "write", "trust", "role", "read"],
)
async def test_caller_without_one_permission_is_refused(
    manager: Any, web: dict[str, str], missing: str
) -> None:
    """Attack: a caller who may write connections uses one to get rights that it does not have."""
    await define_role(manager, "connector", [one for one in _NEEDED if one != missing])
    before = await state(manager, web)
    status, body, _ = await manager.send("PUT", ONE, linker(web), caller="connector")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    assert missing.replace("/*", "/write") in body["error"]["message"]
    assert await state(manager, web) == before


async def test_caller_without_write_access_cannot_enable_workload_identity(
    manager: Any, web: dict[str, str]
) -> None:
    await define_role(manager, "connector", [one for one in _NEEDED if one != _CLUSTER])
    manager.cluster.workload_identity = False
    status, body, _ = await manager.send("PUT", ONE, linker(web), caller="connector")
    assert (status, _CLUSTER in body["error"]["message"]) == (403, True)
    assert manager.cluster.workload_identity is False


async def test_role_that_the_caller_may_not_assign_is_refused(
    manager: Any, web: dict[str, str]
) -> None:
    """Attack: an administrator of some roles assigns the role Owner by a connection."""
    await define_role(manager, "connector", [one for one in _NEEDED if one != _ASSIGN])
    [caller] = await manager.directory.list_identities(manager.subscription.tenant_id, "connector")
    await manager.directory.assign_role(
        RoleAssignment(
            scope=SUB, principal_id=caller.object_id, role="Key Vault Data Access Administrator"
        )
    )
    body = linker(web, auth={"roles": [OWNER]})
    assert await manager.refused("PUT", ONE, body, caller="connector") == "403 AuthorizationFailed"
    body = linker(web, auth={"roles": [SECRETS_USER]})
    assert (await manager.send("PUT", ONE, body, caller="connector"))[0] == 201


async def test_access_policy_needs_the_permission_to_write_it(
    manager: Any, web: dict[str, str]
) -> None:
    await manager.vault("demo-vault", enableRbacAuthorization=False, accessPolicies=[])
    await define_role(manager, "connector", list(_NEEDED))
    status, body, _ = await manager.send("PUT", ONE, linker(web), caller="connector")
    assert (status, "accessPolicies/write" in body["error"]["message"]) == (403, True)
    assert (await manager.directory.store(Vaults).get("demo-vault")).policies == ()


async def test_namespace_of_a_connection_cannot_change(manager: Any, web: dict[str, str]) -> None:
    await manager.send("PUT", ONE, linker(web))
    assert await manager.refused("PUT", ONE, linker(web, scope="other")) == "400 ValidationFailed"


async def test_connection_is_shown_listed_changed_and_deleted(
    manager: Any, web: dict[str, str]
) -> None:
    _, made, _ = await manager.send("PUT", ONE, linker(web))
    assert (await manager.send("GET", ONE))[1] == made
    await manager.send("PUT", f"{ALL}/another", linker(web))
    assert await manager.pages(f"{ALL}?$top=1") == [["another"], ["kv_1"]]
    change = {"properties": {"clientType": "dotnet"}}
    _, changed, _ = await manager.send("PATCH", ONE, change)
    assert changed["properties"]["clientType"] == "dotnet"
    before = await state(manager, web)
    status, _, headers = await manager.send("DELETE", ONE)
    assert (status, "Azure-AsyncOperation" in headers) == (202, True)
    assert (await manager.send("DELETE", ONE))[0] == 204
    assert (await manager.send("GET", ONE))[0] == 404
    # What the connection wrote stays, as in Azure.
    after = await state(manager, web)
    assert (after[:2], after[5]) == (before[:2], before[5])


async def test_put_is_a_conflict_while_a_patch_is_in_progress(
    manager: Any, web: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager.send("PUT", ONE, linker(web))
    linkers, has_read, goes_on = manager.directory.store(Linkers), asyncio.Event(), asyncio.Event()
    read = linkers.get

    async def stop_after_the_first_read(*key: str) -> Any:
        found = await read(*key)
        if not has_read.is_set():
            has_read.set()
            await goes_on.wait()
        return found

    monkeypatch.setattr(linkers, "get", stop_after_the_first_read)
    patch = asyncio.create_task(manager.send("PATCH", ONE, {"properties": {"clientType": "java"}}))
    await has_read.wait()
    other, _, _ = await manager.send("PUT", ONE, linker(web, clientType="dotnet"))
    goes_on.set()
    assert ((await patch)[0], other) == (200, 409)
    _, stored, _ = await manager.send("GET", ONE)
    assert stored["properties"]["clientType"] == "java"


async def test_connections_are_deleted_with_their_cluster(
    manager: Any, web: dict[str, str]
) -> None:
    await manager.send("PUT", ONE, linker(web))
    await manager.send("DELETE", CLUSTER)
    assert (await manager.send("GET", ONE))[0] == 404
    assert await manager.directory.store(Linkers).page(CLUSTER) == []
    assert f"Microsoft.ServiceLinker/linkers/delete {ONE}" in await audit(manager)


async def test_validation_of_a_connection_names_the_missing_role(
    manager: Any, web: dict[str, str]
) -> None:
    await manager.send("PUT", ONE, linker(web))
    _, good, _ = await manager.send("POST", f"{ONE}/validateLinker")
    details = good["properties"]["validationDetail"]
    assert {one["result"] for one in details} == {"success"}
    for one in await manager.directory.assignments.list(principal=web["principalId"]):
        await manager.directory.assignments.delete(one.name)
    _, bad, _ = await manager.send("POST", f"{ONE}/validateLinker")
    [fault] = [one for one in bad["properties"]["validationDetail"] if one["result"] != "success"]
    assert "no role Key Vault Secrets User" in fault["errorMessage"]
    await manager.send("DELETE", web["id"])
    _, bad, _ = await manager.send("POST", f"{ONE}/validateLinker")
    assert bad["properties"]["isConnectionAvailable"] is False


async def test_caller_without_rights_does_not_learn_which_targets_exist(
    manager: Any, web: dict[str, str]
) -> None:
    await define_role(manager, "connector", [one for one in _NEEDED if one != _READ])
    codes = set()
    for target in (VAULT, VAULT + "x", VAULT.replace("/rg/", "/other/")):
        status, body, _ = await manager.send("PUT", ONE, linker(web, target), caller="connector")
        codes.add((status, body["error"]["code"]))
    assert codes == {(403, "AuthorizationFailed")}


async def test_target_id_has_ascii_letters_only(manager: Any, web: dict[str, str]) -> None:
    """Attack: a letter that only equals an ASCII letter without case stores a role at an unknown scope."""
    target = ACCOUNT.replace("/subscriptions/", "/\u017fubscriptions/")
    assert (await manager.send("PUT", ONE, linker(web, target)))[0] == 400
