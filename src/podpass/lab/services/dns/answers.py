"""Answer queries for names of DNS zones that users have created."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rrset

from podpass.directory.store.directory import Directory
from podpass.lab.names.messages import Query, add_authority, begin_answer
from podpass.lab.names.served_names import normalize
from podpass.lab.services.dns.model import (
    ALIAS,
    HOSTMASTER,
    NAME_SERVERS,
    NS_TTL,
    SOA_NUMBERS,
    SOA_TTL,
    DnsLookup,
    DnsRecordSet,
)
from podpass.lab.services.dns.store import DnsZones

LookUp = Callable[[str], Awaitable[DnsLookup | None]]

MAX_ALIASES = 8
_IN = dns.rdataclass.IN


class FoundName(NamedTuple):
    """A host name in lower case, and what its zone has for it."""

    name: str
    lookup: DnsLookup


class ZoneAnswers:
    """Answers queries by `look_up`, which returns what a DNS zone has for a name."""

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up

    async def __call__(self, query: Query, is_reserved: Callable[[str], bool]) -> bytes | None:
        """Return the reply to a query, None if no zone contains the name; zones have no reserved name."""
        # The records of the name, and of the targets of its CNAME records.
        found, name = list[FoundName](), query.name
        while len(found) <= MAX_ALIASES and not is_reserved(name):
            lookup = await self._look_up(name)
            if lookup is None:
                break
            found.append(FoundName(name, lookup))
            if (alias := find_alias(query, lookup)) is None:
                break
            name = normalize(alias)
        return build_zone_answer(query, found) if found else None


def answer_name(directory: Directory) -> ZoneAnswers:
    """Return the function that answers for the zones of a directory."""
    return ZoneAnswers(directory.store(DnsZones).look_up)


def find_alias(query: Query, lookup: DnsLookup) -> str | None:
    """Return the target of the alias to follow, None without an alias or if the query asks for the alias."""
    wanted = dns.rdatatype.to_text(query.message.question[0].rdtype)
    for one in lookup.record_sets:
        if one.type == ALIAS and wanted != ALIAS:
            return one.records[0][0]
    return None


def build_zone_answer(query: Query, found: Sequence[FoundName]) -> bytes:
    """Build the reply for a name and the names that it is an alias of, one after the other."""
    wanted = dns.rdatatype.to_text(query.message.question[0].rdtype)
    lookup = found[-1].lookup
    reply = begin_answer(query, dns.rcode.NOERROR if lookup.exists else dns.rcode.NXDOMAIN)
    owner = query.message.question[0].name
    for each in found:
        types = (wanted, ALIAS) if find_alias(query, each.lookup) else (wanted,)
        reply.answer += [
            _to_rrset(owner, one) for one in each.lookup.record_sets if one.type in types
        ]
        reply.answer += _own_records(owner, each, wanted)
        if alias := find_alias(query, each.lookup):
            owner = dns.name.from_text(alias)
    is_answered = any(each.rdtype == query.message.question[0].rdtype for each in reply.answer)
    # The target of the last alias may be a name of another server, of which nothing is known here.
    if not is_answered and find_alias(query, lookup) is None:
        add_authority(reply, lookup.zone)
    return reply.to_wire(max_size=65_535)


def _own_records(owner: dns.name.Name, found: FoundName, wanted: str) -> list[dns.rrset.RRset]:
    """Return the records that every zone has for its own name: its servers, or its start of authority."""
    if found.name != found.lookup.zone:
        return []
    if wanted == "NS":
        return [dns.rrset.from_text_list(owner, NS_TTL, _IN, wanted, NAME_SERVERS)]
    if wanted == "SOA":
        numbers = " ".join(map(str, SOA_NUMBERS.values()))
        text = f"{NAME_SERVERS[0]} {HOSTMASTER}. {numbers}"
        return [dns.rrset.from_text(owner, SOA_TTL, _IN, wanted, text)]
    return []


def _to_rrset(owner: dns.name.Name, found: DnsRecordSet) -> dns.rrset.RRset:
    if found.type != "TXT":
        texts = [
            each[0].removesuffix(".") + "." if found.type == ALIAS else each[0]
            for each in found.records
        ]
        return dns.rrset.from_text_list(owner, found.ttl, _IN, found.type, texts)
    # Not from text, in which quotes and backslashes have a meaning.
    records = [
        dns.rdtypes.ANY.TXT.TXT(_IN, dns.rdatatype.TXT, [one.encode() for one in each])
        for each in found.records
    ]
    return dns.rrset.from_rdata_list(owner, found.ttl, records)
