"""Check an existing connection: its target, its identity, its credential and its role."""

from collections.abc import AsyncIterator
from typing import Any

from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.model import OperationContext
from podpass.lab.services.clusters.context import cluster_of
from podpass.lab.services.clusters.model import Cluster
from podpass.lab.services.connector import setup
from podpass.lab.services.connector import wire as linker_wire
from podpass.lab.services.connector.model import Linker
from podpass.lab.services.connector.wire import LinkerRequest
from podpass.lab.services.vault.model import Vault, VaultAccess

_Check = tuple[str, str]


async def validate(context: OperationContext, cluster: Cluster, linker: Linker) -> dict[str, Any]:
    """Return the result of `validateLinker`: every check, with what is missing."""
    request = linker_wire.parse({"properties": linker.document})
    checks = [one async for one in _checks(context, request)]
    time = wire.format_time(context.now)
    return {
        "resourceId": linker.resource_id,
        "status": "Succeeded",
        "properties": {
            "linkerName": linker.name,
            "isConnectionAvailable": not any(fault for _, fault in checks),
            "reportStartTimeUtc": time,
            "reportEndTimeUtc": time,
            "sourceId": cluster.resource_id,
            "targetId": request.target_id,
            "authType": "userAssignedIdentity",
            "validationDetail": [_to_json(name, fault) for name, fault in checks],
        },
    }


def _to_json(name: str, fault: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": None,
        "result": "failure" if fault else "success",
        "errorMessage": fault or None,
        "errorCode": "ValidationFailed" if fault else None,
    }


async def _checks(context: OperationContext, request: LinkerRequest) -> AsyncIterator[_Check]:
    target_check, identity_check = "The target exists", "The identity exists"
    try:
        target = await setup.find_target(context, request.target_id)
        yield target_check, ""
    except errors.ManagerError as exc:
        yield target_check, exc.message
        return
    try:
        identity = await setup.find_identity(context, request)
        yield identity_check, ""
    except errors.ManagerError as exc:
        yield identity_check, exc.message
        return
    if not request.grants_access:
        return
    wanted = setup.credential_for(cluster_of(context).issuer, identity, request.namespace)
    trusted = any(
        (one.issuer, one.subject, one.audiences)
        == (wanted.issuer, wanted.subject, wanted.audiences)
        for one in identity.credentials
    )
    missing = f"No federated credential of '{identity.name}' trusts {wanted.subject}."
    yield "The identity trusts the ServiceAccount", "" if trusted else missing
    if isinstance(target.stored, Vault) and target.stored.access is VaultAccess.POLICIES:
        held = any(
            one.object_id == identity.object_id and "get" in one.secrets
            for one in target.stored.policies
        )
        absent = f"The vault '{target.stored.name}' has no access policy for '{identity.name}'."
        yield "The identity has access to the target", "" if held else absent
        return
    scope = target.name.resource_id
    assigned = await context.directory.roles_at(identity.object_id, scope)
    wanted_roles = await setup.wanted_roles(context, target, request)
    lacking = [role.name for role in wanted_roles if role.id not in assigned]
    text = f"'{identity.name}' has no role {' and '.join(lacking)} at {scope}."
    yield "The identity has access to the target", text if lacking else ""
