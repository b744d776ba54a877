"""Client secrets: made here, shown once, kept as digests.

Those of a service principal and those of its application open the same door; which object shows one is kept
beside the service principal's members.
"""

import hashlib
import secrets
import string
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from podpass.crypto.secret import Secret
from podpass.directory.graph import wire
from podpass.directory.graph.members import unknown, wrong
from podpass.directory.graph.refusals import BadRequest
from podpass.directory.model import Identity, PasswordCredential
from podpass.guids import is_guid

LENGTH = 40
OF_PRINCIPAL = "passwordsOfPrincipal"
_ALPHABET = string.ascii_letters + string.digits + "-_.~"
_TWO_YEARS = 2 * 365 * 86400
_MEMBERS = frozenset(
    {
        "customKeyIdentifier",
        "displayName",
        "endDateTime",
        "hint",
        "keyId",
        "secretText",
        "startDateTime",
    }
)
_MAX_NAME = 120


def shown(identity: Identity, *, of_principal: bool) -> list[dict[str, Any]]:
    """Show the secrets of an application, or of its service principal, without their texts."""
    theirs = identity.principal.get(OF_PRINCIPAL, ())
    return [show(one) for one in identity.passwords if (one.key_id in theirs) is of_principal]


def show(one: PasswordCredential, text: str | None = None) -> dict[str, Any]:
    """Show a secret; its text only in the answer that makes it."""
    return {
        "customKeyIdentifier": None,
        "displayName": one.display_name or None,
        "endDateTime": wire.time(one.expires),
        "hint": one.hint,
        "keyId": one.key_id,
        "secretText": text,
        "startDateTime": wire.time(one.begins),
    }


def make(given: Mapping[str, Any], now: float) -> tuple[PasswordCredential, Secret]:
    """Make a secret as a body asks for it, and give its text, which nobody keeps.

    Errors:  BadRequest, Malformed.
    """
    for name in given:
        if "@" not in name and name not in _MEMBERS:
            raise unknown(f"passwordCredential.{name}")
    if given.get("secretText") is not None:
        raise BadRequest("Secrets are made by the service: leave out 'secretText'.")
    begins, expires = _times(given, now)
    # As Entra's are, so that scanners for leaked secrets know one: three signs, a digit, Q and a tilde.
    signs = [secrets.choice(_ALPHABET) for _ in range(LENGTH)]
    signs[0], signs[3:6] = secrets.choice(string.ascii_letters), "8Q~"
    text = "".join(signs)
    made = PasswordCredential(
        key_id=str(uuid.uuid4()),
        display_name=_name(given),
        hint=text[:3],
        digest=hashlib.sha256(text.encode()).digest(),
        begins=begins,
        expires=expires,
    )
    return made, Secret(text)


def added(identity: Identity, one: PasswordCredential, *, of_principal: bool) -> Identity:
    """Put a secret to those of an application, or of its service principal."""
    if of_principal:
        theirs = [*identity.principal.get(OF_PRINCIPAL, ()), one.key_id]
        identity = replace(identity, principal={**identity.principal, OF_PRINCIPAL: theirs})
    return replace(identity, passwords=(*identity.passwords, one))


def removed(identity: Identity, key_id: object, *, of_principal: bool) -> Identity:
    """Take a secret out.

    Errors:  BadRequest when there is none of this id.
    """
    theirs = identity.principal.get(OF_PRINCIPAL, ())
    wanted = key_id.lower() if is_guid(key_id) else ""
    there = {one.key_id for one in identity.passwords if (one.key_id in theirs) is of_principal}
    if wanted not in there:
        raise BadRequest("The object has no secret of this keyId.")
    kept = tuple(one for one in identity.passwords if one.key_id != wanted)
    return _tidied(replace(identity, passwords=kept))


def made(identity: Identity, given: object, now: float) -> tuple[Identity, Mapping[str, str]]:
    """Make the secrets that are asked for together with an application, and give their texts by id.

    Errors:  BadRequest.
    """
    if not isinstance(given, list) or len(given) > 1 or not all(isinstance(x, dict) for x in given):
        raise wrong("passwordCredentials", "a list of at most one")
    texts = {}
    for each in given:
        one, text = make(each, now)
        identity = added(identity, one, of_principal=False)
        texts[one.key_id] = text.reveal()
    return identity, texts


def kept(identity: Identity, given: object, *, of_principal: bool) -> Identity:
    """Keep of an object's secrets those that a PATCH lists; new ones it cannot bring.

    Errors:  BadRequest.
    """
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise wrong("passwordCredentials", "a list")
    theirs = identity.principal.get(OF_PRINCIPAL, ())
    listed = {str(each.get("keyId", "")).lower() for each in given}
    mine = {one.key_id for one in identity.passwords if (one.key_id in theirs) is of_principal}
    if listed - mine or any(each.get("secretText") is not None for each in given):
        raise BadRequest(
            "A change of the object keeps or takes away secrets; new ones are made by addPassword."
        )
    left = tuple(
        one for one in identity.passwords if one.key_id in listed or one.key_id not in mine
    )
    return _tidied(replace(identity, passwords=left))


def _tidied(identity: Identity) -> Identity:
    there = {one.key_id for one in identity.passwords}
    theirs = [each for each in identity.principal.get(OF_PRINCIPAL, ()) if each in there]
    if OF_PRINCIPAL not in identity.principal:
        return identity
    return replace(identity, principal={**identity.principal, OF_PRINCIPAL: theirs})


def _times(given: Mapping[str, Any], now: float) -> tuple[float, float]:
    begin, end = given.get("startDateTime"), given.get("endDateTime")
    begins = now if begin is None else wire.read_time("startDateTime", begin)
    expires = begins + _TWO_YEARS if end is None else wire.read_time("endDateTime", end)
    if expires <= begins or expires <= now:
        raise BadRequest("A secret has to end after it begins, and after now.")
    return begins, expires


def _name(given: Mapping[str, Any]) -> str:
    name = given.get("displayName")
    if not isinstance(name, str | None) or len(name or "") > _MAX_NAME:
        raise wrong("displayName", f"text of at most {_MAX_NAME} characters")
    return name or ""
