"""Key Vault's JSON and query, read into our shapes and written from them. Pure.

Source: https://learn.microsoft.com/rest/api/keyvault/secrets
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from podpass.crypto import jose
from podpass.crypto.secret import Secret
from podpass.resource import backups
from podpass.resource.errors import BadParameter, VaultRefusal
from podpass.resource.model import Recovery, SecretVersion, Wanted

MAX_VALUE_BYTES = 25 * 1024
MAX_PAGE = 25
_MAX_TAGS = 15
_MAX_TAG_CHARS = 256
_MAX_CONTENT_TYPE = 255
_MAX_TIME = 253402300799  # the end of the year 9999

_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_VERSION = re.compile(r"[0-9a-f]{32}")
# A backup at its longest: what seals it and base64 add less than half, the rest is JSON around it.
MAX_BACKUP_BODY = backups.MAX_BYTES * 3 // 2
_API_VERSION = re.compile(r"(?:\d{4}-\d{2}-\d{2}|7\.\d{1,2})(?:-preview(?:\.\d{1,2})?)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where secrets are shown: the origin their ids begin with, and how deleted ones come back."""

    base: str
    recovery: Recovery


def check_name(name: str) -> str:
    """Refuse a name that no secret can have; this is what keeps paths out of names.

    Errors:  BadParameter.
    """
    if not _NAME.fullmatch(name):
        raise BadParameter(
            "A secret's name is 1 to 127 letters, digits and '-'.",
            hint="write '-' for '_', '.', '/' and blanks",
        )
    return name


def is_version(text: str) -> bool:
    """Tell whether a text can be a secret's version."""
    return _VERSION.fullmatch(text) is not None


