"""Parse and show the names of a policy: subject, alternative names, extended key usages. Pure.

These functions check a policy when a request sets it: a later renewal cannot report an error to a caller.
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from podpass.crypto.x509 import encode_der
from podpass.lab.services.vault.errors import BadParameter

_UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
# Windows' names of attributes, in addition to those of RFC 4514.
_ATTRIBUTES = {
    "E": NameOID.EMAIL_ADDRESS,
    "EMAIL": NameOID.EMAIL_ADDRESS,
    "S": NameOID.STATE_OR_PROVINCE_NAME,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
    "G": NameOID.GIVEN_NAME,
    "SN": NameOID.SURNAME,
    "T": NameOID.TITLE,
}
_SHOWN = {NameOID.EMAIL_ADDRESS: "E", NameOID.STATE_OR_PROVINCE_NAME: "S"}


def parse_subject(text: str) -> x509.Name:
    """Parse a subject such as `CN=www.contoso.com, O=Contoso`. Raises BadParameter."""
    try:
        return x509.Name.from_rfc4514_string(_normalize(text), _ATTRIBUTES)
    except (ValueError, TypeError) as exc:
        raise BadParameter(
            "x509_props.subject is not an X.500 name such as CN=www.contoso.com, O=Contoso."
        ) from exc


def _normalize(text: str) -> str:
    r"""Return a name as RFC 4514 writes it: no blanks around attributes, `\,` instead of quotes."""
    parts, quoted, escaped = [""], False, False
    for character in text:
        if escaped:
            parts[-1], escaped = parts[-1] + character, False
        elif character == "\\":
            parts[-1], escaped = parts[-1] + character, True
        elif character == '"':
            quoted = not quoted
        elif character in ",;" and not quoted:
            parts.append("")
        else:
            parts[-1] += f"\\{character}" if quoted and character in ",+<>;=#" else character
    pairs = [part.partition("=") for part in parts if part.strip()]
    return ",".join(f"{name.strip().upper()}={value.strip()}" for name, _, value in pairs)


def show_subject(name: x509.Name) -> str:
    """Return a name as Azure writes it: the most specific attribute first, separated by `, `."""
    return ", ".join(each.rfc4514_string(_SHOWN) for each in reversed(name.rdns))


def parse_alternatives(sans: Mapping[str, Sequence[str]]) -> list[x509.GeneralName]:
    """Parse the alternative names of a policy, which are listed by their type. Raises BadParameter."""
    makers: Mapping[str, Callable[[str], x509.GeneralName]] = {
        "dns_names": x509.DNSName,
        "emails": x509.RFC822Name,
        "upns": lambda each: x509.OtherName(_UPN, encode_der(0x0C, each.encode())),
        "uris": x509.UniformResourceIdentifier,
        "ipAddresses": lambda each: x509.IPAddress(ipaddress.ip_address(each)),
    }
    try:
        return [make(each) for name, make in makers.items() for each in sans.get(name, ())]
    except ValueError as exc:
        raise BadParameter("A name in x509_props.sans is not ASCII or is malformed.") from exc


def parse_usages(given: Sequence[str]) -> list[ObjectIdentifier]:
    """Parse object identifiers. Raises BadParameter."""
    try:
        return [ObjectIdentifier(each) for each in given]
    except ValueError as exc:
        raise BadParameter("A member of x509_props.ekus is not an object identifier.") from exc
