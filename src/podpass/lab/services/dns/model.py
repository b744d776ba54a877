"""What DNS zones of Azure have in common: limits, and the record sets that each zone has itself. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from podpass.directory.naming import Fault

TYPE = "Microsoft.Network/dnsZones"
LOCATION = "global"
APEX = "@"
MAX_RECORD_SETS = 10_000
ALIAS = "CNAME"
# What a new zone of Azure DNS has. podpass answers for its zones itself, and these servers know none of them.
NAME_SERVERS = (
    "ns1-01.azure-dns.com.",
    "ns2-01.azure-dns.net.",
    "ns3-01.azure-dns.org.",
    "ns4-01.azure-dns.info.",
)
HOSTMASTER = "azuredns-hostmaster.microsoft.com"
SOA_TTL, NS_TTL = 3600, 172_800
SOA_NUMBERS = {
    "serialNumber": 1,
    "refreshTime": 3600,
    "retryTime": 300,
    "expireTime": 2_419_200,
    "minimumTTL": 300,
}

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_RECORD_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ZONE_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_MAX_HOST = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRecordSet:
    """The records of one type and name in a DNS zone.

    `zone_id` is the resource id of the zone; `type` is in upper case; `name` is relative to the zone, `@` for
    the zone itself; each record has the fields of its type: one text, and for TXT one or more strings. Units:
    `ttl` is in seconds.
    """

    zone_id: str
    type: str
    name: str
    ttl: int
    records: tuple[tuple[str, ...], ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsLookup:
    """What a DNS zone has for a host name.

    `zone` is the name of the zone; `exists` is whether it has the host name, or a name below it.
    """

    zone: str
    exists: bool
    record_sets: tuple[DnsRecordSet, ...] = ()


def zone_name_fault(name: str) -> Fault | None:
    """Return the fault of the name of a DNS zone, or None."""
    if len(name) <= _MAX_HOST and _ZONE_NAME.fullmatch(name):
        return None
    return Fault(
        field="name",
        message=f"name {name[:80]!r}: want two or more labels of letters, digits, '-' and '_', without a"
        " trailing dot",
    )


def record_name_fault(name: str, zone: str) -> Fault | None:
    """Return the fault of the name of a record set relative to its zone, or None."""
    if name == "@" or (len(name) + len(zone) < _MAX_HOST and _RECORD_NAME.fullmatch(name)):
        return None
    return Fault(
        field="name",
        message=f"name {name[:80]!r}: want '@', or labels of letters, digits, '-' and '_', with the zone"
        f" at most {_MAX_HOST} characters; podpass has no wildcards",
    )
