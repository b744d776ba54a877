"""What Service Connector does for one connection: check everything first, then write everything.

The checks use the caller's roles, because Service Connector acts on behalf of the caller. The objects of the
cluster are written first and restored if a later step fails; one transaction stores the rest. So a failure,
or the end of the process between any two steps, leaves no access without its connection.
"""

import hashlib
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace

from podpass import names
from podpass.directory import roles
from podpass.directory.errors import DirectoryError
from podpass.directory.model import (
    AccessPolicy,
    FederatedCredential,
    Identity,
    IdentityKind,
    OtherResource,
    RoleAssignment,
    RoleDefinition,
    WriteResult,
)
from podpass.directory.resource_manager import errors, federated_credentials, role_assignments, wire
from podpass.directory.resource_manager.model import OperationContext
from podpass.kubernetes.service_account.names import subject
from podpass.lab.cluster.backend import ConnectionObjects
from podpass.lab.services.clusters import resource_manager as clusters
from podpass.lab.services.clusters import wire as cluster_wire
from podpass.lab.services.clusters.context import cluster_of
from podpass.lab.services.clusters.model import TYPE as CLUSTER
from podpass.lab.services.clusters.model import Cluster
from podpass.lab.services.connector import targets
from podpass.lab.services.connector import wire as linker_wire
from podpass.lab.services.connector.model import Linker, linker_id
from podpass.lab.services.connector.store import LinkerChange, Linkers
from podpass.lab.services.connector.targets import TargetKind, TargetName
from podpass.lab.services.connector.wire import LinkerRequest
from podpass.lab.services.vault.model import Vault, VaultAccess
from podpass.lab.services.vault.vaults import Vaults

# The permission of the extension that Service Connector installs to write into a cluster.
_EXTENSIONS_WRITE = "Microsoft.KubernetesConfiguration/extensions/write"
_ASSIGN = f"{role_assignments.TYPE}/write"
_POLICIES_WRITE = f"{targets.VAULT}/accessPolicies/write"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTarget:
    """The target of a connection; `stored` is None for a target without a stored resource."""

    name: TargetName
    kind: TargetKind
    stored: Vault | OtherResource | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkerPlan:
    """The writes of one connection; `registers_webhook` is true if workload identity is off."""

    change: LinkerChange
    objects: ConnectionObjects
    registers_webhook: bool


@contextmanager
def _step(name: str, connection: str) -> Iterator[None]:
    """Name the step in its errors. Raises ManagerError."""
    try:
        yield
    except (errors.ManagerError, DirectoryError) as exc:
        error = wire.from_directory_error(exc) if isinstance(exc, DirectoryError) else exc
        raise errors.ManagerError(
            error.status,
            error.wire_code,
            f"The connection '{connection}' was not written: the step '{name}' failed, and nothing was"
            f" changed. {error.message} Correct this, then run the same command again.",
        ) from exc


async def plan(context: OperationContext, cluster: Cluster, request: LinkerRequest) -> LinkerPlan:
    """Check a connection, and decide what to write; write nothing.

    Raises ManagerError, with the step that failed.
    """
    with _step("target", context.name):
        name, kind = _parse_target(context, request.target_id)
        # Before the lookup: a caller without this right must not learn which resources exist.
        await _require(context, f"{kind.type}/read", name.resource_id)
        target = await find_target(context, request.target_id)
        values = _configuration(target, request)
    with _step("identity", context.name):
        identity = await find_identity(context, request)
    change = LinkerChange(
        linker=Linker(
            resource_id=linker_id(cluster.resource_id, context.name),
            name=context.name,
            created=context.now,
            document=request.document,
        ),
        identity=identity,
    )
    with _step("workload identity of the cluster", context.name):
        switched = await _plan_cluster(context, cluster)
        change = replace(change, cluster=switched)
    if request.grants_access:
        with _step("federated credential", context.name):
            credential = await _plan_credential(context, identity, request)
        with _step("role of the identity", context.name):
            change = replace(change, credential=credential)
            change = await _plan_access(context, change, target, request)
    with _step("objects of the cluster", context.name):
        await _require(context, _EXTENSIONS_WRITE, cluster.resource_id)
    objects = ConnectionObjects(
        connection_id=change.linker.resource_id,
        namespace=request.namespace,
        secret=linker_wire.secret_name(context.name),
        secret_values=values if request.writes_configuration else None,
        account=linker_wire.account_name(identity.client_id),
        client_id=identity.client_id,
    )
    return LinkerPlan(
        change=change, objects=objects, registers_webhook=not cluster_of(context).workload_identity
    )


