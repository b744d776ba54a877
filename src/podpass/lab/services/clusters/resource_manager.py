"""Operations of the managed cluster: each instance has one, and the first PUT names it."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial

from podpass.directory import resource_ids
from podpass.directory.resource_manager import errors, operations, paging, resources, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
    build_route,
    crud_routes,
)
from podpass.directory.store import audit_writer
from podpass.lab.cluster.backend import ClusterOperationRefused
from podpass.lab.services.clusters import wire as cluster_wire
from podpass.lab.services.clusters.context import cluster_of
from podpass.lab.services.clusters.model import TYPE, Cluster, name_fault
from podpass.lab.services.clusters.store import Clusters
from podpass.lab.services.clusters.wire import ClusterUpdate

# With Entra integration, the user of this kubeconfig signs in to Entra.
_ENTRA_PROFILE = "clusterUser"


async def find(context: OperationContext) -> Cluster | None:
    """Find the cluster in the path. Raises ManagerError, ResourceGroupNotFound."""
    group = await resources.parent_group(context)
    return await context.directory.store(Clusters).get(context.subscription_id, group, context.name)


async def require(context: OperationContext) -> Cluster:
    """Return the cluster in the path; it must exist. Raises ManagerError."""
    cluster = await find(context)
    if cluster is None:
        raise errors.resource_not_found(TYPE, context.name, context.group)
    return cluster


def lock(context: OperationContext) -> None:
    """Lock the cluster for a write. Raises ManagerError while another operation is in progress."""
    if not context.operations.try_lock(TYPE):
        text = "Another operation on the cluster is in progress. Retry when it is complete."
        raise errors.conflict("OperationNotAllowed", text)


@contextmanager
def exclusive(context: OperationContext) -> Iterator[None]:
    """Hold the lock of the cluster. Raises those of `lock`."""
    lock(context)
    try:
        yield
    finally:
        context.operations.unlock(TYPE)


async def _put(context: OperationContext) -> ManagerResponse:
    with exclusive(context):
        old = await find(context)
        if old is None:
            await _require_no_cluster(context)
            await _require_subscription_write(context)
        wire.check_etag(context, "The cluster", _etag(context, old))
        new, workload_identity = await _parse(context, old)
        await _store(context, new, workload_identity)
    return ManagerResponse(
        status=201 if old is None else 200,
        body=cluster_wire.to_json(context, cluster_of(context), new),
        headers=operations.status_headers(context, operations_parent(new)),
    )


def operations_parent(cluster: Cluster) -> str:
    """Return the path below which clients poll the operations of a cluster."""
    provider = f"/subscriptions/{cluster.subscription_id}/providers/Microsoft.ContainerService"
    return f"{provider}/locations/{cluster.location}"


async def _require_no_cluster(context: OperationContext) -> None:
    others = await context.directory.store(Clusters).page(context.subscription_id, limit=1)
    if others:
        raise errors.conflict(
            "Conflict",
            f"podpass has only one cluster, and it already exists as '{others[0].resource_id}'. Use or delete"
            " that resource. The running cluster is not deleted with it and can get another name.",
        )


async def _require_subscription_write(context: OperationContext) -> None:
    # In Azure the caller that creates a cluster owns it. This cluster belongs to the instance and runs all
    # pods: a caller with write access to only one group could read every token and disable workload identity.
    subscription = f"/subscriptions/{context.subscription_id}"
    if not await context.directory.is_permitted(
        context.caller.object_id, f"{TYPE}/write", subscription
    ):
        raise errors.authorization_failed(context.caller, f"{TYPE}/write", subscription)


async def _parse(context: OperationContext, old: Cluster | None) -> tuple[Cluster, bool]:
    if (fault := name_fault(context.name)) is not None:
        raise errors.bad_request("InvalidParameter", f"The cluster's {fault.message}.")
    location = wire.location(context.body, TYPE)
    update = cluster_wire.parse_update(context, cluster_of(context), old)
    on = _decide_workload_identity(context, old, update)
    document = cluster_wire.record_features(
        update.document, issuer=_decide_issuer(old, update), workload_identity=on
    )
    tags = wire.tags(context.body) or {}
    if old is not None:
        wire.require_same_location("cluster", old.name, old.location, location)
        return replace(old, tags=tags, document=document), on
    group = await resources.parent_group(context)
    new = Cluster(
        subscription_id=context.subscription_id,
        group=group,
        name=context.name,
        location=location,
        resource_id=resource_ids.cluster_id(context.subscription_id, group, context.name),
        tags=tags,
        created=context.now,
        document=document,
    )
    return new, on


def _decide_issuer(old: Cluster | None, update: ClusterUpdate) -> bool:
    """Return whether the issuer is enabled: by default for a new cluster, and permanently once enabled."""
    on = old is not None and cluster_wire.is_issuer_enabled(old.document)
    if on and update.issuer is False:
        raise errors.bad_request(
            "OIDCIssuerFeatureCannotBeDisabled", "The OIDC issuer of a cluster cannot be disabled."
        )
    issuer = on or (update.issuer if update.issuer is not None else old is None)
    if update.workload_identity and not issuer:
        raise errors.bad_request(
            "OIDCIssuerNotEnabled", "Workload identity requires the OIDC issuer; enable both."
        )
    return issuer


def _decide_workload_identity(
    context: OperationContext, old: Cluster | None, update: ClusterUpdate
) -> bool:
    if update.workload_identity is not None:
        return update.workload_identity
    return False if old is None else cluster_of(context).workload_identity


async def _store(context: OperationContext, new: Cluster, workload_identity: bool) -> None:
    """Switch the webhook and store the cluster; if storing fails, switch the webhook back."""
    before = cluster_of(context).workload_identity
    if workload_identity != before:
        await cluster_of(context).set_workload_identity(workload_identity)
    try:
        await context.directory.store(Clusters).put(new, grouped=True)
    except Exception:
        if workload_identity != before:
            await cluster_of(context).set_workload_identity(before)
        raise


@asynccontextmanager
async def webhook_enabled(context: OperationContext) -> AsyncIterator[None]:
    """Enable the webhook, as without a cluster resource; disable it again if the block fails."""
    before = cluster_of(context).workload_identity
    if not before:
        await cluster_of(context).set_workload_identity(True)
    try:
        yield
    except BaseException:
        if not before:
            await cluster_of(context).set_workload_identity(False)
        raise


async def _patch(context: OperationContext) -> ManagerResponse:
    with exclusive(context):
        old = await require(context)
        wire.check_etag(context, "The cluster", _etag(context, old))
        tags = wire.tags(context.body)
        new = old if tags is None else replace(old, tags=tags)
        await context.directory.store(Clusters).put(new, grouped=True)
    return ManagerResponse(body=cluster_wire.to_json(context, cluster_of(context), new))


async def _get(context: OperationContext) -> ManagerResponse:
    return ManagerResponse(
        body=cluster_wire.to_json(context, cluster_of(context), await require(context))
    )


async def _delete(context: OperationContext) -> ManagerResponse:
    with exclusive(context):
        old = await find(context)
        if old is None:
            return ManagerResponse(status=204)
        wire.check_etag(context, "The cluster", _etag(context, old))
        async with webhook_enabled(context):
            await context.directory.store(Clusters).delete(
                context.subscription_id, old.group, old.name
            )
    headers = operations.status_headers(context, operations_parent(old))
    return ManagerResponse(status=202, headers=headers)


async def _list(context: OperationContext) -> ManagerResponse:
    context.query.filter.require_known(frozenset())
    group = await resources.parent_group(context) if context.group else None
    fetch = partial(context.directory.store(Clusters).page, context.subscription_id, group=group)
    shown = await paging.collect_page(context, fetch)
    return wire.page_response(
        context, shown, lambda one: cluster_wire.to_json(context, cluster_of(context), one)
    )


def _etag(context: OperationContext, cluster: Cluster | None) -> str | None:
    return (
        None
        if cluster is None
        else cluster_wire.to_json(context, cluster_of(context), cluster)["eTag"]
    )


async def issue_kubeconfig(
    context: OperationContext, cluster: Cluster, action: str, profile: str
) -> str:
    """Return a kubeconfig in Base64 and record it in the audit: most grant cluster administration."""
    entra = profile == _ENTRA_PROFILE and cluster_wire.has_entra_integration(cluster.document)
    if not entra and not cluster_wire.has_local_accounts(cluster.document):
        raise errors.bad_request(
            "BadRequest",
            "The local accounts of this cluster are disabled, so it has no static credentials. Sign in with"
            " Entra: az aks get-credentials without --admin.",
        )
    user = f"{profile}_{cluster.group}_{cluster.name}"
    with converting_refusals():
        content = cluster_of(context).kubeconfig(cluster.name, user, entra=entra)
    await record(context, cluster, action)
    return base64.b64encode(content).decode()


@contextmanager
def converting_refusals() -> Iterator[None]:
    """Convert refusals of the cluster into errors of Resource Manager. Raises ManagerError."""
    try:
        yield
    except ClusterOperationRefused as exc:
        code = "OperationNotAllowed" if exc.status == 409 else "NotImplemented"
        raise errors.ManagerError(exc.status, code, f"{exc.message}.") from exc


async def record(context: OperationContext, cluster: Cluster, action: str) -> None:
    """Record in the audit an action on the cluster that changes nothing in the directory."""
    entry = audit_writer.create_entry(action, cluster.resource_id, context.now)
    await context.directory.audit.record(entry)


def credentials_handler(
    verb: str, name: str
) -> Callable[[OperationContext], Awaitable[ManagerResponse]]:
    """Return the operation that returns a kubeconfig with a name."""

    async def run(context: OperationContext) -> ManagerResponse:
        value = await issue_kubeconfig(
            context, await require(context), f"{TYPE}/{verb}/action", name
        )
        return ManagerResponse(body={"kubeconfigs": [{"name": name, "value": value}]})

    return run


_SUB = "/subscriptions/{subscription}"
_ALL = f"{_SUB}/resourceGroups/{{group}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"
_LIST = ManagerOperation(title="list clusters", action=f"{TYPE}/read", run=_list)
_CREDENTIALS = {
    "listClusterUserCredential": "clusterUser",
    "listClusterAdminCredential": "clusterAdmin",
    "listClusterMonitoringUserCredential": "clusterMonitoringUser",
}

ROUTES = (
    Route(method="GET", path=f"{_SUB}/providers/{TYPE}", operation=_LIST),
    Route(method="GET", path=_ALL, operation=_LIST),
    *crud_routes(_ONE, TYPE, "cluster", get=_get, put=_put, patch=_patch, delete=_delete),
    *(
        build_route(
            "POST",
            f"{_ONE}/{verb}",
            "get credentials of cluster",
            f"{TYPE}/{verb}/action",
            credentials_handler(verb, name),
        )
        for verb, name in _CREDENTIALS.items()
    ),
)
