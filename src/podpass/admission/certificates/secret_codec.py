"""The Secret's bytes read into what it holds, and written again; and the PEM of a `caBundle`. Pure.

`ca.crt` lists every authority that is to be trusted, and first the one that `ca.key` belongs to. The
reference looks at the first alone, and copies the whole into `caBundle`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podpass import names
from podpass.admission.certificates.model import Authority, Held, Leaf
from podpass.admission.certificates.x509 import fingerprint, load

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\n?.*?-----END \1-----", re.DOTALL)
_CERTIFICATE = b"CERTIFICATE"
_PKCS1 = b"-----BEGIN RSA PRIVATE KEY-----"
_OWNED = (names.CA_CERTIFICATE, names.CA_KEY, names.TLS_CERTIFICATE, names.TLS_KEY)


class _Unfit(Exception):
    """Something in the Secret cannot be used; the text says what."""


def read(data: Mapping[str, bytes], host: str) -> Held:
    """Read a Secret's contents; what cannot be used is left out, and told in `faults`.

    Shapes:  `host` is the name that the leaf has to be for.
    """
    if not any(data.get(name) for name in _OWNED):
        return Held()
    found = authorities(data.get(names.CA_CERTIFICATE, b""))
    try:
        current = _current(data, found)
    except _Unfit as exc:
        return Held(old=found, faults=(str(exc),))
    coming = _coming(data.get(names.COMING_CA_KEY, b""), found[1:])
    old = tuple(each for each in found[1:] if coming is None or each.id != coming.id)
    try:
        leaf = _leaf(data, current, host)
    except _Unfit as exc:
        return Held(current=current, coming=coming, old=old, faults=(str(exc),))
    return Held(current=current, leaf=leaf, coming=coming, old=old)


def written(held: Held) -> dict[str, bytes]:
    """Write the keys of the Secret that are ours; one that is to go is empty."""
    assert held.current is not None
    leaf = held.leaf
    return {
        names.CA_CERTIFICATE: bundle(held.authorities),
        names.CA_KEY: held.current.key,
        names.TLS_CERTIFICATE: b"" if leaf is None else leaf.chain,
        names.TLS_KEY: b"" if leaf is None else leaf.key,
        names.COMING_CA_KEY: b"" if held.coming is None else held.coming.key,
    }


def bundle(found: Sequence[Authority]) -> bytes:
    """Write authorities one after the other, as a `caBundle` has them."""
    return b"".join(each.certificate for each in found)


@lru_cache(maxsize=16)  # the same bundle is looked at again and again
def authorities(pem: bytes) -> tuple[Authority, ...]:
    """Read every certificate of a bundle, each once; what is none is passed over."""
    found: dict[str, Authority] = {}
    for match in _BLOCK.finditer(pem):
        if match[1] == _CERTIFICATE:
            try:
                each = _authority(_load(match[0]))
            except _Unfit:
                continue
            found.setdefault(each.id, each)
    return tuple(found.values())


def wanted(held: Held, present: Sequence[Authority]) -> bytes | None:
    """Write what a `caBundle` has to be; None when it holds that already, in whatever order.

    Strangers' authorities stay: whoever moves from or to another keeper of certificates needs both.
    """
    strangers = tuple(each for each in present if not each.ours)
    want = {each.id: each for each in (*held.authorities, *strangers)}
    if want.keys() == {each.id for each in present}:
        return None
    return bundle(tuple(want.values()))


def _current(data: Mapping[str, bytes], found: Sequence[Authority]) -> Authority:
    pem, key_pem = data.get(names.CA_CERTIFICATE, b""), data.get(names.CA_KEY, b"")
    first = _BLOCK.search(pem)
    if first is None or first[1] != _CERTIFICATE:
        raise _Unfit("ca.crt does not begin with a certificate")
    certificate = _load(first[0])
    _check_key(certificate, key_pem, "ca.key", "ca.crt")
    if not key_pem.lstrip().startswith(_PKCS1):
        raise _Unfit("ca.key is not PKCS#1, which the reference could not sign with")
    try:
        is_authority = certificate.extensions.get_extension_for_class(
            x509.BasicConstraints
        ).value.ca
        named = names.CA_NAME in _names(certificate)
    except (ValueError, x509.ExtensionNotFound) as exc:
        raise _Unfit("ca.crt lacks what an authority's certificate says") from exc
    if not is_authority:
        raise _Unfit("ca.crt is not an authority's certificate")
    if not named:
        raise _Unfit(f"ca.crt is not for {names.CA_NAME}")
    whole = _authority(certificate)
    assert whole.id == found[0].id
    return replace(whole, key=key_pem)


def _coming(key_pem: bytes, rest: Sequence[Authority]) -> Authority | None:
    """Find the authority that a key belongs to; a key of none of them is left over, and nothing is lost."""
    for each in rest if key_pem else ():
        try:
            _check_key(_load(each.certificate), key_pem, "the coming key", "its authority")
        except _Unfit:
            continue
        return replace(each, key=key_pem)
    return None


def _leaf(data: Mapping[str, bytes], current: Authority, host: str) -> Leaf | None:
    chain, key = data.get(names.TLS_CERTIFICATE, b""), data.get(names.TLS_KEY, b"")
    if not chain and not key:
        return None
    certificate = _load(chain)
    _check_key(certificate, key, "tls.key", "tls.crt")
    try:
        certificate.verify_directly_issued_by(_load(current.certificate))
    except Exception as exc:  # its own exceptions have no common root
        raise _Unfit("tls.crt is not signed by the first of ca.crt") from exc
    try:
        is_named = host in _names(certificate)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound) as exc:
        raise _Unfit("tls.crt lacks what a server's certificate says") from exc
    if not is_named:
        raise _Unfit(f"tls.crt is not for {host}")
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        raise _Unfit("tls.crt is not a server's certificate")
    return Leaf(
        authority=current.id,
        chain=chain,
        key=key,
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def _load(pem: bytes) -> x509.Certificate:
    try:
        return load(pem)
    except ValueError as exc:
        raise _Unfit("a certificate cannot be read") from exc


def _authority(certificate: x509.Certificate) -> Authority:
    try:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return Authority(
            id=fingerprint(certificate),
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
            ours=any(each.value == names.CA_NAME for each in common),
        )
    except ValueError as exc:
        raise _Unfit("a certificate cannot be read") from exc


def _check_key(certificate: x509.Certificate, key_pem: bytes, key_name: str, name: str) -> None:
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
        public = certificate.public_key()
    except Exception as exc:  # whatever is wrong with it, it cannot be used
        raise _Unfit(f"{key_name} cannot be read") from exc
    if key.public_key() != public:
        raise _Unfit(f"{key_name} does not belong to {name}")


def _names(certificate: x509.Certificate) -> Sequence[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)
