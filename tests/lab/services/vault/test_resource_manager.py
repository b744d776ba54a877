"""Key vaults: the control plane, over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from podpass.directory.model import RoleAssignment
from podpass.lab.services.vault import router
from podpass.lab.services.vault.access_policies import PERMISSIONS
from podpass.lab.services.vault.model import VaultAccess
from podpass.lab.services.vault.vaults import Vaults

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
ALL = f"{SUB}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults"
ONE = f"{ALL}/demo-vault"
PROVIDER = f"{SUB}/providers/Microsoft.KeyVault"
DELETED = f"{PROVIDER}/locations/eastus/deletedVaults/demo-vault"
OBJECT_ID = "77777777-7777-4777-8777-777777777777"
SKU = {"family": "A", "name": "standard"}


def vault(location: str = "eastus", **more: Any) -> dict[str, Any]:
    properties = {"tenantId": TENANT, "sku": SKU, "accessPolicies": [], **more}
    kept = {name: value for name, value in properties.items() if value is not None}
    return {"location": location, "properties": kept}


def policy(*secrets: str, object_id: str = OBJECT_ID, **more: Any) -> dict[str, Any]:
    return {
        "tenantId": TENANT,
        "objectId": object_id,
        "permissions": {"secrets": list(secrets)},
        **more,
    }


@pytest.fixture(autouse=True)
async def group(manager: Any) -> str:
    return str(await manager.group())


async def test_vault_is_created_as_in_the_tutorial(manager: Any) -> None:
    body = vault(enableRbacAuthorization=True, enablePurgeProtection=True, enableSoftDelete=True)
    body["properties"]["networkAcls"] = {"bypass": "AzureServices", "defaultAction": "Allow"}
    status, made, _ = await manager.send("PUT", ONE, body | {"tags": {"a": "b"}})
    assert (status, made["id"], made["tags"]) == (201, ONE, {"a": "b"})
    assert made["type"] == "Microsoft.KeyVault/vaults"
    properties = made["properties"]
    assert properties["vaultUri"] == "https://demo-vault.vault.azure.net/"
    assert properties["provisioningState"] == "Succeeded"
    assert properties["enableRbacAuthorization"] is True
    assert properties["enablePurgeProtection"] is True
    assert properties["softDeleteRetentionInDays"] == 90
    assert properties["networkAcls"]["bypass"] == "AzureServices"
    assert (await manager.send("GET", ONE))[1] == made
    kept = await manager.directory.store(Vaults).get("demo-vault")
    assert (kept.access, kept.purge_protection) == (VaultAccess.ROLES, True)


async def test_vault_uri_matches_the_host_of_the_client(manager: Any) -> None:
    await manager.vault()
    _, body, _ = await manager.send("GET", ONE, host=f"localhost:{manager.port}")
    assert body["properties"]["vaultUri"] == "https://demo-vault.vault.localhost:18444/"


@pytest.mark.parametrize(
    ("version", "by_roles"),
    [("2023-07-01", False), ("2026-02-01", True), ("2026-02-01-preview", True)],
)
async def test_default_access_model_depends_on_the_api_version(
    manager: Any, version: str, by_roles: bool
) -> None:
    _, body, _ = await manager.send("PUT", ONE, vault(), version=version)
    assert body["properties"]["enableRbacAuthorization"] is by_roles


@pytest.mark.parametrize(
    "name", ["ab", "1vault", "va--ult", "vault-", "x" * 25, "va_ult", "v%C3%A4ult"]
)
async def test_invalid_vault_name_is_rejected(manager: Any, name: str) -> None:
    status, body, _ = await manager.send("PUT", f"{ALL}/{name}", vault())
    assert (status, body["error"]["code"]) == (400, "VaultNameNotValid")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "LocationRequired"),
        ({"location": "atlantis"}, "LocationNotAvailableForResourceType"),
        ({"location": "eastus"}, "BadRequest"),
        (vault(tenantId=None), "BadRequest"),
        (vault(sku=None), "BadRequest"),
        (vault(sku={"family": "A", "name": "gold"}), "BadRequest"),
        (vault(tenantId="99999999-9999-4999-8999-999999999999"), "BadRequest"),
        (vault(enableSoftDelete=False), "BadRequest"),
        (vault(enablePurgeProtection=False), "BadRequest"),
        (vault(softDeleteRetentionInDays=6), "BadRequest"),
        (vault(softDeleteRetentionInDays=91), "BadRequest"),
        (vault(softDeleteRetentionInDays="90"), "InvalidRequestContent"),
        (vault(enableRbacAuthorization="yes"), "InvalidRequestContent"),
        (vault(publicNetworkAccess="perhaps"), "BadRequest"),
        (vault(createMode="overwrite"), "BadRequest"),
        (vault(accessPolicies={}), "InvalidRequestContent"),
        (vault(accessPolicies=[{}]), "BadRequest"),
        (vault(accessPolicies=[policy("get", object_id="me")]), "BadRequest"),
        (vault(accessPolicies=[policy("fetch")]), "BadRequest"),
        (vault(accessPolicies=[policy("get"), policy("list")]), "BadRequest"),
        (vault(accessPolicies=[policy("get") | {"tenantId": OBJECT_ID}]), "BadRequest"),
        (vault(accessPolicies=[policy("get", applicationId="x")]), "BadRequest"),
        (
            vault(
                accessPolicies=[policy(object_id=OBJECT_ID[:-4] + f"{n:04}") for n in range(1025)]
            ),
            "BadRequest",
        ),
    ],
)
async def test_invalid_vault_is_rejected_and_not_created(
    manager: Any, body: Any, code: str
) -> None:
    status, answer, _ = await manager.send("PUT", ONE, body)
    assert (status, answer["error"]["code"]) == (400, code)
    assert await manager.directory.store(Vaults).get("demo-vault") is None


async def test_vault_name_is_unique_across_resource_groups(manager: Any) -> None:
    await manager.vault()
    await manager.group("other")
    elsewhere = ONE.replace("/rg/", "/other/")
    status, body, _ = await manager.send("PUT", elsewhere, vault())
    assert (status, body["error"]["code"]) == (409, "VaultAlreadyExists")
    status, body, _ = await manager.send("GET", elsewhere)
    assert (status, body["error"]["code"]) == (404, "ResourceNotFound")
    assert (await manager.send("DELETE", elsewhere))[0] == 204
    assert (await manager.send("GET", ONE))[0] == 200


async def test_patch_changes_a_part_and_put_replaces_the_vault(manager: Any) -> None:
    await manager.send("PUT", ONE, vault(accessPolicies=[policy("get")]) | {"tags": {"a": "b"}})
    change = {"properties": {"enabledForDeployment": True}, "tags": {"c": "d"}}
    status, body, _ = await manager.send("PATCH", ONE, change)
    assert (status, body["tags"]) == (200, {"c": "d"})
    assert body["properties"]["enabledForDeployment"] is True
    assert body["properties"]["accessPolicies"][0]["permissions"]["secrets"] == ["get"]
    status, body, _ = await manager.send("PUT", ONE, vault())
    assert (status, body["tags"], body["properties"]["accessPolicies"]) == (200, {}, [])
    status, body, _ = await manager.send("PUT", ONE, vault("westus"))
    assert (status, body["error"]["code"]) == (409, "InvalidResourceLocation")


async def test_purge_protection_and_retention_cannot_be_changed(manager: Any) -> None:
    await manager.send("PUT", ONE, vault(enablePurgeProtection=True, softDeleteRetentionInDays=7))
    for change in ({"enablePurgeProtection": False}, {"softDeleteRetentionInDays": 8}):
        status, body, _ = await manager.send("PATCH", ONE, {"properties": change})
        assert (status, body["error"]["code"]) == (400, "BadRequest")
    _, body, _ = await manager.send("PUT", ONE, vault())
    assert body["properties"]["enablePurgeProtection"] is True
    assert body["properties"]["softDeleteRetentionInDays"] == 7


async def test_contributor_cannot_switch_the_access_model_of_a_vault(manager: Any) -> None:
    """Attack: a contributor switches a vault to access policies and adds itself to them."""
    await manager.send("PUT", ONE, vault(enableRbacAuthorization=True))
    await manager.add_caller("maker", "Contributor")
    both = await manager.add_caller("both", "Contributor")
    # A role that may assign only some roles is not sufficient.
    await manager.directory.assign_role(
        RoleAssignment(
            scope=ONE, principal_id=both.object_id, role="Key Vault Data Access Administrator"
        )
    )
    change = vault(enableRbacAuthorization=False, accessPolicies=[policy("get")])
    for method in ("PUT", "PATCH"):
        for caller in ("maker", "both"):
            status, body, _ = await manager.send(method, ONE, change, caller=caller)
            assert (status, body["error"]["code"]) == (403, "InsufficientPermissions")
    kept = await manager.directory.store(Vaults).get("demo-vault")
    assert (kept.access, kept.policies) == (VaultAccess.ROLES, ())
    assert (await manager.send("PATCH", ONE, {"tags": {"a": "b"}}, caller="maker"))[0] == 200
    assert (await manager.send("PATCH", ONE, change))[0] == 200


async def test_concurrent_write_cannot_revert_a_switch_of_the_access_model(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a write by a contributor completes directly after the owner switches the vault to roles."""
    await manager.send("PUT", ONE, vault(enableRbacAuthorization=False))
    await manager.add_caller("maker", "Contributor")
    change = manager.directory.store(Vaults).change

    async def after_the_owner(name: str, step: Any) -> Any:
        await change(name, lambda was: replace(was, access=VaultAccess.ROLES))
        return await change(name, step)

    monkeypatch.setattr(manager.directory.store(Vaults), "change", after_the_owner)
    back = {"properties": {"enableRbacAuthorization": False}}
    assert (await manager.send("PATCH", ONE, back, caller="maker"))[0] == 403
    assert (await manager.send("PATCH", ONE, {"tags": {"a": "b"}}, caller="maker"))[0] == 200
    assert (await manager.directory.store(Vaults).get("demo-vault")).access is VaultAccess.ROLES


