"""Parse and show key vaults. Pure.

Source:  https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from podpass.clock import rfc3339
from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.model import OperationContext
from podpass.lab.services.vault import access_policies
from podpass.lab.services.vault.model import (
    TYPE,
    DeletedVault,
    Vault,
    VaultAccess,
    vault_name_fault,
)

_FLAGS = ("enabledForDeployment", "enabledForDiskEncryption", "enabledForTemplateDeployment")
_SKUS = ("standard", "premium")
_RETENTION = range(7, 91)
# From this api-version on, a new vault uses roles by default.
_ROLES_SINCE = "2026-02-01"


def to_json(context: OperationContext, vault: Vault) -> dict[str, Any]:
    """Return a vault as a response body."""
    properties: dict[str, Any] = {
        **vault.document,
        "tenantId": vault.tenant_id,
        "accessPolicies": [access_policies.to_json(one) for one in vault.policies],
        "enableSoftDelete": True,
        "softDeleteRetentionInDays": vault.retention_days,
        "enableRbacAuthorization": vault.access is VaultAccess.ROLES,
        "vaultUri": f"https://{vault.name}.{context.endpoints.vault_suffix}/",
        "provisioningState": "Succeeded",
    }
    properties.setdefault("sku", {"family": "A", "name": "standard"})
    properties.setdefault("publicNetworkAccess", "Enabled")
    for name in _FLAGS:
        properties.setdefault(name, False)
    # Absent until it is enabled, as in Azure.
    if vault.purge_protection:
        properties["enablePurgeProtection"] = True
    # The creation time may be unknown.
    system_data = (
        {"systemData": {"createdAt": wire.format_time(vault.created)}} if vault.created else {}
    )
    return {
        "id": vault.resource_id,
        "name": vault.name,
        "type": TYPE,
        "location": vault.location,
        "tags": dict(vault.tags),
        **system_data,
        "properties": properties,
    }


def deleted_to_json(context: OperationContext, deleted: DeletedVault) -> dict[str, Any]:
    """Return a deleted vault as a response body."""
    vault = deleted.vault
    provider = f"/subscriptions/{context.subscription_id}/providers/Microsoft.KeyVault"
    properties: dict[str, Any] = {
        "vaultId": vault.resource_id,
        "location": vault.location,
        "tags": dict(vault.tags),
        "deletionDate": rfc3339(deleted.deleted),
        "scheduledPurgeDate": rfc3339(deleted.purge_on),
    }
    if vault.purge_protection:
        properties["purgeProtectionEnabled"] = True
    return {
        "id": f"{provider}/locations/{vault.location}/deletedVaults/{vault.name}",
        "name": vault.name,
        "type": "Microsoft.KeyVault/deletedVaults",
        "properties": properties,
    }


def normalize_name(name: str) -> str:
    """Validate a name and return it in lower case. Raises ManagerError."""
    lower = name.lower()
    if (fault := vault_name_fault(lower)) is not None:
        raise errors.bad_request("VaultNameNotValid", f"The vault's {fault.message}.")
    return lower


def parse_new(context: OperationContext, name: str, location: str, resource_id: str) -> Vault:
    """Parse a new vault. Raises ManagerError."""
    given = wire.object_member(context.body, "properties")
    if wire.text(given, "tenantId") is None or not wire.object_member(given, "sku"):
        raise errors.bad_request(
            "BadRequest", "The properties of a vault must have 'tenantId' and 'sku'."
        )
    uses_roles = context.query.api_version[:10] >= _ROLES_SINCE
    empty = Vault(
        name=name,
        tenant_id=context.subscription.tenant_id,
        location=location,
        resource_id=resource_id,
        access=VaultAccess.ROLES if uses_roles else VaultAccess.POLICIES,
        tags=wire.tags(context.body) or {},
    )
    days = _parse_integer(given, "softDeleteRetentionInDays")
    return _apply(context, given, replace(empty, retention_days=90 if days is None else days))


def parse_change(context: OperationContext, old: Vault, *, whole: bool) -> Vault:
    """Parse a change of a vault; with `whole`, properties that the request omits are reset.

    Raises ManagerError.
    """
    given, tags = wire.object_member(context.body, "properties"), wire.tags(context.body)
    days = _parse_integer(given, "softDeleteRetentionInDays")
    if days not in (None, old.retention_days):
        raise errors.bad_request(
            "BadRequest",
            f"'softDeleteRetentionInDays' is {old.retention_days} and cannot be changed.",
        )
    if whole:
        old = replace(old, tags=tags or {}, policies=(), document={})
    elif tags is not None:
        old = replace(old, tags=tags)
    return _apply(context, given, old)


def _apply(context: OperationContext, given: Mapping[str, Any], old: Vault) -> Vault:
    _check_tenant(context, given)
    if wire.boolean(given, "enableSoftDelete") is False:
        raise errors.bad_request(
            "BadRequest", "'enableSoftDelete' cannot be false: soft delete cannot be disabled."
        )
    protect = wire.boolean(given, "enablePurgeProtection")
    if protect is False:
        raise errors.bad_request(
            "BadRequest",
            "'enablePurgeProtection' cannot be false; omit it, or set true, which is permanent.",
        )
    if old.retention_days not in _RETENTION:
        raise errors.bad_request(
            "BadRequest", "'softDeleteRetentionInDays' must be a number from 7 to 90."
        )
    uses_roles = wire.boolean(given, "enableRbacAuthorization")
    access = old.access
    if uses_roles is not None:
        access = VaultAccess.ROLES if uses_roles else VaultAccess.POLICIES
    listed = wire.object_list(given, "accessPolicies")
    return replace(
        old,
        access=access,
        policies=old.policies if listed is None else access_policies.parse(context, listed),
        purge_protection=old.purge_protection or protect is True,
        document={**old.document, **_parse_document(given)},
    )


def _check_tenant(context: OperationContext, given: Mapping[str, Any]) -> None:
    tenant = wire.text(given, "tenantId")
    if tenant is not None and tenant.lower() != context.subscription.tenant_id:
        raise errors.bad_request(
            "BadRequest",
            f"'tenantId' must be the tenant of the subscription, {context.subscription.tenant_id}.",
        )


def _parse_document(given: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {
        name: value for name in _FLAGS if (value := wire.boolean(given, name)) is not None
    }
    if sku := wire.object_member(given, "sku"):
        family, name = wire.text(sku, "family") or "A", (wire.text(sku, "name") or "").lower()
        if family != "A" or name not in _SKUS:
            raise errors.bad_request(
                "BadRequest", f"'sku' must have family A and one of the names {', '.join(_SKUS)}."
            )
        document["sku"] = {"family": family, "name": name}
    if acls := wire.object_member(given, "networkAcls"):
        document["networkAcls"] = acls
    if (access := wire.text(given, "publicNetworkAccess")) is not None:
        if access.lower() not in ("enabled", "disabled"):
            raise errors.bad_request(
                "BadRequest", "'publicNetworkAccess' must be Enabled or Disabled."
            )
        document["publicNetworkAccess"] = access
    return document


def _parse_integer(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is not None and type(value) is not int:
        raise errors.invalid_content(f"'{name}' is not an integer")
    return value
