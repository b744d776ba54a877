"""Connections of Service Connector, whose source is the cluster.

Source:  https://learn.microsoft.com/rest/api/servicelinker/linker

They are also scopes of roles. No request to the service itself is served.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from podpass.directory.model import WriteResult
from podpass.directory.resource_manager import errors, operations, paging, resources, wire
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    ResourceProvider,
    ResourceType,
    build_route,
    crud_routes,
)
from podpass.directory.resource_manager.plain_resources import PlainType, create_provider
from podpass.lab.services.clusters import resource_manager as clusters
from podpass.lab.services.clusters.model import TYPE as CLUSTER
from podpass.lab.services.clusters.model import Cluster
from podpass.lab.services.clusters.store import Clusters
from podpass.lab.services.connector import checks, setup, targets
from podpass.lab.services.connector import wire as linker_wire
from podpass.lab.services.connector.model import TYPE, Linker
from podpass.lab.services.connector.store import Linkers
from podpass.lab.services.connector.wire import LinkerRequest

_VERSIONS = ("2024-11-01", "2024-01-01", "2023-05-01", "2022-05-01", "2021-04-15")
_MEMBERS = ("sku", "identity", "properties")


def validate(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are stored. Their content is not checked."""
    if not targets.is_name(name):
        raise errors.bad_request(
            "InvalidResourceName",
            f"The name '{name[:80]}' is invalid: want 1 to 63 letters, digits, '-' and '_',"
            " beginning and ending with a letter or digit.",
        )
    found: dict[str, Any] = {"kind": wire.text(body, "kind")}
    found |= {member: wire.object_member(body, member) for member in _MEMBERS}
    return {member: value for member, value in found.items() if value}


PLAIN_TYPES = tuple(
    PlainType(name=kind, noun=f"resource {kind}", versions=_VERSIONS, validate=validate)
    for kind in targets.STORED_TYPES
)


async def _require_cluster(context: OperationContext) -> Cluster:
    group, name = await resources.parent_group(context), context.params["cluster"]
    found = await context.directory.store(Clusters).get(context.subscription_id, group, name)
    if found is None:
        raise errors.resource_not_found(CLUSTER, name, context.group)
    return found


async def _require_linker(context: OperationContext) -> tuple[Cluster, Linker]:
    cluster = await _require_cluster(context)
    found = await context.directory.store(Linkers).get(cluster.resource_id, context.name)
    if found is None:
        text = f"The cluster '{cluster.name}' has no connection '{context.name}'."
        raise errors.not_found("ResourceNotFound", text)
    return cluster, found


async def _put(context: OperationContext) -> ManagerResponse:
    linker_wire.check_name(context.name)
    request = linker_wire.parse(context.body)
    with clusters.exclusive(context):
        return await _write(context, request)


async def _patch(context: OperationContext) -> ManagerResponse:
    given = wire.object_member(context.body, "properties")
    present = {name: value for name, value in given.items() if value is not None}
    # The stored properties are read under the lock: a PATCH would undo a change of another request otherwise.
    with clusters.exclusive(context):
        _, linker = await _require_linker(context)
        merged = {"properties": {**linker.document, **present}}
        return await _write(context, linker_wire.parse(merged))


async def _write(context: OperationContext, request: LinkerRequest) -> ManagerResponse:
    cluster = await _require_cluster(context)
    old = await context.directory.store(Linkers).get(cluster.resource_id, context.name)
    if old is not None and old.document["scope"] != request.namespace:
        raise errors.bad_request(
            "ValidationFailed",
            f"The connection '{old.name}' is in the namespace '{old.document['scope']}', which cannot"
            " change. Delete the connection first, or use another name.",
        )
    planned = await setup.plan(context, cluster, request)
    change = await setup.carry_out(context, planned)
    return ManagerResponse(
        status=201 if change is WriteResult.CREATED else 200,
        body=linker_wire.to_json(planned.change.linker),
        headers=operations.status_headers(context, _operations(context, cluster)),
    )


def _operations(context: OperationContext, cluster: Cluster) -> str:
    provider = f"/subscriptions/{context.subscription_id}/providers/Microsoft.ServiceLinker"
    return f"{provider}/locations/{cluster.location}"


async def _get(context: OperationContext) -> ManagerResponse:
    _, linker = await _require_linker(context)
    return ManagerResponse(body=linker_wire.to_json(linker))


async def _delete(context: OperationContext) -> ManagerResponse:
    with clusters.exclusive(context):
        cluster = await _require_cluster(context)
        if not await context.directory.store(Linkers).delete(cluster.resource_id, context.name):
            return ManagerResponse(status=204)
    headers = operations.status_headers(context, _operations(context, cluster))
    return ManagerResponse(status=202, headers=headers)


async def _list(context: OperationContext) -> ManagerResponse:
    context.query.filter.require_known(frozenset())
    cluster = await _require_cluster(context)
    fetch = partial(context.directory.store(Linkers).page, cluster.resource_id)
    shown = await paging.collect_page(context, fetch)
    return wire.page_response(context, shown, linker_wire.to_json)


async def _list_configurations(context: OperationContext) -> ManagerResponse:
    _, linker = await _require_linker(context)
    request = linker_wire.parse({"properties": linker.document})
    target = await setup.find_target(context, request.target_id)
    values = targets.configuration(
        target.name, target.kind, request.client_id, request.customized_keys
    )
    shown = values if request.writes_configuration else {}
    return ManagerResponse(body=linker_wire.configurations_to_json(shown))


async def _validate(context: OperationContext) -> ManagerResponse:
    cluster, linker = await _require_linker(context)
    return ManagerResponse(body=await checks.validate(context, cluster, linker))


_SUB = "/subscriptions/{subscription}"
_CLUSTER = f"{_SUB}/resourceGroups/{{group}}/providers/{CLUSTER}/{{cluster}}"
_ALL = f"{_CLUSTER}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"

_ROUTES = (
    build_route("GET", _ALL, "list connections", f"{TYPE}/read", _list),
    *crud_routes(_ONE, TYPE, "connection", get=_get, put=_put, patch=_patch, delete=_delete),
    build_route(
        "POST",
        f"{_ONE}/listConfigurations",
        "list configurations of connection",
        f"{TYPE}/listConfigurations/action",
        _list_configurations,
    ),
    build_route(
        "POST",
        f"{_ONE}/validateLinker",
        "validate connection",
        f"{TYPE}/validateLinker/action",
        _validate,
    ),
)

_PLAIN = create_provider(*PLAIN_TYPES)
PROVIDER = ResourceProvider(
    types=(
        ResourceType(
            name=TYPE,
            has_location=False,
            versions=("2024-07-01-preview", "2024-04-01", "2022-11-01-preview"),
        ),
        # What Service Connector installs to write into a cluster: `az` asks for its type.
        ResourceType(
            name="Microsoft.KubernetesConfiguration/extensions",
            has_location=False,
            versions=("2024-11-01", "2023-05-01"),
        ),
        *_PLAIN.types,
    ),
    routes=(*_ROUTES, *operations.polling_routes("Microsoft.ServiceLinker"), *_PLAIN.routes),
)
