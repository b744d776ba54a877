"""Certificates of applications: read, checked, shown, replaced by PATCH. Pure.

Those of a service principal and those of its application open the same door; which object shows one is kept
beside the service principal's members.
"""

import base64
import binascii
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.crypto import jose
from podpass.directory.graph import wire
from podpass.directory.graph.members import unknown, wrong
from podpass.directory.graph.refusals import BadRequest
from podpass.directory.model import Identity, KeyCredential
from podpass.guids import is_guid

OF_PRINCIPAL = "keysOfPrincipal"
_MAX_BYTES = 16 * 1024
_MAX_NAME = 120
_MEMBERS = frozenset(
    {
        "customKeyIdentifier",
        "displayName",
        "endDateTime",
        "hasExtendedValue",
        "key",
        "keyId",
        "startDateTime",
        "type",
        "usage",
    }
)


def shown(identity: Identity, *, of_principal: bool, whole: bool = False) -> list[dict[str, Any]]:
    """Show the certificates of an application, or of its service principal; themselves only if `whole`."""
    return [show(one, whole=whole) for one in _mine(identity, of_principal=of_principal)]


def show(one: KeyCredential, *, whole: bool = False) -> dict[str, Any]:
    """Show a certificate."""
    return {
        "customKeyIdentifier": jose.b64decode(one.thumbprint).hex().upper(),
        "displayName": one.display_name or None,
        "endDateTime": wire.time(one.expires),
        "key": base64.b64encode(one.certificate).decode() if whole else None,
        "keyId": one.key_id,
        "startDateTime": wire.time(one.begins),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }


def read(given: Mapping[str, Any], path: str, now: float) -> KeyCredential:
    """Read a certificate out of a body.

    Errors:  BadRequest, Malformed.
    """
    for name in given:
        if "@" not in name and name not in _MEMBERS:
            raise unknown(f"{path}.{name}")
    if given.get("type") != "AsymmetricX509Cert" or given.get("usage") != "Verify":
        raise BadRequest(
            f"Property '{path}': want type AsymmetricX509Cert and usage Verify; keys that sign SAML tokens"
            " are not in podpass."
        )
    certificate = _certificate(given.get("key"), f"{path}.key")
    first = certificate.not_valid_before_utc.timestamp()
    last = certificate.not_valid_after_utc.timestamp()
    begins = _time(given, "startDateTime", max(first, 0))
    expires = _time(given, "endDateTime", last)
    if not begins < expires or expires > last or expires <= now:
        raise BadRequest(
            f"The time of '{path}' does not fit: want an end after its begin, after now, and not after the"
            " certificate's own.",
            wire_code="KeyCredentialsInvalidEndDate",
        )
    der = certificate.public_bytes(Encoding.DER)
    return KeyCredential(
        key_id=_key_id(given, path),
        display_name=_name(given, path) or certificate.subject.rfc4514_string()[:_MAX_NAME],
        certificate=der,
        thumbprint=jose.b64encode(hashlib.sha1(der, usedforsecurity=False).digest()),
        begins=begins,
        expires=expires,
    )


def added(identity: Identity, one: KeyCredential, *, of_principal: bool) -> Identity:
    """Put a certificate to those of an application, or of its service principal.

    Errors:  BadRequest when one has its id already.
    """
    if one.key_id in {each.key_id for each in identity.keys}:
        raise BadRequest("Another credential has this keyId.")
    if of_principal:
        theirs = [*identity.principal.get(OF_PRINCIPAL, ()), one.key_id]
        identity = replace(identity, principal={**identity.principal, OF_PRINCIPAL: theirs})
    return replace(identity, keys=(*identity.keys, one))


def removed(identity: Identity, key_id: object, *, of_principal: bool) -> Identity:
    """Take a certificate out.

    Errors:  BadRequest when there is none of this id.
    """
    wanted = key_id.lower() if isinstance(key_id, str) else ""
    if wanted not in {one.key_id for one in _mine(identity, of_principal=of_principal)}:
        raise BadRequest("The object has no certificate of this keyId.")
    return _without(identity, {wanted})


def replaced(identity: Identity, given: object, now: float, *, of_principal: bool) -> Identity:
    """Let an object have exactly the certificates that a body lists; those it has are named by keyId.

    Errors:  BadRequest, Malformed.
    """
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise wrong("keyCredentials", "a list of objects")
    mine = {one.key_id: one for one in _mine(identity, of_principal=of_principal)}
    new, listed = [], set()
    for place, each in enumerate(given):
        key_id = str(each.get("keyId") or "").lower()
        if key_id in mine:
            if each.get("key") is not None:
                _refuse_other(mine[key_id], each, place)
            listed.add(key_id)
        else:
            new.append(read(each, f"keyCredentials[{place}]", now))
    identity = _without(identity, set(mine) - listed)
    for one in new:
        identity = added(identity, one, of_principal=of_principal)
    return identity


def _refuse_other(was: KeyCredential, given: Mapping[str, Any], place: int) -> None:
    certificate = _certificate(given["key"], f"keyCredentials[{place}].key")
    if certificate.public_bytes(Encoding.DER) != was.certificate:
        raise BadRequest(
            f"The certificate of keyId '{was.key_id}' is not replaced: give the other its own keyId.",
            wire_code="KeyCredentialsUpdateNotAllowed",
        )


def _mine(identity: Identity, *, of_principal: bool) -> list[KeyCredential]:
    theirs = identity.principal.get(OF_PRINCIPAL, ())
    return [one for one in identity.keys if (one.key_id in theirs) is of_principal]


def _without(identity: Identity, gone: set[str]) -> Identity:
    kept = tuple(one for one in identity.keys if one.key_id not in gone)
    theirs = identity.principal.get(OF_PRINCIPAL)
    if theirs is None:
        return replace(identity, keys=kept)
    left = [each for each in theirs if each not in gone]
    return replace(identity, keys=kept, principal={**identity.principal, OF_PRINCIPAL: left})


def _certificate(text: object, path: str) -> x509.Certificate:
    if not isinstance(text, str) or len(text) > _MAX_BYTES:
        raise wrong(path, "a certificate in base64")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
        if data.startswith(b"-----BEGIN"):
            found = x509.load_pem_x509_certificate(data)
        else:
            found = x509.load_der_x509_certificate(data)
        key = found.public_key()
    except (binascii.Error, ValueError, x509.UnsupportedGeneralNameType) as exc:
        raise wrong(path, "a certificate in base64") from exc
    bits = key.key_size if isinstance(key, rsa.RSAPublicKey) else 0
    if not jose.MIN_RSA_BITS <= bits <= jose.MAX_RSA_BITS:
        raise BadRequest(
            f"Property '{path}': want a certificate of an RSA key of {jose.MIN_RSA_BITS} to"
            f" {jose.MAX_RSA_BITS} bits."
        )
    return found


def _time(given: Mapping[str, Any], name: str, otherwise: float) -> float:
    return otherwise if given.get(name) is None else wire.read_time(name, given[name])


def _key_id(given: Mapping[str, Any], path: str) -> str:
    key_id = given.get("keyId")
    if key_id is None:
        return str(uuid.uuid4())
    if not is_guid(key_id):
        raise wrong(f"{path}.keyId", "a GUID")
    return str(key_id).lower()


def _name(given: Mapping[str, Any], path: str) -> str:
    name = given.get("displayName")
    if not isinstance(name, str | None) or len(name or "") > _MAX_NAME:
        raise wrong(f"{path}.displayName", f"text of at most {_MAX_NAME} characters")
    return name or ""
