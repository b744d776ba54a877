"""The one managed cluster: the instance's own, under the name that the first PUT gave it."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from podpass.directory import naming, resource_ids
from podpass.directory.model import Cluster
from podpass.directory.resource_manager import (
    cluster_wire,
    enclosing,
    lists,
    operations,
    refusals,
    wire,
)
from podpass.directory.resource_manager.cluster_wire import TYPE, Wanted
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route, crud
from podpass.directory.store import audit_writer


async def find(call: Call) -> Cluster | None:
    """Find the cluster of the path.

    Errors:  ManagerRefusal, ResourceGroupNotFound.
    """
    group = await enclosing.group(call)
    return await call.directory.clusters.get(call.subscription, group, call.name)


async def found(call: Call) -> Cluster:
    """Find the cluster of the path, which has to be there.

    Errors:  ManagerRefusal.
    """
    cluster = await find(call)
    if cluster is None:
        raise refusals.resource_not_found(TYPE, call.name, call.group)
    return cluster


@contextmanager
def _alone(call: Call) -> Iterator[None]:
    if not call.operations.begin(TYPE):
        text = "Another operation on the cluster is in progress; wait until it is done."
        raise refusals.conflict("OperationNotAllowed", text)
    try:
        yield
    finally:
        call.operations.end(TYPE)


async def _put(call: Call) -> Answer:
    with _alone(call):
        old = await find(call)
        if old is None:
            await _only_one(call)
            await _may_adopt(call)
        wire.check_etag(call, "The cluster", _etag(call, old))
        new, workload_identity = await _read(call, old)
        await _store(call, new, workload_identity)
    place = f"/subscriptions/{call.subscription}/providers/Microsoft.ContainerService"
    return Answer(
        status=201 if old is None else 200,
        body=cluster_wire.write(call, call.cluster, new),
        headers=operations.by_status(call, f"{place}/locations/{new.location}"),
    )


async def _only_one(call: Call) -> None:
    others = await call.directory.clusters.page(call.subscription, limit=1)
    if others:
        raise refusals.conflict(
            "Conflict",
            f"podpass has one cluster, which is '{others[0].resource_id}' already; use it, or delete it:"
            " the cluster itself goes on and can be given another name.",
        )


async def _may_adopt(call: Call) -> None:
    # In Azure a new cluster is its maker's. Here it is the instance's, with everybody's pods: whoever may
    # write in one group would read every workload's token, and could switch identities off for all.
    subscription = f"/subscriptions/{call.subscription}"
    if not await call.directory.permitted(call.caller.object_id, f"{TYPE}/write", subscription):
        raise refusals.not_authorized(call.caller, f"{TYPE}/write", subscription)


async def _read(call: Call, old: Cluster | None) -> tuple[Cluster, bool]:
    if (fault := naming.cluster_name_fault(call.name)) is not None:
        raise refusals.bad("InvalidParameter", f"The cluster's {fault.message}.")
    location = wire.location(call.body, TYPE)
    wanted = cluster_wire.read(call, call.cluster, old)
    on = _switch(call, old, wanted)
    document = cluster_wire.decided(
        wanted.document, issuer=_issuer(old, wanted), workload_identity=on
    )
    tags = wire.tags(call.body) or {}
    if old is not None:
        wire.stays("cluster", old.name, old.location, location)
        return replace(old, tags=tags, document=document), on
    group = await enclosing.group(call)
    new = Cluster(
        subscription_id=call.subscription,
        group=group,
        name=call.name,
        location=location,
        resource_id=resource_ids.cluster_id(call.subscription, group, call.name),
        tags=tags,
        created=call.now,
        document=document,
    )
    return new, on


def _issuer(old: Cluster | None, wanted: Wanted) -> bool:
    """Decide whether the issuer is on: once it is, it stays; new clusters have it unless told otherwise."""
    on = old is not None and cluster_wire.issuer_on(old.document)
    if on and wanted.issuer is False:
        raise refusals.bad(
            "OIDCIssuerFeatureCannotBeDisabled", "The OIDC issuer of a cluster stays once it is on."
        )
    issuer = on or (wanted.issuer if wanted.issuer is not None else old is None)
    if wanted.workload_identity and not issuer:
        raise refusals.bad(
            "OIDCIssuerNotEnabled", "Workload identity needs the OIDC issuer; enable both."
        )
    return issuer


def _switch(call: Call, old: Cluster | None, wanted: Wanted) -> bool:
    if wanted.workload_identity is not None:
        return wanted.workload_identity
    return False if old is None else call.cluster.workload_identity


async def _store(call: Call, new: Cluster, workload_identity: bool) -> None:
    """Switch the webhook and keep what is shown: both, or neither."""
    before = call.cluster.workload_identity
    if workload_identity != before:
        await call.cluster.set_workload_identity(workload_identity)
    try:
        await call.directory.clusters.put(new, grouped=True)
    except Exception:
        if workload_identity != before:
            await call.cluster.set_workload_identity(before)
        raise


@asynccontextmanager
async def switched_on(call: Call) -> AsyncIterator[None]:
    """Delete the cluster inside: pods get identities again, as in an instance that never had one here."""
    before = call.cluster.workload_identity
    if not before:
        await call.cluster.set_workload_identity(True)
    try:
        yield
    except Exception:
        if not before:
            await call.cluster.set_workload_identity(False)
        raise


async def _patch(call: Call) -> Answer:
    with _alone(call):
        old = await found(call)
        wire.check_etag(call, "The cluster", _etag(call, old))
        tags = wire.tags(call.body)
        new = old if tags is None else replace(old, tags=tags)
        await call.directory.clusters.put(new, grouped=True)
    return Answer(body=cluster_wire.write(call, call.cluster, new))


async def _get(call: Call) -> Answer:
    return Answer(body=cluster_wire.write(call, call.cluster, await found(call)))


async def _delete(call: Call) -> Answer:
    with _alone(call):
        old = await find(call)
        if old is None:
            return Answer(status=204)
        wire.check_etag(call, "The cluster", _etag(call, old))
        async with switched_on(call):
            await call.directory.clusters.delete(call.subscription, old.group, old.name)
    place = f"/subscriptions/{call.subscription}/providers/Microsoft.ContainerService"
    headers = operations.by_status(call, f"{place}/locations/{old.location}")
    return Answer(status=202, headers=headers)


async def _list(call: Call) -> Answer:
    call.query.filter.known(frozenset())
    group = await enclosing.group(call) if call.group else None

    async def fetch(after: str | None, limit: int) -> list[Cluster]:
        return await call.directory.clusters.page(
            call.subscription, group=group, after=after, limit=limit
        )

    shown = await lists.gather(call, fetch, _key)
    return wire.page(call, shown, lambda one: cluster_wire.write(call, call.cluster, one))


def _key(cluster: Cluster) -> str:
    return cluster.resource_id


def _etag(call: Call, cluster: Cluster | None) -> str | None:
    return None if cluster is None else cluster_wire.write(call, call.cluster, cluster)["eTag"]


async def kubeconfig(call: Call, cluster: Cluster, action: str) -> str:
    """Give out a kubeconfig in Base64, and record who got it: with it, one is the cluster's administrator."""
    value = base64.b64encode(call.cluster.kubeconfig(cluster.name)).decode()
    await call.directory.audit.record(audit_writer.entry(action, cluster.resource_id, call.now))
    return value