async def test_deleted_vault_is_recovered(manager: Any) -> None:
    await manager.vault()
    status, body, _ = await manager.send("DELETE", ONE)
    assert (status, body) == (200, None)
    assert (await manager.send("DELETE", ONE))[0] == 204
    assert (await manager.send("GET", ONE))[0] == 404
    status, body, _ = await manager.send("GET", DELETED)
    assert (status, body["id"]) == (200, DELETED)
    assert body["properties"]["vaultId"] == ONE
    assert (await manager.send("GET", DELETED.replace("eastus", "westus")))[0] == 404
    assert body["properties"]["deletionDate"] < body["properties"]["scheduledPurgeDate"]
    status, body, _ = await manager.send("PUT", ONE, vault())
    assert (status, body["error"]["code"]) == (409, "ConflictError")
    wrong = vault("westus", createMode="recover")
    status, body, _ = await manager.send("PUT", ONE, wrong)
    assert (status, body["error"]["code"]) == (404, "DeletedVaultNotFound")
    status, body, _ = await manager.send("PUT", ONE, vault(createMode="recover"))
    assert (status, body["properties"]["provisioningState"]) == (200, "Succeeded")
    assert (await manager.send("GET", DELETED))[0] == 404
    _, body, _ = await manager.send("GET", f"{PROVIDER}/deletedVaults")
    assert body["value"] == []


