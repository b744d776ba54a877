"""DNS zones: the control plane of Azure DNS. The cloud's resolver answers for their records.

Source:  https://learn.microsoft.com/rest/api/dns
"""

from dataclasses import replace
from functools import partial
from typing import Any

from podpass.directory import resource_ids
from podpass.directory.errors import Conflict
from podpass.directory.model import OtherResource, WriteResult
from podpass.directory.resource_manager import errors, paging, resources, scopes, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    OperationHandler,
    ResourceProvider,
    ResourceType,
    Route,
    crud_routes,
)
from podpass.lab.services.dns import wire as dns_wire
from podpass.lab.services.dns.model import APEX, LOCATION, TYPE, DnsRecordSet, zone_name_fault
from podpass.lab.services.dns.store import DnsZones, page_key
from podpass.lab.services.dns.wire import RecordType

_SUFFIX_FILTER = "$recordsetnamesuffix"


async def _find(context: OperationContext) -> OtherResource | None:
    group = await resources.parent_group(context)
    return await context.directory.other_resources.get(_zone_id(context, group))


def _zone_id(context: OperationContext, group: str) -> str:
    group_id = resource_ids.group_id(context.subscription_id, group)
    return f"{group_id}/providers/{TYPE}/{context.name.lower()}"


async def _require(context: OperationContext) -> OtherResource:
    zone = await _find(context)
    if zone is None:
        raise errors.resource_not_found(TYPE, context.name, context.group)
    return zone


async def _require_parent(context: OperationContext) -> OtherResource:
    zone = await _find(context)
    if zone is None:
        raise errors.not_found(
            "ParentResourceNotFound",
            f"There is no DNS zone '{context.name}' in resource group '{context.group}' for the record set.",
        )
    return zone


async def _show(context: OperationContext, zone: OtherResource) -> dict[str, Any]:
    return dns_wire.zone_to_json(
        zone, await context.directory.store(DnsZones).count(zone.resource_id)
    )


def _etag(zone: OtherResource | None) -> str | None:
    return None if zone is None else dns_wire.zone_to_json(zone, 0)["etag"]


async def _put(context: OperationContext) -> ManagerResponse:
    name = context.name.lower()
    if (fault := zone_name_fault(name)) is not None:
        raise errors.bad_request("BadRequest", f"The zone's {fault.message}.")
    if (wire.text(context.body, "location") or "").lower() != LOCATION:
        text = f"The 'location' of a DNS zone must be '{LOCATION}'."
        raise errors.bad_request("LocationNotAvailableForResourceType", text)
    kind = wire.text(wire.object_member(context.body, "properties"), "zoneType") or "Public"
    if kind.lower() != "public":
        raise errors.bad_request("BadRequest", "'zoneType' must be Public: podpass has no others.")
    old = await _find(context)
    wire.check_etag(context, "The DNS zone", _etag(old))
    new = OtherResource(
        resource_id=_zone_id(context, await resources.parent_group(context)),
        type=TYPE,
        name=name,
        location=LOCATION,
        tags=wire.tags(context.body) or {},
    )
    return await _store(context, new)


async def _store(context: OperationContext, zone: OtherResource) -> ManagerResponse:
    try:
        change = await context.directory.store(DnsZones).put(zone)
    except Conflict as exc:
        text = (
            f"Another resource group of this instance has the DNS zone '{zone.name}', a zone that contains"
            " it, or a zone in it."
        )
        raise errors.conflict("Conflict", text) from exc
    status = 201 if change is WriteResult.CREATED else 200
    return ManagerResponse(status=status, body=await _show(context, zone))


async def _patch(context: OperationContext) -> ManagerResponse:
    old = await _require(context)
    wire.check_etag(context, "The DNS zone", _etag(old))
    tags = wire.tags(context.body)
    return await _store(context, old if tags is None else replace(old, tags=tags))


async def _get(context: OperationContext) -> ManagerResponse:
    return ManagerResponse(body=await _show(context, await _require(context)))


async def _delete(context: OperationContext) -> ManagerResponse:
    zone = await _find(context)
    if zone is None:
        return ManagerResponse(status=204)
    wire.check_etag(context, "The DNS zone", _etag(zone))
    await context.directory.other_resources.delete(zone.resource_id)
    return ManagerResponse()


async def _list(context: OperationContext) -> ManagerResponse:
    context.query.filter.require_known(frozenset())
    group = await resources.parent_group(context) if context.group else None

    async def fetch(after: str | None, limit: int) -> list[OtherResource]:
        return await context.directory.other_resources.page(
            context.subscription_id, group=group, type_=TYPE, after=after, limit=limit
        )

    found = await paging.collect_page(context, fetch, lambda zone: zone.resource_id)
    shown = {zone.resource_id: await _show(context, zone) for zone in found.items}
    return wire.page_response(context, found, lambda zone: shown[zone.resource_id])


# Record sets


def _record_etag(found: DnsRecordSet | None) -> str | None:
    return None if found is None else dns_wire.to_json(found)["etag"]