def read_query(query: bytes) -> dict[str, str]:
    """Read a query with unique members and an api-version that the real vault would accept.

    Errors:  BadParameter.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=20)
    except (ValueError, UnicodeDecodeError) as exc:
        raise BadParameter("The query cannot be read.") from exc
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadParameter("A query parameter stands twice.")
    version = found.get("api-version", "")
    if not version:
        raise BadParameter("The query has to name an api-version, such as 7.6.")
    if not _API_VERSION.fullmatch(version):
        raise BadParameter("An api-version is YYYY-MM-DD or 7.x.")
    return found


def read_page(query: Mapping[str, str]) -> tuple[int, str]:
    """Read how many items are asked for, and after which one.

    Errors:  BadParameter.
    """
    asked = query.get("maxresults", str(MAX_PAGE))
    if not (asked.isascii() and asked.isdigit()) or not 1 <= int(asked[:9]) <= MAX_PAGE:
        raise BadParameter(f"maxresults is a number from 1 to {MAX_PAGE}.")
    token = query.get("$skiptoken", "")
    try:
        after = jose.b64decode(token).decode("ascii")
    except (jose.MalformedToken, UnicodeDecodeError) as exc:
        raise BadParameter("The $skiptoken is not one of ours.") from exc
    if token and not _NAME.fullmatch(after):
        raise BadParameter("The $skiptoken is not one of ours.")
    return int(asked), after


def read_set(body: bytes) -> tuple[Secret, Wanted]:
    """Read what a caller sets: a value and what describes it.

    Errors:  BadParameter.
    """
    given = _read_object(body)
    value = given.get("value")
    if not isinstance(value, str):
        raise BadParameter("The body has to hold 'value', as text.")
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise BadParameter(f"The value is over {MAX_VALUE_BYTES} bytes.", limit=MAX_VALUE_BYTES)
    return Secret(value), _wanted(given)


def read_update(body: bytes) -> Wanted:
    """Read what a caller changes of a version; its value is not among it.

    Errors:  BadParameter.
    """
    return _wanted(_read_object(body))


def read_restore(body: bytes) -> bytes:
    """Read the backup that a caller sends.

    Errors:  BadParameter.
    """
    value = _read_object(body).get("value")
    if not isinstance(value, str):
        raise BadParameter("The body has to hold 'value', as base64url text.")
    try:
        # Some clients pad, most do not.
        return jose.b64decode(value.rstrip("="))
    except jose.MalformedToken as exc:
        raise BadParameter("'value' is not base64url.") from exc


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        return jose.loads_object(body)
    except jose.MalformedToken as exc:
        raise BadParameter("The body is not a JSON object with unique members.") from exc


def _wanted(given: Mapping[str, Any]) -> Wanted:
    attributes = given.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise BadParameter("attributes must be an object.")
    fields: dict[str, Any] = {}
    if given.get("contentType") is not None:
        fields["content_type"] = _content_type(given["contentType"])
    if given.get("tags") is not None:
        fields["tags"] = _tags(given["tags"])
    if attributes.get("enabled") is not None:
        if not isinstance(attributes["enabled"], bool):
            raise BadParameter("attributes.enabled must be true or false.")
        fields["enabled"] = attributes["enabled"]
    for wire, ours in (("nbf", "not_before"), ("exp", "expires")):
        if attributes.get(wire) is not None:
            fields[ours] = _time(wire, attributes[wire])
    return Wanted(given=frozenset(fields), **fields)


def _content_type(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_CONTENT_TYPE:
        raise BadParameter(f"contentType must be text of at most {_MAX_CONTENT_TYPE} characters.")
    if "\0" in value:
        raise BadParameter("contentType holds a NUL character; leave it out.")
    return value


def _tags(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > _MAX_TAGS:
        raise BadParameter(f"tags must be an object of at most {_MAX_TAGS} members.")
    for text in (*value, *value.values()):
        if not isinstance(text, str) or len(text) > _MAX_TAG_CHARS:
            raise BadParameter(f"a tag must be text of at most {_MAX_TAG_CHARS} characters.")
    return value


def _time(name: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_TIME:
        raise BadParameter(f"attributes.{name} must be seconds since 1970.")
    return value


def secret_id(site: Site, secret: SecretVersion, *, version: bool = True) -> str:
    """Name a secret, or one version of it, by its address."""
    return f"{site.base}/secrets/{secret.name}" + (f"/{secret.version}" if version else "")


def bundle(site: Site, secret: SecretVersion) -> dict[str, Any]:
    """Write a version with its value."""
    return {"value": secret.value.reveal(), **item(site, secret)}


def item(site: Site, secret: SecretVersion, *, version: bool = True) -> dict[str, Any]:
    """Write a version without its value."""
    attributes: dict[str, Any] = {"enabled": secret.enabled}
    if secret.not_before is not None:
        attributes["nbf"] = secret.not_before
    if secret.expires is not None:
        attributes["exp"] = secret.expires
    attributes |= {
        "created": secret.created,
        "updated": secret.updated,
        "recoveryLevel": site.recovery.level,
        "recoverableDays": site.recovery.days,
    }
    written: dict[str, Any] = {}
    if secret.content_type is not None:
        written["contentType"] = secret.content_type
    address = secret_id(site, secret, version=version)
    return {**written, "id": address, "attributes": attributes, "tags": dict(secret.tags)}


def deleted_item(site: Site, secret: SecretVersion, *, version: bool = True) -> dict[str, Any]:
    """Write a deleted secret: where it can be recovered from, and until when."""
    return {
        "recoveryId": f"{site.base}/deletedsecrets/{secret.name}",
        "deletedDate": secret.deleted,
        "scheduledPurgeDate": secret.purge_on,
        **item(site, secret, version=version),
    }


def backup(blob: bytes) -> dict[str, Any]:
    """Write a backup."""
    return {"value": jose.b64encode(blob)}


def page(
    items: Sequence[dict[str, Any]], address: str, query: Mapping[str, str], after: str | None
) -> dict[str, Any]:
    """Write one page; `after` is what the next one begins behind, None on the last."""
    if after is None:
        return {"value": items, "nextLink": None}
    token = jose.b64encode(after.encode())
    kept = {name: query[name] for name in ("api-version", "maxresults") if name in query}
    following = urlencode({**kept, "$skiptoken": token}, safe="$")
    return {"value": items, "nextLink": f"{address}?{following}"}


def error(refused: VaultRefusal) -> dict[str, Any]:
    """Write a refusal as every Azure client reads it."""
    body: dict[str, Any] = {"code": refused.wire_code, "message": refused.message}
    if refused.inner_code:
        body["innererror"] = {"code": refused.inner_code}
    return {"error": body}


def challenge(authority: str, tenant_id: str, resource: str) -> str:
    """Write the WWW-Authenticate header: comma and blank, one `=` a part, as clients split it."""
    return f'Bearer authorization="{authority}/{tenant_id}", resource="{resource}"'
