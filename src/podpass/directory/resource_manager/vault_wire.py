"""Key vaults read into our shapes and written from them. Pure.

Source:  https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from podpass.clock import rfc3339
from podpass.directory import naming
from podpass.directory.model import DeletedVault, Vault, VaultAccess
from podpass.directory.resource_manager import policies, refusals, wire
from podpass.directory.resource_manager.model import Call

TYPE = "Microsoft.KeyVault/vaults"
_FLAGS = ("enabledForDeployment", "enabledForDiskEncryption", "enabledForTemplateDeployment")
_SKUS = ("standard", "premium")
_RETENTION = range(7, 91)
# From this api-version on a new vault goes by roles unless it says otherwise.
_ROLES_SINCE = "2026-02-01"


def write(call: Call, vault: Vault) -> dict[str, Any]:
    """Write a vault as clients read it."""
    properties: dict[str, Any] = {
        **vault.document,
        "tenantId": vault.tenant_id,
        "accessPolicies": [policies.write(one) for one in vault.policies],
        "enableSoftDelete": True,
        "softDeleteRetentionInDays": vault.retention_days,
        "enableRbacAuthorization": vault.access is VaultAccess.ROLES,
        "vaultUri": f"https://{vault.name}.{call.origin.vault_suffix}/",
        "provisioningState": "Succeeded",
    }
    properties.setdefault("sku", {"family": "A", "name": "standard"})
    properties.setdefault("publicNetworkAccess", "Enabled")
    for name in _FLAGS:
        properties.setdefault(name, False)
    # Absent until it is on, as in the real one.
    if vault.purge_protection:
        properties["enablePurgeProtection"] = True
    # One that an older podpass made does not know when.
    made = {"systemData": {"createdAt": wire.moment(vault.created)}} if vault.created else {}
    return {
        "id": vault.resource_id,
        "name": vault.name,
        "type": TYPE,
        "location": vault.location,
        "tags": dict(vault.tags),
        **made,
        "properties": properties,
    }


def write_deleted(call: Call, gone: DeletedVault) -> dict[str, Any]:
    """Write a vault that can be recovered."""
    vault = gone.vault
    place = f"/subscriptions/{call.subscription}/providers/Microsoft.KeyVault"
    properties: dict[str, Any] = {
        "vaultId": vault.resource_id,
        "location": vault.location,
        "tags": dict(vault.tags),
        "deletionDate": rfc3339(gone.deleted),
        "scheduledPurgeDate": rfc3339(gone.purge_on),
    }
    if vault.purge_protection:
        properties["purgeProtectionEnabled"] = True
    return {
        "id": f"{place}/locations/{vault.location}/deletedVaults/{vault.name}",
        "name": vault.name,
        "type": "Microsoft.KeyVault/deletedVaults",
        "properties": properties,
    }


def check_name(name: str) -> str:
    """Give a name as it is kept, or refuse it.

    Errors:  ManagerRefusal.
    """
    lower = name.lower()
    if (fault := naming.vault_name_fault(lower)) is not None:
        raise refusals.bad("VaultNameNotValid", f"The vault's {fault.message}.")
    return lower


def read_new(call: Call, name: str, location: str, resource_id: str) -> Vault:
    """Read a vault that is to be created.

    Errors:  ManagerRefusal.
    """
    given = wire.inner(call.body, "properties")
    if wire.text(given, "tenantId") is None or not wire.inner(given, "sku"):
        raise refusals.bad("BadRequest", "A vault's properties must name 'tenantId' and 'sku'.")
    by_roles = call.query.api_version[:10] >= _ROLES_SINCE
    empty = Vault(
        name=name,
        tenant_id=call.place.tenant_id,
        location=location,
        resource_id=resource_id,
        access=VaultAccess.ROLES if by_roles else VaultAccess.POLICIES,
        tags=wire.tags(call.body) or {},
    )
    days = _number(given, "softDeleteRetentionInDays")
    return _read(call, given, replace(empty, retention_days=90 if days is None else days))


def read_change(call: Call, old: Vault, *, whole: bool) -> Vault:
    """Read what is changed of a vault; a `whole` one also loses what is not named.

    Errors:  ManagerRefusal.
    """
    given, tags = wire.inner(call.body, "properties"), wire.tags(call.body)
    days = _number(given, "softDeleteRetentionInDays")
    if days not in (None, old.retention_days):
        raise refusals.bad(
            "BadRequest",
            f"'softDeleteRetentionInDays' was set to {old.retention_days} and cannot change any more.",
        )
    if whole:
        old = replace(old, tags=tags or {}, policies=(), document={})
    elif tags is not None:
        old = replace(old, tags=tags)
    return _read(call, given, old)


def _read(call: Call, given: Mapping[str, Any], old: Vault) -> Vault:
    _check_tenant(call, given)
    if wire.flag(given, "enableSoftDelete") is False:
        raise refusals.bad(
            "BadRequest", "'enableSoftDelete' cannot be false: soft delete is for ever."
        )
    protect = wire.flag(given, "enablePurgeProtection")
    if protect is False:
        raise refusals.bad(
            "BadRequest",
            "'enablePurgeProtection' cannot be set to false; leave it out, or protect for good with true.",
        )
    if old.retention_days not in _RETENTION:
        raise refusals.bad("BadRequest", "'softDeleteRetentionInDays' is a number from 7 to 90.")
    by_roles = wire.flag(given, "enableRbacAuthorization")
    access = old.access
    if by_roles is not None:
        access = VaultAccess.ROLES if by_roles else VaultAccess.POLICIES
    listed = wire.items(given, "accessPolicies")
    return replace(
        old,
        access=access,
        policies=old.policies if listed is None else policies.read(call, listed),
        purge_protection=old.purge_protection or protect is True,
        document={**old.document, **_document(given)},
    )


def _check_tenant(call: Call, given: Mapping[str, Any]) -> None:
    tenant = wire.text(given, "tenantId")
    if tenant is not None and tenant.lower() != call.place.tenant_id:
        raise refusals.bad(
            "BadRequest", f"'tenantId' is not that of the subscription, {call.place.tenant_id}."
        )


def _document(given: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {
        name: value for name in _FLAGS if (value := wire.flag(given, name)) is not None
    }
    if sku := wire.inner(given, "sku"):
        family, name = wire.text(sku, "family") or "A", (wire.text(sku, "name") or "").lower()
        if family != "A" or name not in _SKUS:
            raise refusals.bad("BadRequest", f"'sku' is of family A and one of {', '.join(_SKUS)}.")
        kept["sku"] = {"family": family, "name": name}
    if acls := wire.inner(given, "networkAcls"):
        kept["networkAcls"] = acls
    if (access := wire.text(given, "publicNetworkAccess")) is not None:
        if access.lower() not in ("enabled", "disabled"):
            raise refusals.bad("BadRequest", "'publicNetworkAccess' is Enabled or Disabled.")
        kept["publicNetworkAccess"] = access
    return kept


def _number(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is not None and type(value) is not int:
        raise refusals.content(f"'{name}' is not a whole number")
    return value
