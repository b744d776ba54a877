"""Key vaults: the control plane, request by request."""

from dataclasses import replace
from typing import Any

import pytest

from podpass.directory.model import RoleAssignment, VaultAccess

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
ALL = f"{SUB}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults"
ONE = f"{ALL}/demo-vault"
PROVIDER = f"{SUB}/providers/Microsoft.KeyVault"
DELETED = f"{PROVIDER}/locations/eastus/deletedVaults/demo-vault"
WHO = "77777777-7777-4777-8777-777777777777"
SKU = {"family": "A", "name": "standard"}


def vault(location: str = "eastus", **more: Any) -> dict[str, Any]:
    properties = {"tenantId": TENANT, "sku": SKU, "accessPolicies": [], **more}
    kept = {name: value for name, value in properties.items() if value is not None}
    return {"location": location, "properties": kept}


def policy(*secrets: str, who: str = WHO, **more: Any) -> dict[str, Any]:
    return {"tenantId": TENANT, "objectId": who, "permissions": {"secrets": list(secrets)}, **more}


@pytest.fixture(autouse=True)
async def group(world: Any) -> str:
    return str(await world.group())


async def test_a_vault_is_made_as_the_tutorial_asks(world: Any) -> None:
    body = vault(enableRbacAuthorization=True, enablePurgeProtection=True, enableSoftDelete=True)
    body["properties"]["networkAcls"] = {"bypass": "AzureServices", "defaultAction": "Allow"}
    status, made, _ = await world.ask("PUT", ONE, body | {"tags": {"a": "b"}})
    assert (status, made["id"], made["tags"]) == (201, ONE, {"a": "b"})
    assert made["type"] == "Microsoft.KeyVault/vaults"
    properties = made["properties"]
    assert properties["vaultUri"] == "https://demo-vault.vault.azure.net/"
    assert properties["provisioningState"] == "Succeeded"
    assert properties["enableRbacAuthorization"] is True
    assert properties["enablePurgeProtection"] is True
    assert properties["softDeleteRetentionInDays"] == 90
    assert properties["networkAcls"]["bypass"] == "AzureServices"
    assert (await world.ask("GET", ONE))[1] == made
    kept = await world.directory.find_vault("demo-vault")
    assert (kept.access, kept.purge_protection) == (VaultAccess.ROLES, True)


async def test_a_vaults_address_fits_how_the_client_came(world: Any) -> None:
    await world.vault()
    _, body, _ = await world.ask("GET", ONE, host=f"localhost:{world.port}")
    assert body["properties"]["vaultUri"] == "https://demo-vault.vault.localhost:18444/"


@pytest.mark.parametrize(
    ("version", "by_roles"),
    [("2023-07-01", False), ("2026-02-01", True), ("2026-02-01-preview", True)],
)
async def test_what_a_vault_goes_by_depends_on_the_version_where_nothing_is_said(
    world: Any, version: str, by_roles: bool
) -> None:
    _, body, _ = await world.ask("PUT", ONE, vault(), version=version)
    assert body["properties"]["enableRbacAuthorization"] is by_roles


@pytest.mark.parametrize(
    "name", ["ab", "1vault", "va--ult", "vault-", "x" * 25, "va_ult", "v%C3%A4ult"]
)
async def test_a_name_no_vault_can_have_is_refused(world: Any, name: str) -> None:
    status, body, _ = await world.ask("PUT", f"{ALL}/{name}", vault())
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
        (vault(accessPolicies=[policy("get", who="me")]), "BadRequest"),
        (vault(accessPolicies=[policy("fetch")]), "BadRequest"),
        (vault(accessPolicies=[policy("get"), policy("list")]), "BadRequest"),
        (vault(accessPolicies=[policy("get") | {"tenantId": WHO}]), "BadRequest"),
        (vault(accessPolicies=[policy("get", applicationId="x")]), "BadRequest"),
        (
            vault(accessPolicies=[policy(who=WHO[:-4] + f"{n:04}") for n in range(1025)]),
            "BadRequest",
        ),
    ],
)
async def test_a_body_that_is_no_vault_makes_none(world: Any, body: Any, code: str) -> None:
    status, answer, _ = await world.ask("PUT", ONE, body)
    assert (status, answer["error"]["code"]) == (400, code)
    assert await world.directory.find_vault("demo-vault") is None


