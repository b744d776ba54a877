"""DNS zones: the control plane of Azure DNS. The cloud's resolver answers for their records.

Source:  https://learn.microsoft.com/rest/api/dns
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from podpass.directory.errors import Conflict
from podpass.directory.model import OtherResource, WriteResult
from podpass.directory.resource_manager import errors, paging, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    OperationHandler,
    Route,
    crud_routes,
)
from podpass.directory.resource_manager.plain_resources import PlainType, create_provider
from podpass.lab.services.dns import wire as dns_wire
from podpass.lab.services.dns.model import APEX, LOCATION, TYPE, DnsRecordSet
from podpass.lab.services.dns.store import DnsZones, page_key
from podpass.lab.services.dns.wire import RecordType

_SUFFIX_FILTER = "$recordsetnamesuffix"


async def _show(context: OperationContext, zone: OtherResource) -> Mapping[str, Any]:
    count = await context.directory.store(DnsZones).count(zone.resource_id)
    return {"properties": dns_wire.zone_properties(count)}


async def _store(context: OperationContext, zone: OtherResource) -> WriteResult:
    try:
        return await context.directory.store(DnsZones).put(zone)
    except Conflict as exc:
        text = (
            f"Another resource group of this instance has the DNS zone '{zone.name}', a zone that contains"
            " it, or a zone in it."
        )
        raise errors.conflict("Conflict", text) from exc


_ZONES = PlainType(
    name=TYPE,
    noun="DNS zone",
    versions=("2023-07-01-preview", "2018-05-01", "2017-10-01", "2016-04-01"),
    location=LOCATION,
    versioned=True,
    lowers=True,
    validate=dns_wire.validate_zone,
    show=_show,
    store=_store,
)


async def _require_parent(context: OperationContext) -> OtherResource:
    return await _ZONES.require_parent(context, context.name, "record set")


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


_ONE = f"{_ZONES.path}/{{name}}"
_OWN_TYPES = ("NS", "SOA")


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


_RECORD_ROUTES = (
    *(_list_route(path, partial(_list_records, None)) for path in ("recordsets", "all")),
    *(route for kind in dns_wire.RECORD_TYPES.values() for route in _record_routes(kind)),
    *(route for kind in _OWN_TYPES for route in _own_routes(kind)),
)
PROVIDER = create_provider(_ZONES, routes=_RECORD_ROUTES)