async def _write_record(
    kind: RecordType, context: OperationContext, *, merge: bool
) -> ManagerResponse:
    zone, name = await _require_parent(context), context.params["record"]

    def step(old: DnsRecordSet | None) -> DnsRecordSet:
        wire.check_etag(context, "The record set", _record_etag(old))
        if merge and old is None:
            raise _record_not_found(context, kind.name)
        new = dns_wire.parse(context.body, zone.resource_id, kind, name, old if merge else None)
        return replace(new, name=old.name) if old is not None else new

    old, new = await context.directory.store(DnsZones).change(
        zone.resource_id, kind.name, name, step
    )
    assert new is not None, "the step returns a record set"
    return ManagerResponse(status=200 if old else 201, body=dns_wire.to_json(new))


async def _delete_record(kind: RecordType, context: OperationContext) -> ManagerResponse:
    zone, name = await _require_parent(context), context.params["record"]

    def step(old: DnsRecordSet | None) -> None:
        wire.check_etag(context, "The record set", _record_etag(old))

    old, _ = await context.directory.store(DnsZones).change(zone.resource_id, kind.name, name, step)
    return ManagerResponse(status=200 if old else 204)


async def _get_record(kind: RecordType, context: OperationContext) -> ManagerResponse:
    zone, name = await _require_parent(context), context.params["record"]
    found = await context.directory.store(DnsZones).get(zone.resource_id, kind.name, name)
    if found is None:
        raise _record_not_found(context, kind.name)
    return ManagerResponse(body=dns_wire.to_json(found))


def _record_not_found(context: OperationContext, kind: str) -> errors.ManagerError:
    name, zone = context.params["record"], context.name
    return errors.not_found(
        "NotFound", f"There is no {kind} record set '{name}' in the DNS zone '{zone}'."
    )


async def _get_own(kind: str, context: OperationContext) -> ManagerResponse:
    for shown in dns_wire.own_record_sets(await _require_parent(context)):
        if context.params["record"] == APEX and shown["type"] == f"{TYPE}/{kind}":
            return ManagerResponse(body=shown)
    raise _record_not_found(context, kind)


async def _list_records(kind: str | None, context: OperationContext) -> ManagerResponse:
    context.query.filter.require_known(frozenset())
    if any(name.lower() == _SUFFIX_FILTER for name in context.query.raw):
        raise errors.bad_request("BadRequest", f"podpass does not support {_SUFFIX_FILTER}.")
    zone = await _require_parent(context)

    async def fetch(after: str | None, limit: int) -> list[DnsRecordSet]:
        return await context.directory.store(DnsZones).page(
            zone.resource_id, type_=kind, after=after, limit=limit
        )

    found = await paging.collect_page(context, fetch, page_key)
    answer = wire.page_response(context, found, dns_wire.to_json)
    if kind is None and not context.query.after:
        answer.body["value"][:0] = dns_wire.own_record_sets(zone)
    return answer


async def _list_own(kind: str, context: OperationContext) -> ManagerResponse:
    shown = dns_wire.own_record_sets(await _require_parent(context))
    return wire.list_response(one for one in shown if one["type"] == f"{TYPE}/{kind}")


_SUB = "/subscriptions/{subscription}"
_ALL = f"{_SUB}/resourceGroups/{{group}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"
_OWN_TYPES = ("NS", "SOA")
_LIST = ManagerOperation(title="list DNS zones", action=f"{TYPE}/read", run=_list)


def _list_route(path: str, run: OperationHandler) -> Route:
    operation = ManagerOperation(title="list record sets", action=f"{TYPE}/{path}/read", run=run)
    return Route(method="GET", path=f"{_ONE}/{path}", operation=operation)


def _record_routes(kind: RecordType) -> tuple[Route, ...]:
    return (
        _list_route(kind.name, partial(_list_records, kind.name)),
        *crud_routes(
            f"{_ONE}/{kind.name}/{{record}}",
            f"{TYPE}/{kind.name}",
            f"{kind.name} record set",
            get=partial(_get_record, kind),
            put=partial(_write_record, kind, merge=False),
            patch=partial(_write_record, kind, merge=True),
            delete=partial(_delete_record, kind),
        ),
    )


def _own_routes(kind: str) -> tuple[Route, ...]:
    show = ManagerOperation(
        title=f"show {kind} record set", action=f"{TYPE}/{kind}/read", run=partial(_get_own, kind)
    )
    return (
        _list_route(kind, partial(_list_own, kind)),
        Route(method="GET", path=f"{_ONE}/{kind}/{{record}}", operation=show),
    )


_ROUTES = (
    Route(method="GET", path=f"{_SUB}/providers/{TYPE}", operation=_LIST),
    Route(method="GET", path=_ALL, operation=_LIST),
    *crud_routes(_ONE, TYPE, "DNS zone", get=_get, put=_put, patch=_patch, delete=_delete),
    *(_list_route(path, partial(_list_records, None)) for path in ("recordsets", "all")),
    *(route for kind in dns_wire.RECORD_TYPES.values() for route in _record_routes(kind)),
    *(route for kind in _OWN_TYPES for route in _own_routes(kind)),
)

PROVIDER = ResourceProvider(
    types=(
        ResourceType(
            name=TYPE,
            versions=("2023-07-01-preview", "2018-05-01", "2017-10-01", "2016-04-01"),
            find=scopes.find_stored(TYPE),
        ),
    ),
    routes=_ROUTES,
)