async def test_a_name_is_there_once_in_the_whole_cloud(world: Any) -> None:
    await world.vault()
    await world.group("other")
    elsewhere = ONE.replace("/rg/", "/other/")
    status, body, _ = await world.ask("PUT", elsewhere, vault())
    assert (status, body["error"]["code"]) == (409, "VaultAlreadyExists")
    status, body, _ = await world.ask("GET", elsewhere)
    assert (status, body["error"]["code"]) == (404, "ResourceNotFound")
    assert (await world.ask("DELETE", elsewhere))[0] == 204
    assert (await world.ask("GET", ONE))[0] == 200


async def test_a_vault_is_changed_in_part_and_whole(world: Any) -> None:
    await world.ask("PUT", ONE, vault(accessPolicies=[policy("get")]) | {"tags": {"a": "b"}})
    change = {"properties": {"enabledForDeployment": True}, "tags": {"c": "d"}}
    status, body, _ = await world.ask("PATCH", ONE, change)
    assert (status, body["tags"]) == (200, {"c": "d"})
    assert body["properties"]["enabledForDeployment"] is True
    assert body["properties"]["accessPolicies"][0]["permissions"]["secrets"] == ["get"]
    status, body, _ = await world.ask("PUT", ONE, vault())
    assert (status, body["tags"], body["properties"]["accessPolicies"]) == (200, {}, [])
    status, body, _ = await world.ask("PUT", ONE, vault("westus"))
    assert (status, body["error"]["code"]) == (409, "InvalidResourceLocation")


async def test_protection_and_retention_are_for_good(world: Any) -> None:
    await world.ask("PUT", ONE, vault(enablePurgeProtection=True, softDeleteRetentionInDays=7))
    for change in ({"enablePurgeProtection": False}, {"softDeleteRetentionInDays": 8}):
        status, body, _ = await world.ask("PATCH", ONE, {"properties": change})
        assert (status, body["error"]["code"]) == (400, "BadRequest")
    _, body, _ = await world.ask("PUT", ONE, vault())
    assert body["properties"]["enablePurgeProtection"] is True
    assert body["properties"]["softDeleteRetentionInDays"] == 7


async def test_who_may_give_no_roles_does_not_switch_what_a_vault_goes_by(world: Any) -> None:
    """Attack: a contributor switches a vault to access policies and puts itself on the list."""
    await world.ask("PUT", ONE, vault(enableRbacAuthorization=True))
    await world.caller("maker", "Contributor")
    both = await world.caller("both", "Contributor")
    # One that gives some roles only is not one that may give them all.
    await world.directory.assign_role(
        RoleAssignment(
            scope=ONE, principal_id=both.object_id, role="Key Vault Data Access Administrator"
        )
    )
    change = vault(enableRbacAuthorization=False, accessPolicies=[policy("get")])
    for method in ("PUT", "PATCH"):
        for who in ("maker", "both"):
            status, body, _ = await world.ask(method, ONE, change, who=who)
            assert (status, body["error"]["code"]) == (403, "InsufficientPermissions")
    kept = await world.directory.find_vault("demo-vault")
    assert (kept.access, kept.policies) == (VaultAccess.ROLES, ())
    assert (await world.ask("PATCH", ONE, {"tags": {"a": "b"}}, who="maker"))[0] == 200
    assert (await world.ask("PATCH", ONE, change))[0] == 200