async def carry_out(context: OperationContext, planned: LinkerPlan) -> WriteResult:
    """Write a connection. Raises ManagerError, with the step that failed."""
    async with AsyncExitStack() as stack:
        if planned.registers_webhook:
            with _step("workload identity of the cluster", context.name):
                await stack.enter_async_context(clusters.webhook_enabled(context))
        with _step("objects of the cluster", context.name):
            written = cluster_of(context).connection_written(planned.objects)
            await stack.enter_async_context(written)
        with _step("connection with its credential and role", context.name):
            return await context.directory.store(Linkers).apply(planned.change)


async def find_target(context: OperationContext, target_id: str) -> ConnectionTarget:
    """Find the target of a connection. A vault must exist; other resources need not be stored.

    Raises ManagerError.
    """
    name, kind = _parse_target(context, target_id)
    if await context.directory.groups.get(context.subscription_id, name.group) is None:
        raise errors.group_not_found(name.group)
    if kind.type == targets.VAULT:
        vault = await context.directory.store(Vaults).get(name.name)
        if vault is None or vault.resource_id.lower() != name.resource_id.lower():
            raise errors.resource_not_found(kind.type, name.name, name.group)
        return ConnectionTarget(
            name=replace(name, resource_id=vault.resource_id), kind=kind, stored=vault
        )
    stored = await context.directory.other_resources.get(name.resource_id)
    return ConnectionTarget(name=name, kind=targets.specialize(kind, stored), stored=stored)


def _parse_target(context: OperationContext, target_id: str) -> tuple[TargetName, TargetKind]:
    """Split the id of a target of this subscription. Raises ManagerError."""
    found = targets.parse(target_id)
    if found is None:
        commands = dict.fromkeys(kind.command for kind in targets.KINDS)
        raise errors.bad_request(
            "NotSupported",
            f"'{target_id[:300]}' is not the id of a target that podpass connects: {', '.join(commands)}.",
        )
    name = found[0]
    if name.subscription_id != context.subscription_id:
        raise errors.not_found(
            "SubscriptionNotFound",
            f"The target is in the subscription '{name.subscription_id}'; this instance has only"
            f" '{context.subscription_id}'. Pass the id of a target in that subscription.",
        )
    return found


async def find_identity(context: OperationContext, request: LinkerRequest) -> Identity:
    """Find the managed identity of a connection. Raises ManagerError."""
    if request.subscription_id != context.subscription_id:
        raise errors.not_found(
            "SubscriptionNotFound",
            f"The identity is in the subscription '{request.subscription_id[:80]}'; this instance has only"
            f" '{context.subscription_id}'. Pass the id of an identity in that subscription.",
        )
    found = await context.directory.find_identity(context.subscription.tenant_id, request.client_id)
    if found is None or found.kind is not IdentityKind.MANAGED_IDENTITY or not found.resource_id:
        raise errors.not_found(
            "UserAssignedIdentityNotFound",
            f"There is no managed identity with the client id '{request.client_id[:80]}'."
            " `az identity list` shows the managed identities.",
        )
    return found


def _configuration(target: ConnectionTarget, request: LinkerRequest) -> dict[str, str]:
    try:
        return targets.configuration(
            target.name, target.kind, request.client_id, request.customized_keys
        )
    except ValueError as exc:
        raise errors.bad_request(
            "ValidationFailed", f"The customized keys are invalid: {exc}."
        ) from exc


