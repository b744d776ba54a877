"""DNS zones and their record sets. A zone is a resource, and its record sets are deleted with it."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, or_, select, update

from podpass import database
from podpass.directory import errors, naming
from podpass.directory.model import OtherResource, RoleDefinition, WriteResult
from podpass.directory.store import other_resources
from podpass.directory.store.cache import Cache
from podpass.directory.store.extension import DirectoryExtension
from podpass.directory.store.rows import from_json, to_json
from podpass.directory.store.schema import dns_record_sets
from podpass.directory.store.schema import other_resources as zones
from podpass.directory.store.session import Session, Write
from podpass.lab.services.dns.model import (
    ALIAS,
    APEX,
    MAX_RECORD_SETS,
    TYPE,
    DnsLookup,
    DnsRecordSet,
    record_name_fault,
    zone_name_fault,
    zone_type,
)

# Of these roles, one is for public zones and one for private zones.
ROLES = tuple(
    RoleDefinition(
        id=role_id,
        name=name,
        description=description,
        actions=(
            "Microsoft.Authorization/*/read",
            "Microsoft.Insights/alertRules/*",
            "Microsoft.ResourceHealth/availabilityStatuses/read",
            "Microsoft.Resources/deployments/*",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Support/*",
            *actions,
        ),
    )
    for role_id, name, description, actions in (
        (
            "befefa01-2a29-4197-83a8-272ff33ce314",
            "DNS Zone Contributor",
            "Manages DNS zones and their record sets, but not the access to them.",
            ("Microsoft.Network/dnsZones/*",),
        ),
        (
            "b12aa53e-6015-4669-85d0-8515ebb3ae7f",
            "Private DNS Zone Contributor",
            "Manages private DNS zones and their record sets, but not the networks that they are linked to.",
            (
                "Microsoft.Network/privateDnsZones/*",
                "Microsoft.Network/privateDnsOperationResults/*",
                "Microsoft.Network/privateDnsOperationStatuses/*",
                "Microsoft.Network/virtualNetworks/read",
                "Microsoft.Network/virtualNetworks/join/action",
            ),
        ),
    )
)


Step = Callable[[DnsRecordSet | None], DnsRecordSet | None]


class DnsZones:
    """Record sets by zone, name and type, all compared without case."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: Cache[str, frozenset[str]] = session.cache(1)

    async def put(self, zone: OtherResource) -> WriteResult:
        """Create or replace a zone, whose name is in lower case; its resource group must exist.

        Raises InvalidValue; GroupNotFound; Conflict with a zone of another resource group.
        """
        naming.raise_fault(zone_name_fault(zone.name), naming.tags_fault(zone.tags))

        def step(write: Write) -> WriteResult:
            if other := _find_conflict(write.connection, zone.resource_id, zone.name):
                raise errors.Conflict(f"it conflicts with the zone {other}", name=zone.name)
            return other_resources.put_in(write, zone)

        return await self._session.write(step)

    async def find_conflict(self, zone_id: str, name: str) -> str | None:
        """Return the id of a zone of another resource group that shares names with a zone, or None."""
        return await self._session.read(
            lambda connection: _find_conflict(connection, zone_id, name)
        )

    async def count(self, zone_id: str) -> int:
        """Count the record sets of a zone."""
        return await self._session.read(lambda connection: _count(connection, zone_id))

    async def get(self, zone_id: str, type_: str, name: str) -> DnsRecordSet | None:
        """Return a record set, or None."""
        return await self._session.read(lambda connection: _read(connection, zone_id, type_, name))

    async def page(
        self, zone_id: str, *, type_: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[DnsRecordSet]:
        """List record sets by name and type, after the one with the key `after`."""
        query = select(dns_record_sets).filter_by(zone_key=zone_id.lower())
        if type_ is not None:
            query = query.filter_by(type=type_)
        if after is not None:
            name, _, last = after.partition(" ")
            columns = dns_record_sets.c
            query = query.where(
                or_(columns.name_key > name, and_(columns.name_key == name, columns.type > last))
            )
        query = query.order_by(dns_record_sets.c.name_key, dns_record_sets.c.type)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_record_set)
        )

    async def change(
        self, zone_id: str, type_: str, name: str, step: Step
    ) -> tuple[DnsRecordSet | None, DnsRecordSet | None]:
        """Change a record set by `step`, in one transaction; return its old and its new state.

        None stands for a record set that does not exist; a `step` that returns it deletes. Raises
        InvalidValue; NotFound without the zone; Conflict next to a CNAME; TooMany; those of `step`.
        """

        def apply_change(write: Write) -> tuple[DnsRecordSet | None, DnsRecordSet | None]:
            zone = select(zones.c.name).filter_by(
                resource_key=zone_id.lower(), type=zone_type(zone_id)
            )
            if (zone_name := write.connection.scalar(zone)) is None:
                raise errors.NotFound("the DNS zone does not exist", zone=zone_id)
            old = _read(write.connection, zone_id, type_, name)
            new = step(old)
            if new is not None and old is None:
                naming.raise_fault(record_name_fault(name, zone_name))
                _check_neighbours(write.connection, new)
            if old != new:
                _write(write, old, new)
            return old, new

        return await self._session.write(apply_change)

    async def look_up(self, host: str) -> DnsLookup | None:
        """Return what the zone of a host name has for it, or None if no zone contains the name.

        `host` is in lower case without a trailing dot.
        """
        # Clients query any name. A name outside the zones takes a tenth of the time without a database query.
        names = await self._names.get(TYPE, self._load_names)
        if names is None or names.isdisjoint(_list_suffixes(host)):
            return None
        return await self._session.read(lambda connection: _look_up(connection, host))

    async def _load_names(self) -> frozenset[str]:
        query = select(zones.c.name).where(zones.c.type == TYPE)
        return await self._session.read(lambda connection: frozenset(connection.scalars(query)))