def credentials(verb: str, name: str) -> Callable[[Call], Awaitable[Answer]]:
    """Make the operation that gives out a kubeconfig under a name."""

    async def run(call: Call) -> Answer:
        value = await kubeconfig(call, await found(call), f"{TYPE}/{verb}/action")
        return Answer(body={"kubeconfigs": [{"name": name, "value": value}]})

    return run


_SUB = "/subscriptions/{subscription}"
_ALL = f"{_SUB}/resourceGroups/{{group}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"
_LIST = Operation(title="list clusters", action=f"{TYPE}/read", run=_list)
_CREDENTIALS = {
    "listClusterUserCredential": "clusterUser",
    "listClusterAdminCredential": "clusterAdmin",
    "listClusterMonitoringUserCredential": "clusterMonitoringUser",
}

ROUTES = (
    Route(method="GET", path=f"{_SUB}/providers/{TYPE}", operation=_LIST),
    Route(method="GET", path=_ALL, operation=_LIST),
    *crud(_ONE, TYPE, "cluster", get=_get, put=_put, patch=_patch, delete=_delete),
    *(
        Route(
            method="POST",
            path=f"{_ONE}/{verb}",
            operation=Operation(
                title="get credentials of cluster",
                action=f"{TYPE}/{verb}/action",
                run=credentials(verb, name),
            ),
        )
        for verb, name in _CREDENTIALS.items()
    ),
)