async def _plan_cluster(context: OperationContext, cluster: Cluster) -> Cluster | None:
    """Return the cluster with issuer and workload identity enabled; None if both are enabled."""
    document = cluster.document
    if cluster_wire.is_issuer_enabled(document) and cluster_of(context).workload_identity:
        return None
    await _require(context, f"{CLUSTER}/write", cluster.resource_id)
    enabled = cluster_wire.record_features(document, issuer=True, workload_identity=True)
    return replace(cluster, document=enabled)


async def _plan_credential(
    context: OperationContext, identity: Identity, request: LinkerRequest
) -> FederatedCredential | None:
    """Return the missing federated credential; None if the identity trusts the account already."""
    wanted = credential_for(cluster_of(context).issuer, identity, request.namespace)
    for one in identity.credentials:
        if (one.issuer, one.subject) != (wanted.issuer, wanted.subject):
            continue
        if one.audiences == wanted.audiences:
            return None
        raise errors.conflict(
            "FederatedCredentialConflict",
            f"The federated credential '{one.name}' of the identity trusts this account with the audience"
            f" '{one.audiences[0]}'. Delete it, or change its audience to {names.EXCHANGE_AUDIENCE}.",
        )
    federated_credentials.require_region(identity)
    await _require(context, f"{federated_credentials.TYPE}/write", identity.resource_id or "")
    return wanted


def credential_for(issuer: str, identity: Identity, namespace: str) -> FederatedCredential:
    """Return the federated credential of the account that Service Connector creates in a namespace."""
    account = linker_wire.account_name(identity.client_id)
    user = subject(namespace, account)
    digest = hashlib.sha256(f"{issuer} {user}".encode()).hexdigest()[:8]
    return FederatedCredential(
        name=f"sc-{namespace}-{digest}",
        issuer=issuer,
        subject=user,
        audiences=(names.EXCHANGE_AUDIENCE,),
    )


async def _plan_access(
    context: OperationContext,
    change: LinkerChange,
    target: ConnectionTarget,
    request: LinkerRequest,
) -> LinkerChange:
    identity, stored = change.identity, target.stored
    if isinstance(stored, Vault) and stored.access is VaultAccess.POLICIES:
        await _require(context, _POLICIES_WRITE, stored.resource_id)
        policy = AccessPolicy(
            object_id=identity.object_id, tenant_id=identity.tenant_id, secrets=("get", "list")
        )
        return replace(change, vault=stored.name, policy=policy)
    missing = []
    for role in await wanted_roles(context, target, request):
        scope = target.name.resource_id
        if role.id in await context.directory.roles_at(identity.object_id, scope):
            continue
        await _require_assignable(context, scope, role.id)
        missing.append(
            RoleAssignment(
                scope=scope,
                principal_id=identity.object_id,
                role=role.id,
                description=f"Service Connector: {context.name}",
                created_by=context.caller.object_id,
            )
        )
    return replace(change, assignments=tuple(missing))


async def wanted_roles(
    context: OperationContext, target: ConnectionTarget, request: LinkerRequest
) -> list[RoleDefinition]:
    """Return the roles that a connection needs: those of the request, or the target's default roles.

    Raises ManagerError for an unknown role.
    """
    found = []
    for given in request.roles or target.kind.roles:
        role = await context.directory.role_definitions.get(given.rpartition("/")[2])
        role = role or context.directory.role_definitions.built_in.by_name.get(given.lower())
        if role is None:
            raise errors.bad_request(
                "RoleDefinitionDoesNotExist", f"There is no role definition '{given[:200]}'."
            )
        found.append(role)
    return found


async def _require(context: OperationContext, action: str, scope: str) -> None:
    """Reject a caller without the permission for one step."""
    if not await context.directory.is_permitted(context.caller.object_id, action, scope):
        raise errors.authorization_failed(context.caller, action, scope)


async def _require_assignable(context: OperationContext, scope: str, role_id: str) -> None:
    held = await context.directory.roles_for(context.caller.object_id, scope)
    if not roles.may_assign(held, _ASSIGN, role_id):
        raise errors.authorization_failed(context.caller, _ASSIGN, scope)
