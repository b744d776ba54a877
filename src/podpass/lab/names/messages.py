"""Read DNS queries and build the replies. Pure.

A query is checked for size and counts before it is parsed, so the work for a packet is bounded. A reply over
UDP has no more bytes than the client accepts, so a forged source address gains little.
"""

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# A query has a name of 255 bytes, and options; no client sends as much as this.
MAX_QUERY_BYTES = 4096
_HEADER = struct.Struct("!6H")
_MAX_ADDITIONAL = 2  # EDNS, and a signature
_QR, _TC, _RD = 0x8000, 0x0200, 0x0100
_PAYLOAD = 1232  # fits into one packet on every network (DNS flag day 2020)
_MIN_PAYLOAD = 512  # what every client accepts (RFC 1035)
# Seconds that others may keep an address, and that a name does not exist.
_TTL, _NEGATIVE_TTL = 5, 1
_TYPES = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}


@dataclass(frozen=True, slots=True)
class Query:
    """A query for one name.

    `name` is in lower case without a trailing dot; `wire` is the received packet, and `question` the part of
    it that a reply repeats.
    """

    name: str
    wire: bytes
    question: bytes
    message: dns.message.Message

    @property
    def is_internet(self) -> bool:
        """Return whether the class of the query is IN."""
        return self.message.question[0].rdclass == dns.rdataclass.IN


def is_query(wire: bytes) -> bool:
    """Return whether a packet gets a reply.

    Two servers that answer each other's responses would never stop.
    """
    return len(wire) >= _HEADER.size and not _HEADER.unpack_from(wire)[1] & _QR


def read_query(wire: bytes) -> Query | bytes | None:
    """Parse a packet: return the query, the reply to a packet that is not one, or None for no reply."""
    if not is_query(wire):
        return None
    number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(wire)
    if (flags >> 11) & 15 != dns.opcode.QUERY:
        return _header(number, flags, dns.rcode.NOTIMP)
    counts = (questions, answers, authorities)
    if len(wire) > MAX_QUERY_BYTES or counts != (1, 0, 0) or additional > _MAX_ADDITIONAL:
        return _header(number, flags, dns.rcode.FORMERR)
    try:
        message = dns.message.from_wire(wire)
        question = message.question[0]
        name = question.name
        size = sum(len(label) + 1 for label in name.labels) + 4
        if message.edns > 0:
            return _reply(message, dns.rcode.BADVERS).to_wire()
    except (dns.exception.DNSException, ValueError, struct.error):
        return _header(number, flags, dns.rcode.FORMERR)
    text = name.to_text(omit_final_dot=True).lower()
    return Query(text, wire, wire[_HEADER.size : _HEADER.size + size], message)


def build_error(query: Query, code: dns.rcode.Rcode) -> bytes:
    """Build a reply that has only a code, such as REFUSED or SERVFAIL."""
    return _reply(query.message, code).to_wire()


def build_answer(query: Query, zone: str, addresses: Sequence[Address] | None) -> bytes:
    """Build the reply for a name of a zone: its addresses, or that it does not exist if they are None."""
    code = dns.rcode.NXDOMAIN if addresses is None else dns.rcode.NOERROR
    reply = begin_answer(query, code)
    question = query.message.question[0]
    version = _TYPES.get(question.rdtype)
    found = [str(each) for each in addresses or () if each.version == version]
    if found:
        answer = dns.rrset.from_text_list(
            question.name, _TTL, dns.rdataclass.IN, question.rdtype, found
        )
        reply.answer.append(answer)
    else:
        add_authority(reply, zone)
    return reply.to_wire()


def begin_answer(query: Query, code: dns.rcode.Rcode) -> dns.message.Message:
    """Return an authoritative reply without records."""
    reply = _reply(query.message, code)
    reply.flags |= dns.flags.AA
    return reply


def add_authority(reply: dns.message.Message, zone: str) -> None:
    """Add the SOA record, from which resolvers take the TTL of a negative response."""
    text = f"podpass. podpass. 1 3600 600 86400 {_NEGATIVE_TTL}"
    soa = dns.rrset.from_text(zone + ".", _NEGATIVE_TTL, dns.rdataclass.IN, dns.rdatatype.SOA, text)
    reply.authority.append(soa)


def with_number(wire: bytes, number: int) -> bytes:
    """Return a packet with another number."""
    return struct.pack("!H", number) + wire[2:]


def limit_datagram(wire: bytes, query: Query) -> bytes:
    """Return a reply, or a truncated one if it is too large for UDP.

    Otherwise one small query with a forged source address would send a large reply there.
    """
    accepted = _MIN_PAYLOAD if query.message.edns < 0 else query.message.payload
    if len(wire) <= min(max(accepted, _MIN_PAYLOAD), _PAYLOAD):
        return wire
    number, flags, *_ = _HEADER.unpack_from(wire)
    return _HEADER.pack(number, flags | _TC, 1, 0, 0, 0) + query.question


def is_reply_to(wire: bytes, query: Query, number: int) -> bool:
    """Return whether a packet is the reply to a query that was forwarded with this number."""
    if len(wire) < _HEADER.size:
        return False
    its_number, flags, *_ = _HEADER.unpack_from(wire)
    repeated = wire[_HEADER.size : _HEADER.size + len(query.question)]
    return its_number == number and bool(flags & _QR) and repeated == query.question


def _reply(message: dns.message.Message, code: dns.rcode.Rcode) -> dns.message.Message:
    reply = dns.message.make_response(message, recursion_available=True, our_payload=_PAYLOAD)
    reply.set_rcode(code)
    return reply


def _header(number: int, flags: int, code: dns.rcode.Rcode) -> bytes:
    """Build a reply that is only a header: the question cannot be repeated."""
    copied = flags & (0x7800 | _RD)
    return _HEADER.pack(number, _QR | copied | code, 0, 0, 0, 0)