async def test_vault_is_recovered_only_in_its_resource_group(manager: Any) -> None:
    """Attack: a contributor of one group recovers another group's vault into its own."""
    await manager.vault()
    await manager.send("DELETE", ONE)
    mine = await manager.group("mine")
    await manager.add_caller("maker", "Contributor", mine)
    path = ONE.replace("/rg/", "/mine/")
    status, body, _ = await manager.send("PUT", path, vault(createMode="recover"), caller="maker")
    assert (status, body["error"]["code"]) == (404, "DeletedVaultNotFound")
    assert (await manager.send("GET", DELETED))[0] == 200


async def test_vault_created_after_a_purge_has_a_new_uid(manager: Any) -> None:
    await manager.vault()
    uid = (await manager.directory.store(Vaults).get("demo-vault")).uid
    await manager.send("DELETE", ONE)
    status, body, headers = await manager.send("POST", f"{DELETED}/purge")
    assert (status, body) == (202, None)
    location = headers["Location"].removeprefix("https://management.azure.com")
    assert location.startswith(f"{PROVIDER}/locations/eastus/operationresults/")
    assert (await manager.send("GET", location, version=None))[0] == 200
    status, body, _ = await manager.send("POST", f"{DELETED}/purge")
    assert (status, body["error"]["code"]) == (404, "DeletedVaultNotFound")
    assert (await manager.send("PUT", ONE, vault()))[0] == 201
    assert (await manager.directory.store(Vaults).get("demo-vault")).uid != uid


async def test_vault_with_purge_protection_cannot_be_purged(manager: Any) -> None:
    await manager.vault(enablePurgeProtection=True)
    await manager.send("DELETE", ONE)
    assert (await manager.send("GET", DELETED))[1]["properties"]["purgeProtectionEnabled"] is True
    status, body, _ = await manager.send("POST", f"{DELETED}/purge")
    assert (status, body["error"]["code"]) == (405, "MethodNotAllowed")
    assert (await manager.send("PUT", ONE, vault(createMode="recover")))[0] == 200


