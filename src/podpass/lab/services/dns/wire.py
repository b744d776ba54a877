"""DNS zones and record sets in requests and responses. Pure.

Source:  https://learn.microsoft.com/rest/api/dns/record-sets/create-or-update
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from podpass.directory.model import OtherResource
from podpass.directory.resource_manager import errors, wire
from podpass.lab.services.dns.model import (
    APEX,
    HOSTMASTER,
    MAX_RECORD_SETS,
    NAME_SERVERS,
    NS_TTL,
    SOA_NUMBERS,
    SOA_TTL,
    TYPE,
    DnsRecordSet,
    record_name_fault,
)

OWN_RECORD_SETS = 2  # SOA and NS of the zone itself
_MAX_TTL = 2**31 - 1
_MAX_RECORDS = 20
_MAX_STRING = 255
# Of all records of a set together: https://learn.microsoft.com/azure/dns/dns-zones-records
_MAX_TXT = 4096
_MAX_METADATA = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordType:
    """A type of record sets: its member in the properties, and the member of a record.

    A set has a list of records, or with `is_single` one record.
    """

    name: str
    member: str
    field: str
    parse: Callable[[Mapping[str, Any], str], tuple[str, ...]]
    is_single: bool = False


def _parse_address(version: int) -> Callable[[Mapping[str, Any], str], tuple[str, ...]]:
    def parse(given: Mapping[str, Any], field: str) -> tuple[str, ...]:
        value = wire.text(given, field) or ""
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            address = None
        if address is None or address.version != version or "%" in value:
            raise _invalid(f"'{field}' {value[:80]!r} is not an IPv{version} address")
        return (str(address),)

    return parse


def _parse_host(given: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = wire.text(given, field) or ""
    if record_name_fault(value.removesuffix("."), "") or value == APEX:
        raise _invalid(f"'{field}' {value[:80]!r} is not a host name")
    return (value,)


def _parse_strings(given: Mapping[str, Any], field: str) -> tuple[str, ...]:
    strings = wire.text_list(given, field) or ()
    try:
        sizes = [len(one.encode()) for one in strings]
    except UnicodeEncodeError as exc:
        raise _invalid(f"'{field}' has a character that cannot be encoded") from exc
    if not sizes or max(sizes) > _MAX_STRING:
        raise _invalid(f"'{field}' must have one or more strings of at most {_MAX_STRING} bytes")
    return strings


RECORD_TYPES = {
    one.name: one
    for one in (
        RecordType(name="A", member="ARecords", field="ipv4Address", parse=_parse_address(4)),
        RecordType(name="AAAA", member="AAAARecords", field="ipv6Address", parse=_parse_address(6)),
        RecordType(
            name="CNAME", member="CNAMERecord", field="cname", parse=_parse_host, is_single=True
        ),
        RecordType(name="TXT", member="TXTRecords", field="value", parse=_parse_strings),
    )
}


def zone_to_json(zone: OtherResource, record_sets: int) -> dict[str, Any]:
    """Return a zone as a response body, with its number of record sets."""
    shown = {
        "id": zone.resource_id,
        "name": zone.name,
        "type": TYPE,
        "location": zone.location,
        "tags": dict(zone.tags),
    }
    properties = {
        "maxNumberOfRecordSets": MAX_RECORD_SETS,
        "nameServers": list(NAME_SERVERS),
        "numberOfRecordSets": record_sets + OWN_RECORD_SETS,
        "zoneType": "Public",
    }
    return {**shown, "etag": wire.etag(shown), "properties": properties}


def to_json(found: DnsRecordSet) -> dict[str, Any]:
    """Return a record set as a response body."""
    kind = RECORD_TYPES[found.type]
    records = [
        {kind.field: list(each) if found.type == "TXT" else each[0]} for each in found.records
    ]
    shown: Any = (records[0] if records else None) if kind.is_single else records
    return _to_body(
        found.zone_id,
        found.type,
        found.name,
        {"metadata": dict(found.metadata), "TTL": found.ttl, kind.member: shown},
    )


def own_record_sets(zone: OtherResource) -> list[dict[str, Any]]:
    """Return the two record sets that every zone has, as response bodies: its name servers, and its SOA."""
    soa = {"host": NAME_SERVERS[0], "email": HOSTMASTER, **SOA_NUMBERS}
    servers = [{"nsdname": each} for each in NAME_SERVERS]
    return [
        _to_body(zone.resource_id, "NS", APEX, {"TTL": NS_TTL, "NSRecords": servers}),
        _to_body(zone.resource_id, "SOA", APEX, {"TTL": SOA_TTL, "SOARecord": soa}),
    ]


def _to_body(zone_id: str, kind: str, name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    zone = zone_id.rpartition("/")[2]
    shown = {
        "id": f"{zone_id}/{kind}/{name}",
        "name": name,
        "type": f"{TYPE}/{kind}",
        "properties": {
            **properties,
            "fqdn": f"{zone}." if name == APEX else f"{name}.{zone}.",
            "provisioningState": "Succeeded",
            "targetResource": {},
        },
    }
    return {**shown, "etag": wire.etag(shown)}


def parse(
    body: Mapping[str, Any], zone_id: str, kind: RecordType, name: str, old: DnsRecordSet | None
) -> DnsRecordSet:
    """Parse the body of a write; members that it lacks stay as in the old record set, if there is one.

    Raises ManagerError.
    """
    given = wire.object_member(body, "properties")
    target = wire.object_member(given, "targetResource")
    if target.get("id"):
        raise _invalid("'targetResource' is set, but podpass has no alias record sets")
    metadata = given.get("metadata")
    return DnsRecordSet(
        zone_id=old.zone_id if old else zone_id,
        type=kind.name,
        name=old.name if old else name,
        ttl=_parse_ttl(given, old),
        records=_parse_records(given, kind) if kind.member in given else old.records if old else (),
        metadata=_parse_metadata(given) if metadata is not None else old.metadata if old else {},
    )


def _parse_ttl(given: Mapping[str, Any], old: DnsRecordSet | None) -> int:
    value = given.get("TTL", old.ttl if old else None)
    if type(value) is not int or not 1 <= value <= _MAX_TTL:
        raise _invalid(f"'TTL' must be a number of seconds from 1 to {_MAX_TTL}")
    return value


def _parse_records(given: Mapping[str, Any], kind: RecordType) -> tuple[tuple[str, ...], ...]:
    if kind.is_single:
        one = wire.object_member(given, kind.member)
        return (kind.parse(one, kind.field),) if one else ()
    listed = wire.object_list(given, kind.member) or []
    if len(listed) > _MAX_RECORDS:
        raise _invalid(f"'{kind.member}' has more than {_MAX_RECORDS} records")
    records = tuple(kind.parse(each, kind.field) for each in listed)
    if len(set(records)) < len(records):
        raise _invalid(f"'{kind.member}' has a record twice")
    strings = [each for record in records for each in record]
    if kind.name == "TXT" and sum(len(each.encode()) for each in strings) > _MAX_TXT:
        raise _invalid(f"'{kind.member}' has more than {_MAX_TXT} bytes in all its records")
    return records


def _parse_metadata(given: Mapping[str, Any]) -> dict[str, str]:
    found = wire.object_member(given, "metadata")
    if len(found) > _MAX_METADATA:
        raise _invalid(f"'metadata' has more than {_MAX_METADATA} entries")
    return {name: wire.text(found, name) or "" for name in found}


def _invalid(message: str) -> errors.ManagerError:
    return errors.bad_request("BadRequest", f"The record set is invalid: {message}.")