async def test_nobody_switches_back_what_is_switched_meanwhile(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a contributor's write, which changes nothing yet, ends after the owner's switch to roles."""
    await world.ask("PUT", ONE, vault(enableRbacAuthorization=False))
    await world.caller("maker", "Contributor")
    change = world.directory.vaults.change

    async def after_the_owner(name: str, step: Any) -> Any:
        await change(name, lambda was: replace(was, access=VaultAccess.ROLES))
        return await change(name, step)

    monkeypatch.setattr(world.directory.vaults, "change", after_the_owner)
    back = {"properties": {"enableRbacAuthorization": False}}
    assert (await world.ask("PATCH", ONE, back, who="maker"))[0] == 403
    assert (await world.ask("PATCH", ONE, {"tags": {"a": "b"}}, who="maker"))[0] == 200
    assert (await world.directory.find_vault("demo-vault")).access is VaultAccess.ROLES


async def test_a_vault_is_deleted_and_comes_back(world: Any) -> None:
    await world.vault()
    status, body, _ = await world.ask("DELETE", ONE)
    assert (status, body) == (200, None)
    assert (await world.ask("DELETE", ONE))[0] == 204
    assert (await world.ask("GET", ONE))[0] == 404
    status, body, _ = await world.ask("GET", DELETED)
    assert (status, body["id"]) == (200, DELETED)
    assert body["properties"]["vaultId"] == ONE
    assert (await world.ask("GET", DELETED.replace("eastus", "westus")))[0] == 404
    assert body["properties"]["deletionDate"] < body["properties"]["scheduledPurgeDate"]
    status, body, _ = await world.ask("PUT", ONE, vault())
    assert (status, body["error"]["code"]) == (409, "ConflictError")
    wrong = vault("westus", createMode="recover")
    status, body, _ = await world.ask("PUT", ONE, wrong)
    assert (status, body["error"]["code"]) == (404, "DeletedVaultNotFound")
    status, body, _ = await world.ask("PUT", ONE, vault(createMode="recover"))
    assert (status, body["properties"]["provisioningState"]) == (200, "Succeeded")
    assert (await world.ask("GET", DELETED))[0] == 404
    _, body, _ = await world.ask("GET", f"{PROVIDER}/deletedVaults")
    assert body["value"] == []


async def test_a_vault_comes_back_only_where_it_was(world: Any) -> None:
    """Attack: a contributor of one group recovers another group's vault into its own."""
    await world.vault()
    await world.ask("DELETE", ONE)
    mine = await world.group("mine")
    await world.caller("maker", "Contributor", mine)
    path = ONE.replace("/rg/", "/mine/")
    status, body, _ = await world.ask("PUT", path, vault(createMode="recover"), who="maker")
    assert (status, body["error"]["code"]) == (404, "DeletedVaultNotFound")
    assert (await world.ask("GET", DELETED))[0] == 200


async def test_a_deleted_vault_is_purged_and_none_after_it_has_its_secrets(world: Any) -> None:
    await world.vault()
    uid = (await world.directory.find_vault("demo-vault")).uid
    await world.ask("DELETE", ONE)
    status, body, headers = await world.ask("POST", f"{DELETED}/purge")
    assert (status, body) == (202, None)
    location = headers["Location"].removeprefix("https://management.azure.com")
    assert location.startswith(f"{PROVIDER}/locations/eastus/operationresults/")
    assert (await world.ask("GET", location, version=None))[0] == 200
    status, body, _ = await world.ask("POST", f"{DELETED}/purge")
    assert (status, body["error"]["code"]) == (404, "DeletedVaultNotFound")
    assert (await world.ask("PUT", ONE, vault()))[0] == 201
    assert (await world.directory.find_vault("demo-vault")).uid != uid


async def test_a_protected_vault_is_not_purged(world: Any) -> None:
    await world.vault(enablePurgeProtection=True)
    await world.ask("DELETE", ONE)
    assert (await world.ask("GET", DELETED))[1]["properties"]["purgeProtectionEnabled"] is True
    status, body, _ = await world.ask("POST", f"{DELETED}/purge")
    assert (status, body["error"]["code"]) == (405, "MethodNotAllowed")
    assert (await world.ask("PUT", ONE, vault(createMode="recover")))[0] == 200


async def test_when_its_retention_is_over_a_deleted_vault_is_gone(world: Any) -> None:
    await world.vault(softDeleteRetentionInDays=7)
    await world.ask("DELETE", ONE)
    world.clock.now += 7 * 24 * 3600 + 1
    assert (await world.ask("GET", DELETED))[0] == 404
    assert (await world.ask("PUT", ONE, vault()))[0] == 201


async def test_access_policies_are_added_replaced_and_removed(world: Any) -> None:
    await world.vault()
    other = "88888888-8888-4888-8888-888888888888"

    async def change(kind: str, *given: Any) -> dict[str, list[str]]:
        body = {"properties": {"accessPolicies": list(given)}}
        status, answer, _ = await world.ask("PUT", f"{ONE}/accessPolicies/{kind}", body)
        assert (status, answer["id"]) == (200, f"{ONE}/accessPolicies/")
        listed = answer["properties"]["accessPolicies"]
        return {one["objectId"]: one["permissions"]["secrets"] for one in listed}

    assert await change("add", policy("Get", "list")) == {WHO: ["get", "list"]}
    assert await change("add", policy("set")) == {WHO: ["get", "list", "set"]}
    assert await change("add", policy("get", who=other)) == {
        WHO: ["get", "list", "set"],
        other: ["get"],
    }
    assert await change("replace", policy("purge")) == {WHO: ["purge"], other: ["get"]}
    assert await change("remove", policy("get", who=other)) == {WHO: ["purge"]}
    kept = await world.directory.find_vault("demo-vault")
    assert [(one.object_id, one.secrets) for one in kept.policies] == [(WHO, ("purge",))]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("swap", {"properties": {"accessPolicies": []}}),
        ("add", {}),
        ("add", {"properties": {"accessPolicies": [policy("fetch")]}}),
    ],
)
async def test_a_change_of_policies_that_is_none_is_refused(
    world: Any, kind: str, body: Any
) -> None:
    await world.vault()
    status, answer, _ = await world.ask("PUT", f"{ONE}/accessPolicies/{kind}", body)
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
async def test_a_name_is_checked_before_it_is_taken(
    world: Any, name: str, reason: str | None
) -> None:
    await world.vault()
    await world.ask("DELETE", await world.vault("gone-vault"))
    body = {"name": name, "type": "Microsoft.KeyVault/vaults"}
    status, answer, _ = await world.ask("POST", f"{PROVIDER}/checkNameAvailability", body)
    assert (status, answer["nameAvailable"]) == (200, reason is None)
    assert answer.get("reason") == reason
    # az asks for a managed HSM of this name first.
    hsm = {"name": name, "type": "Microsoft.KeyVault/managedHSMs"}
    path = f"{PROVIDER}/checkMhsmNameAvailability"
    assert (await world.ask("POST", path, hsm))[1].get("reason") == reason
    assert (await world.ask("POST", path, body))[0] == 400


async def test_vaults_are_listed_by_group_and_subscription(world: Any) -> None:
    await world.group("other")
    for name, where in (("vault-a", "rg"), ("vault-b", "rg"), ("vault-c", "other")):
        await world.vault(name, where)
    _, body, _ = await world.ask("GET", f"{ALL}?$top=1")
    assert [one["name"] for one in body["value"]] == ["vault-a"]
    following = body["nextLink"].removeprefix("https://management.azure.com")
    _, body, _ = await world.ask("GET", following, version=None)
    assert [one["name"] for one in body["value"]] == ["vault-b"]
    _, body, _ = await world.ask("GET", f"{PROVIDER}/vaults")
    assert sorted(one["name"] for one in body["value"]) == ["vault-a", "vault-b", "vault-c"]
    for path in ("managedHSMs", "deletedManagedHSMs"):
        assert (await world.ask("GET", f"{PROVIDER}/{path}"))[1]["value"] == []
