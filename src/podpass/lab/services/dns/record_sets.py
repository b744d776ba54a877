"""Record sets of DNS zones, public and private.

Source:  https://learn.microsoft.com/rest/api/dns/record-sets
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from podpass.directory.model import OtherResource
from podpass.directory.resource_manager import errors, paging, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    OperationHandler,
    Route,
    crud_routes,
)
from podpass.directory.resource_manager.plain_resources import PlainType
from podpass.lab.services.dns import wire as dns_wire
from podpass.lab.services.dns.model import APEX, DnsRecordSet
from podpass.lab.services.dns.store import DnsZones, page_key
from podpass.lab.services.dns.wire import RecordType

_SUFFIX_FILTER = "$recordsetnamesuffix"


def _spell(body: Mapping[str, Any], spelling: Mapping[str, str]) -> dict[str, Any]:
    """Rename the properties of a record set, and those of its SOA record."""
    given = body.get("properties")
    if not isinstance(given, dict):
        return dict(body)
    properties = {spelling.get(name, name): value for name, value in given.items()}
    soa = spelling.get("SOARecord", "SOARecord")
    if isinstance(properties.get(soa), dict):
        properties[soa] = {spelling.get(name, name): one for name, one in properties[soa].items()}
    return {**body, "properties": properties}


def _etag(found: DnsRecordSet | None) -> str | None:
    return None if found is None else dns_wire.to_json(found)["etag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSets:
    """The operations on the record sets of one type of zones.

    `own` are the types of the record sets that each zone has itself; `lists` are the paths that list record
    sets of all types; `spelling` maps members as public zones write them to those of this type.
    """

    zones: PlainType
    own: tuple[str, ...]
    lists: tuple[str, ...]
    spelling: Mapping[str, str] = field(default_factory=dict)

    async def _require_zone(self, context: OperationContext) -> OtherResource:
        return await self.zones.require_parent(context, context.name, "record set")

    def _to_json(self, found: DnsRecordSet) -> dict[str, Any]:
        return _spell(dns_wire.to_json(found), self.spelling)

    def _own(self, zone: OtherResource) -> list[dict[str, Any]]:
        listed = dns_wire.own_record_sets(zone)
        return [
            _spell(one, self.spelling)
            for one in listed
            if one["type"].rpartition("/")[2] in self.own
        ]

    async def _write(
        self, kind: RecordType, context: OperationContext, *, merge: bool
    ) -> ManagerResponse:
        zone, name = await self._require_zone(context), context.params["record"]
        body = _spell(context.body, {theirs: ours for ours, theirs in self.spelling.items()})

        def step(old: DnsRecordSet | None) -> DnsRecordSet:
            wire.check_etag(context, "The record set", _etag(old))
            if merge and old is None:
                raise _not_found(context, kind.name)
            new = dns_wire.parse(body, zone.resource_id, kind, name, old if merge else None)
            return replace(new, name=old.name) if old is not None else new

        store = context.directory.store(DnsZones)
        old, new = await store.change(zone.resource_id, kind.name, name, step)
        assert new is not None, "the step returns a record set"
        return ManagerResponse(status=200 if old else 201, body=self._to_json(new))

    async def _delete(self, kind: RecordType, context: OperationContext) -> ManagerResponse:
        zone, name = await self._require_zone(context), context.params["record"]

        def step(old: DnsRecordSet | None) -> None:
            wire.check_etag(context, "The record set", _etag(old))

        store = context.directory.store(DnsZones)
        old, _ = await store.change(zone.resource_id, kind.name, name, step)
        return ManagerResponse(status=200 if old else 204)

    async def _get(self, kind: RecordType, context: OperationContext) -> ManagerResponse:
        zone, name = await self._require_zone(context), context.params["record"]
        found = await context.directory.store(DnsZones).get(zone.resource_id, kind.name, name)
        if found is None:
            raise _not_found(context, kind.name)
        return ManagerResponse(body=self._to_json(found))

    async def _get_own(self, kind: str, context: OperationContext) -> ManagerResponse:
        for shown in self._own(await self._require_zone(context)):
            if context.params["record"] == APEX and shown["type"] == f"{self.zones.name}/{kind}":
                return ManagerResponse(body=shown)
        raise _not_found(context, kind)

    async def _list(self, kind: str | None, context: OperationContext) -> ManagerResponse:
        context.query.filter.require_known(frozenset())
        if any(name.lower() == _SUFFIX_FILTER for name in context.query.raw):
            raise errors.bad_request("BadRequest", f"podpass does not support {_SUFFIX_FILTER}.")
        zone = await self._require_zone(context)
        fetch = partial(context.directory.store(DnsZones).page, zone.resource_id, type_=kind)
        found = await paging.collect_page(context, fetch, page_key)
        answer = wire.page_response(context, found, self._to_json)
        if kind is None and not context.query.after:
            answer.body["value"][:0] = self._own(zone)
        return answer

    async def _list_own(self, kind: str, context: OperationContext) -> ManagerResponse:
        shown = self._own(await self._require_zone(context))
        return wire.list_response(
            one for one in shown if one["type"] == f"{self.zones.name}/{kind}"
        )

    # Routes

    def _list_route(self, path: str, run: OperationHandler) -> Route:
        action = f"{self.zones.name}/{path}/read"
        operation = ManagerOperation(title="list record sets", action=action, run=run)
        return Route(method="GET", path=f"{self.zones.path}/{{name}}/{path}", operation=operation)

    def _record_routes(self, kind: RecordType) -> tuple[Route, ...]:
        return (
            self._list_route(kind.name, partial(self._list, kind.name)),
            *crud_routes(
                f"{self.zones.path}/{{name}}/{kind.name}/{{record}}",
                f"{self.zones.name}/{kind.name}",
                f"{kind.name} record set",
                get=partial(self._get, kind),
                put=partial(self._write, kind, merge=False),
                patch=partial(self._write, kind, merge=True),
                delete=partial(self._delete, kind),
            ),
        )

    def _own_routes(self, kind: str) -> tuple[Route, ...]:
        show = ManagerOperation(
            title=f"show {kind} record set",
            action=f"{self.zones.name}/{kind}/read",
            run=partial(self._get_own, kind),
        )
        path = f"{self.zones.path}/{{name}}/{kind}/{{record}}"
        return (
            self._list_route(kind, partial(self._list_own, kind)),
            Route(method="GET", path=path, operation=show),
        )

    def routes(self) -> tuple[Route, ...]:
        """Return the routes of all operations."""
        return (
            *(self._list_route(path, partial(self._list, None)) for path in self.lists),
            *(one for kind in dns_wire.RECORD_TYPES.values() for one in self._record_routes(kind)),
            *(one for kind in self.own for one in self._own_routes(kind)),
        )


def _not_found(context: OperationContext, kind: str) -> errors.ManagerError:
    name, zone = context.params["record"], context.name
    return errors.not_found(
        "NotFound", f"There is no {kind} record set '{name}' in the DNS zone '{zone}'."
    )
