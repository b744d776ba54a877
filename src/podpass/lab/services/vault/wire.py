"""Parse and serialize the JSON and the query parameters of Key Vault. Pure.

Source: https://learn.microsoft.com/rest/api/keyvault/secrets
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from podpass.crypto import jose
from podpass.crypto.secret import Secret
from podpass.lab.services.vault import backups
from podpass.lab.services.vault.errors import BadParameter, VaultError
from podpass.lab.services.vault.model import (
    KEYS,
    SECRETS,
    Kind,
    ObjectAttributes,
    ObjectState,
    ObjectVersion,
    RecoveryPolicy,
    kind_of,
)

MAX_VALUE_BYTES = 25 * 1024
MAX_PAGE = 25
_PAGE_SIZES = {str(size): size for size in range(1, MAX_PAGE + 1)}
_MAX_TAGS = 15
_MAX_TAG_CHARS = 256
_MAX_CONTENT_TYPE = 255
_MAX_TIME = 253402300799  # the last second of the year 9999

_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_VERSION = re.compile(r"[0-9a-f]{32}")
_STANDARD_ALPHABET = str.maketrans("-_", "+/")
# The largest backup: the seal and base64 add less than half of its size, the rest is for the JSON object.
MAX_BACKUP_BODY = backups.MAX_RESTORED_BYTES * 3 // 2
NEWEST_API_VERSION = "2026-04-01"
_NEWEST_OF_7 = 6
_API_VERSION = re.compile(r"(?:\d{4}-\d{2}-\d{2}|7\.\d{1,2})(?:-preview(?:\.\d{1,2})?)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultContext:
    """The values of a vault in responses: the origin in the IDs of objects, and the recovery policy."""

    base: str
    recovery: RecoveryPolicy


def check_name(name: str) -> str:
    """Check that a name is valid for an object; path separators are refused. Raises BadParameter."""
    if not _NAME.fullmatch(name):
        raise BadParameter(
            "A name is 1 to 127 letters, digits and '-'.",
            hint="use '-' instead of '_', '.', '/' and blanks",
        )
    return name


def is_version(text: str) -> bool:
    """Return whether a text has the form of a version."""
    return _VERSION.fullmatch(text) is not None


def parse_query(query: bytes) -> dict[str, str]:
    """Parse a query with unique parameters and an api-version that Azure's vault accepts.

    Raises BadParameter.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=20)
    except (ValueError, UnicodeDecodeError) as exc:
        raise BadParameter("The query is malformed.") from exc
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadParameter("A query parameter occurs twice.")
    version = found.get("api-version", "")
    if not version:
        raise BadParameter("The query must contain an api-version, such as 7.6.")
    if not _API_VERSION.fullmatch(version):
        raise BadParameter("An api-version is YYYY-MM-DD or 7.x.")
    return found


def is_newer(api_version: str) -> bool:
    """Return whether a valid api-version is newer than those that the vault knows."""
    version = api_version.partition("-preview")[0]
    if version.startswith("7."):
        return int(version[2:]) > _NEWEST_OF_7
    return version > NEWEST_API_VERSION


def parse_page(query: Mapping[str, str]) -> tuple[int, str]:
    """Parse the number of requested items, and the name after which they start. Raises BadParameter."""
    requested = query.get("maxresults", str(MAX_PAGE))
    if requested not in _PAGE_SIZES:
        raise BadParameter(f"maxresults must be a number from 1 to {MAX_PAGE}.")
    token = query.get("$skiptoken", "")
    try:
        after = jose.b64decode(token).decode("ascii")
    except (jose.MalformedToken, UnicodeDecodeError) as exc:
        raise BadParameter("The $skiptoken is invalid.") from exc
    if token and not _NAME.fullmatch(after):
        raise BadParameter("The $skiptoken is invalid.")
    return _PAGE_SIZES[requested], after


def parse_set(body: bytes) -> tuple[Secret, ObjectAttributes]:
    """Parse the value and the attributes of a new version. Raises BadParameter."""
    given = parse_object(body)
    value = given.get("value")
    if not isinstance(value, str):
        raise BadParameter("The body must contain 'value', as a string.")
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise BadParameter(
            f"The value is larger than {MAX_VALUE_BYTES} bytes.", limit=MAX_VALUE_BYTES
        )
    return Secret(value), parse_attributes(given)


def parse_update(body: bytes) -> ObjectAttributes:
    """Parse the changed attributes of a version, which cannot include its value. Raises BadParameter."""
    return parse_attributes(parse_object(body))


def parse_restore(body: bytes) -> bytes:
    """Parse a backup in a request. Raises BadParameter."""
    return parse_bytes(parse_object(body), "value")