async def test_deleted_vault_is_purged_after_its_retention(manager: Any) -> None:
    await manager.vault(softDeleteRetentionInDays=7)
    await manager.send("DELETE", ONE)
    manager.clock.now += 7 * 24 * 3600 + 1
    assert (await manager.send("GET", DELETED))[0] == 404
    assert (await manager.send("PUT", ONE, vault()))[0] == 201


async def test_access_policies_are_added_replaced_and_removed(manager: Any) -> None:
    await manager.vault()
    other = "88888888-8888-4888-8888-888888888888"

    async def change(kind: str, *given: Any) -> dict[str, list[str]]:
        body = {"properties": {"accessPolicies": list(given)}}
        status, answer, _ = await manager.send("PUT", f"{ONE}/accessPolicies/{kind}", body)
        assert (status, answer["id"]) == (200, f"{ONE}/accessPolicies/")
        listed = answer["properties"]["accessPolicies"]
        return {one["objectId"]: one["permissions"]["secrets"] for one in listed}

    assert await change("add", policy("Get", "list")) == {OBJECT_ID: ["get", "list"]}
    assert await change("add", policy("set")) == {OBJECT_ID: ["get", "list", "set"]}
    assert await change("add", policy("get", object_id=other)) == {
        OBJECT_ID: ["get", "list", "set"],
        other: ["get"],
    }
    assert await change("replace", policy("purge")) == {OBJECT_ID: ["purge"], other: ["get"]}
    assert await change("remove", policy("get", object_id=other)) == {OBJECT_ID: ["purge"]}
    kept = await manager.directory.store(Vaults).get("demo-vault")
    assert [(one.object_id, one.secrets) for one in kept.policies] == [(OBJECT_ID, ("purge",))]


def test_permissions_of_all_operations_are_known() -> None:
    used = {
        (f"{operation.kind.permission_noun}s", operation.permission)
        for methods in router.PATHS.values()
        for operation in methods.values()
    }
    assert not [each for each in used if each[1] not in PERMISSIONS[each[0]]]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("swap", {"properties": {"accessPolicies": []}}),
        ("add", {}),
        ("add", {"properties": {"accessPolicies": [policy("fetch")]}}),
        *(
            ("add", {"properties": {"accessPolicies": [policy(permissions={kind: ["sgin"]})]}})
            for kind in ("keys", "certificates", "storage")
        ),
    ],
)
async def test_invalid_change_of_access_policies_is_rejected(
    manager: Any, kind: str, body: Any
) -> None:
    await manager.vault()
    status, answer, _ = await manager.send("PUT", f"{ONE}/accessPolicies/{kind}", body)
    assert (status, answer["error"]["code"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("free-name", None),
        ("demo-vault", "AlreadyExists"),
        ("DEMO-vault", "AlreadyExists"),
        ("gone-vault", "AlreadyExists"),
        ("x", "AccountNameInvalid"),
    ],
)
async def test_vault_name_availability_is_checked(
    manager: Any, name: str, reason: str | None
) -> None:
    await manager.vault()
    await manager.send("DELETE", await manager.vault("gone-vault"))
    body = {"name": name, "type": "Microsoft.KeyVault/vaults"}
    status, answer, _ = await manager.send("POST", f"{PROVIDER}/checkNameAvailability", body)
    assert (status, answer["nameAvailable"]) == (200, reason is None)
    assert answer.get("reason") == reason
    # az first requests a managed HSM of this name.
    hsm = {"name": name, "type": "Microsoft.KeyVault/managedHSMs"}
    path = f"{PROVIDER}/checkMhsmNameAvailability"
    assert (await manager.send("POST", path, hsm))[1].get("reason") == reason
    assert (await manager.send("POST", path, body))[0] == 400


async def test_vaults_are_listed_by_group_and_subscription(manager: Any) -> None:
    await manager.group("other")
    for name, where in (("vault-a", "rg"), ("vault-b", "rg"), ("vault-c", "other")):
        await manager.vault(name, where)
    _, body, _ = await manager.send("GET", f"{ALL}?$top=1")
    assert [one["name"] for one in body["value"]] == ["vault-a"]
    following = body["nextLink"].removeprefix("https://management.azure.com")
    _, body, _ = await manager.send("GET", following, version=None)
    assert [one["name"] for one in body["value"]] == ["vault-b"]
    _, body, _ = await manager.send("GET", f"{PROVIDER}/vaults")
    assert sorted(one["name"] for one in body["value"]) == ["vault-a", "vault-b", "vault-c"]
    for path in ("managedHSMs", "deletedManagedHSMs"):
        assert (await manager.send("GET", f"{PROVIDER}/{path}"))[1]["value"] == []
