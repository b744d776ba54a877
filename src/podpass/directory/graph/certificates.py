"""Certificates of applications: parse, validate, show and replace. Pure.

A client may authenticate with the certificates of its application and with those of its service principal.
The properties of the service principal record which certificates are its own.
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
from podpass.directory.graph.errors import InvalidRequest
from podpass.directory.graph.properties import invalid_value, unknown_property
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


def list_to_json(
    identity: Identity, *, of_principal: bool, whole: bool = False
) -> list[dict[str, Any]]:
    """Return the certificates of an object as JSON; with `whole`, include the DER bytes."""
    return [
        to_json(one, whole=whole) for one in _certificates_of(identity, of_principal=of_principal)
    ]


def to_json(one: KeyCredential, *, whole: bool = False) -> dict[str, Any]:
    """Return a certificate as JSON; with `whole`, include the DER bytes."""
    return {
        "customKeyIdentifier": jose.b64decode(one.thumbprint).hex().upper(),
        "displayName": one.display_name or None,
        "endDateTime": wire.format_time(one.expires),
        "key": base64.b64encode(one.certificate).decode() if whole else None,
        "keyId": one.key_id,
        "startDateTime": wire.format_time(one.begins),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }


def parse(given: Mapping[str, Any], path: str, now: float) -> KeyCredential:
    """Parse a certificate in a request body. Raises InvalidRequest, MalformedRequest."""
    for name in given:
        if "@" not in name and name not in _MEMBERS:
            raise unknown_property(f"{path}.{name}")
    if given.get("type") != "AsymmetricX509Cert" or given.get("usage") != "Verify":
        raise InvalidRequest(
            f"Property '{path}' must have type AsymmetricX509Cert and usage Verify; podpass does not support"
            " keys that sign SAML tokens."
        )
    certificate = _parse_certificate(given.get("key"), f"{path}.key")
    first = certificate.not_valid_before_utc.timestamp()
    last = certificate.not_valid_after_utc.timestamp()
    begins = _parse_time(given, "startDateTime", max(first, 0))
    expires = _parse_time(given, "endDateTime", last)
    if not begins < expires or expires > last or expires <= now:
        raise InvalidRequest(
            f"The lifetime of '{path}' is invalid: its end must be after its start, in the future, and not"
            " after the end of the certificate.",
            wire_code="KeyCredentialsInvalidEndDate",
        )
    der = certificate.public_bytes(Encoding.DER)
    return KeyCredential(
        key_id=_parse_key_id(given, path),
        display_name=_parse_display_name(given, path)
        or certificate.subject.rfc4514_string()[:_MAX_NAME],
        certificate=der,
        thumbprint=jose.b64encode(hashlib.sha1(der, usedforsecurity=False).digest()),
        begins=begins,
        expires=expires,
    )


def add(identity: Identity, one: KeyCredential, *, of_principal: bool) -> Identity:
    """Add a certificate to an application or to its service principal.

    Raises InvalidRequest if another credential has its id.
    """
    if one.key_id in {each.key_id for each in identity.keys}:
        raise InvalidRequest("Another credential already has this keyId.")
    if of_principal:
        principal_ids = [*identity.principal.get(OF_PRINCIPAL, ()), one.key_id]
        identity = replace(identity, principal={**identity.principal, OF_PRINCIPAL: principal_ids})
    return replace(identity, keys=(*identity.keys, one))


def remove(identity: Identity, key_id: object, *, of_principal: bool) -> Identity:
    """Remove a certificate. Raises InvalidRequest if no certificate has this id."""
    wanted = key_id.lower() if isinstance(key_id, str) else ""
    if wanted not in {one.key_id for one in _certificates_of(identity, of_principal=of_principal)}:
        raise InvalidRequest("The object has no certificate with this keyId.")
    return _without(identity, {wanted})


def replace_all(identity: Identity, given: object, now: float, *, of_principal: bool) -> Identity:
    """Replace the certificates of an object with those in a body; a keyId names an existing certificate.

    Raises InvalidRequest, MalformedRequest.
    """
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise invalid_value("keyCredentials", "a list of objects")
    existing = {one.key_id: one for one in _certificates_of(identity, of_principal=of_principal)}
    new, listed = [], set()
    for index, each in enumerate(given):
        key_id = str(each.get("keyId") or "").lower()
        if key_id in existing:
            if each.get("key") is not None:
                _require_same_certificate(existing[key_id], each, index)
            listed.add(key_id)
        else:
            new.append(parse(each, f"keyCredentials[{index}]", now))
    identity = _without(identity, set(existing) - listed)
    for one in new:
        identity = add(identity, one, of_principal=of_principal)
    return identity


def _require_same_certificate(was: KeyCredential, given: Mapping[str, Any], index: int) -> None:
    certificate = _parse_certificate(given["key"], f"keyCredentials[{index}].key")
    if certificate.public_bytes(Encoding.DER) != was.certificate:
        raise InvalidRequest(
            f"The certificate with keyId '{was.key_id}' cannot be replaced: use a new keyId.",
            wire_code="KeyCredentialsUpdateNotAllowed",
        )


def _certificates_of(identity: Identity, *, of_principal: bool) -> list[KeyCredential]:
    principal_ids = identity.principal.get(OF_PRINCIPAL, ())
    return [one for one in identity.keys if (one.key_id in principal_ids) is of_principal]


def _without(identity: Identity, removed_ids: set[str]) -> Identity:
    left = tuple(one for one in identity.keys if one.key_id not in removed_ids)
    principal_ids = identity.principal.get(OF_PRINCIPAL)
    if principal_ids is None:
        return replace(identity, keys=left)
    ids = [each for each in principal_ids if each not in removed_ids]
    return replace(identity, keys=left, principal={**identity.principal, OF_PRINCIPAL: ids})


def _parse_certificate(text: object, path: str) -> x509.Certificate:
    if not isinstance(text, str) or len(text) > _MAX_BYTES:
        raise invalid_value(path, "a certificate in base64")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
        if data.startswith(b"-----BEGIN"):
            found = x509.load_pem_x509_certificate(data)
        else:
            found = x509.load_der_x509_certificate(data)
        key = found.public_key()
    except (binascii.Error, ValueError, x509.UnsupportedGeneralNameType) as exc:
        raise invalid_value(path, "a certificate in base64") from exc
    if not isinstance(key, rsa.RSAPublicKey):
        raise InvalidRequest(f"Property '{path}' must be a certificate with an RSA key.")
    numbers = key.public_numbers()
    try:
        jose.check_rsa_numbers(numbers.n, numbers.e)
    except jose.BadKey as exc:
        raise InvalidRequest(f"The certificate of '{path}' is refused: {exc.message}.") from exc
    return found


def _parse_time(given: Mapping[str, Any], name: str, default: float) -> float:
    return default if given.get(name) is None else wire.parse_time(name, given[name])


def _parse_key_id(given: Mapping[str, Any], path: str) -> str:
    key_id = given.get("keyId")
    if key_id is None:
        return str(uuid.uuid4())
    if not is_guid(key_id):
        raise invalid_value(f"{path}.keyId", "a GUID")
    return str(key_id).lower()


def _parse_display_name(given: Mapping[str, Any], path: str) -> str:
    name = given.get("displayName")
    if not isinstance(name, str | None) or len(name or "") > _MAX_NAME:
        raise invalid_value(f"{path}.displayName", f"text of at most {_MAX_NAME} characters")
    return name or ""