def parse_bytes(given: Mapping[str, Any], name: str) -> bytes:
    """Parse bytes in base64url. Raises BadParameter.

    As in Azure, both alphabets are accepted, with or without padding: Jsign sends standard base64.
    """
    value = given.get(name)
    if not isinstance(value, str):
        raise BadParameter(f"The body must contain '{name}', as a base64url string.")
    bare = value.rstrip("=").translate(_STANDARD_ALPHABET)
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError as exc:
        raise BadParameter(f"'{name}' is not base64url.") from exc


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse the object in the body of a request. Raises BadParameter."""
    try:
        return jose.loads_object(body)
    except jose.MalformedToken as exc:
        raise BadParameter("The body is not a JSON object with unique members.") from exc


def parse_attributes(given: Mapping[str, Any]) -> ObjectAttributes:
    """Parse the attributes and tags of a version. Raises BadParameter."""
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
    return ObjectAttributes(given=frozenset(fields), **fields)


def _content_type(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_CONTENT_TYPE:
        raise BadParameter(
            f"contentType must be a string of at most {_MAX_CONTENT_TYPE} characters."
        )
    if "\0" in value:
        raise BadParameter("contentType must not contain a NUL character.")
    return value


def _tags(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > _MAX_TAGS:
        raise BadParameter(f"tags must be an object of at most {_MAX_TAGS} members.")
    for text in (*value, *value.values()):
        if not isinstance(text, str) or len(text) > _MAX_TAG_CHARS:
            raise BadParameter(f"a tag must be a string of at most {_MAX_TAG_CHARS} characters.")
    return value


def _time(name: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_TIME:
        raise BadParameter(f"attributes.{name} must be seconds since 1970.")
    return value


def object_id(site: VaultContext, found: ObjectVersion, kind: Kind, *, version: bool = True) -> str:
    """Return the ID of an object, or of one version of it, as one of `kind`."""
    return f"{site.base}/{kind.plural}/{found.name}" + (f"/{found.version}" if version else "")


def bundle(site: VaultContext, secret: ObjectVersion) -> dict[str, Any]:
    """Return the JSON of a version with its value."""
    return {"value": secret.value.reveal(), **item(site, secret)}


def item(site: VaultContext, secret: ObjectVersion, *, version: bool = True) -> dict[str, Any]:
    """Return the JSON of a version without its value."""
    written: dict[str, Any] = {}
    if secret.content_type is not None:
        written["contentType"] = secret.content_type
    if secret.managed:
        written |= {"managed": True, "kid": object_id(site, secret, KEYS)}
    if "previous" in secret.document:
        written["previousVersion"] = secret.document["previous"]
    address = object_id(site, secret, SECRETS, version=version)
    return {
        **written,
        "id": address,
        "attributes": attributes(site, secret),
        "tags": dict(secret.tags),
    }


def attributes(site: VaultContext, found: ObjectVersion) -> dict[str, Any]:
    """Return the JSON of the attributes of a version."""
    written: dict[str, Any] = {"enabled": found.enabled}
    if found.not_before is not None:
        written["nbf"] = found.not_before
    if found.expires is not None:
        written["exp"] = found.expires
    return {
        **written,
        "created": found.created,
        "updated": found.updated,
        "recoveryLevel": site.recovery.level,
        "recoverableDays": site.recovery.days,
    }


def deleted(
    site: VaultContext, found: ObjectState | ObjectVersion, item: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON of a deleted object, with its recovery ID and purge date."""
    return {
        "recoveryId": f"{site.base}/deleted{kind_of(found.collection).plural}/{found.name}",
        "deletedDate": found.deleted,
        "scheduledPurgeDate": found.purge_on,
        **item,
    }


def backup(blob: bytes) -> dict[str, Any]:
    """Return the JSON of a backup."""
    return {"value": jose.b64encode(blob)}


def page(
    items: Sequence[dict[str, Any]], address: str, query: Mapping[str, str], after: str | None
) -> dict[str, Any]:
    """Return the JSON of a page; the next page starts after the name `after`, None on the last page."""
    if after is None:
        return {"value": items, "nextLink": None}
    token = jose.b64encode(after.encode())
    parameters = {
        name: query[name]
        for name in ("api-version", "maxresults", "includePending")
        if name in query
    }
    following = urlencode({**parameters, "$skiptoken": token}, safe="$")
    return {"value": items, "nextLink": f"{address}?{following}"}


def error_body(exc: VaultError) -> dict[str, Any]:
    """Return the JSON of an error."""
    body: dict[str, Any] = {"code": exc.wire_code, "message": exc.message}
    if exc.inner_code:
        body["innererror"] = {"code": exc.inner_code}
    return {"error": body}


def challenge(authority: str, tenant_id: str, resource: str) -> str:
    """Return the WWW-Authenticate header as clients parse it: parts joined by `, `, one `=` in each."""
    return f'Bearer authorization="{authority}/{tenant_id}", resource="{resource}"'