def page_key(found: DnsRecordSet) -> str:
    """Return the key that the next page of a list begins after."""
    return f"{found.name.lower()} {found.type}"


def _list_suffixes(host: str) -> list[str]:
    labels = host.split(".")
    return [".".join(labels[index:]) for index in range(len(labels))]


def _find_conflict(connection: Connection, zone_id: str, name: str) -> str | None:
    """Return the id of a zone of another group that has the name, contains it, or is in it.

    No parent zone delegates to podpass, so the more specific zone answers. Without this check, a caller who
    may write to one resource group could answer for names of another group's zone.
    """
    is_below = zones.c.name.endswith(f".{name}", autoescape=True)
    query = select(zones.c.resource_key).where(
        zones.c.type == TYPE, or_(zones.c.name.in_(_list_suffixes(name)), is_below)
    )
    own_group = zone_id.lower().removesuffix(name)
    found = connection.scalars(query).all()
    return min((each for each in found if not each.startswith(own_group)), default=None)


def _look_up(connection: Connection, host: str) -> DnsLookup | None:
    query = select(zones.c.name, zones.c.resource_key).where(
        zones.c.type == TYPE, zones.c.name.in_(_list_suffixes(host))
    )
    all_found = connection.execute(query).all()
    if not all_found:
        return None
    # Of two zones that contain the name, the more specific one answers.
    found = max(all_found, key=lambda zone: len(zone.name))
    name = host.removesuffix(found.name).removesuffix(".") or APEX
    here = select(dns_record_sets).filter_by(zone_key=found.resource_key, name_key=name)
    sets = [_to_record_set(row) for row in connection.execute(here).all()]
    filled = tuple(one for one in sets if one.records)
    is_there = name == APEX or bool(filled) or _has_below(connection, found.resource_key, name)
    return DnsLookup(zone=found.name, exists=is_there, record_sets=filled)


def _has_below(connection: Connection, zone_key: str, name: str) -> bool:
    below = dns_record_sets.c.name_key.endswith(f".{name}", autoescape=True)
    query = exists().where(dns_record_sets.c.zone_key == zone_key, below)
    return bool(connection.scalar(select(query)))


def _check_neighbours(connection: Connection, new: DnsRecordSet) -> None:
    """Reject a record set next to a CNAME, and one that exceeds the limit of a zone.

    Raises Conflict, TooMany.
    """
    query = select(dns_record_sets.c.type).filter_by(**_key(new.zone_id, new.name))
    types = connection.scalars(query).all()
    if new.type == ALIAS and new.name == APEX:
        raise errors.Conflict("a CNAME record set cannot be at '@', the name of the zone itself")
    if types and ALIAS in (new.type, *types):
        text = (
            f"the name '{new.name}' has a record set of another type: a CNAME must be the only one"
        )
        raise errors.Conflict(text, name=new.name)
    if _count(connection, new.zone_id) >= MAX_RECORD_SETS:
        text = f"a zone has at most {MAX_RECORD_SETS} record sets"
        raise errors.TooMany(text, limit=MAX_RECORD_SETS)


def _write(write: Write, old: DnsRecordSet | None, new: DnsRecordSet | None) -> None:
    shown = new or old
    assert shown is not None, "an unchanged record set is not written"
    key = {**_key(shown.zone_id, shown.name), "type": shown.type}
    if new is None:
        write.connection.execute(delete(dns_record_sets).filter_by(**key))
    elif old is None:
        write.connection.execute(insert(dns_record_sets).values(**key, **_to_columns(new)))
    else:
        statement = update(dns_record_sets).filter_by(**key)
        write.connection.execute(statement.values(**_to_columns(new)))
    action = "delete" if new is None else "write"
    target = f"{shown.zone_id}/{shown.type}/{shown.name}"
    write.record(f"{zone_type(shown.zone_id)}/{shown.type}/{action}", target)


def _key(zone_id: str, name: str) -> dict[str, str]:
    return {"zone_key": zone_id.lower(), "name_key": name.lower()}


def _count(connection: Connection, zone_id: str) -> int:
    query = select(func.count()).select_from(dns_record_sets)
    return connection.scalar(query.filter_by(zone_key=zone_id.lower())) or 0


def _read(connection: Connection, zone_id: str, type_: str, name: str) -> DnsRecordSet | None:
    query = select(dns_record_sets).filter_by(**_key(zone_id, name), type=type_)
    return database.fetch_first(connection, query, _to_record_set)


@database.row_decoder(dns_record_sets, key=lambda row: f"{row.zone_id}/{row.type}/{row.name}")
def _to_record_set(row: Row[Any]) -> DnsRecordSet:
    document = from_json(row.document)
    return DnsRecordSet(
        zone_id=row.zone_id,
        type=row.type,
        name=row.name,
        ttl=row.ttl,
        records=tuple(tuple(map(str, each)) for each in document["records"]),
        metadata=document["metadata"],
    )


def _to_columns(found: DnsRecordSet) -> dict[str, Any]:
    return {
        "zone_id": found.zone_id,
        "name": found.name,
        "ttl": found.ttl,
        "document": to_json({"records": found.records, "metadata": found.metadata}),
    }


EXTENSION = DirectoryExtension(roles=ROLES, stores=(DnsZones,))
