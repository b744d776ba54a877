"""Parse hosts, paths and queries of storage, and serialize its errors. Pure.

Azurite decodes a path once and then splits it, and reads the first label of the host as the account. A
request is refused if another reading is possible: the roles would be checked for another container than the
one that Azurite changes.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

import orjson

from podpass import names
from podpass.lab.services.storage.errors import (
    CannotVerifySource,
    InvalidUri,
    KeyNotPermitted,
    StorageError,
)
from podpass.lab.services.storage.model import StorageHost, StorageService, StorageTarget

_HOST = re.compile(
    rf"([a-z0-9]{{3,24}})\.({'|'.join(names.STORAGE_SERVICES)})\.{re.escape(names.STORAGE_SUFFIX)}"
)
_CONTAINER = re.compile(r"\$root|\$web|\$logs|[a-z0-9](?:-?[a-z0-9]){2,62}", re.ASCII)
_TABLE = re.compile(r"([A-Za-z][A-Za-z0-9]{2,62})(\(.*\))?", re.ASCII | re.DOTALL)
_TABLES = re.compile(r"Tables(?:\('([A-Za-z][A-Za-z0-9]{2,62})'\))?", re.ASCII)
# `[` and `.` would give a parameter another meaning in Azurite's parser.
_PARAMETER = re.compile(r"\$?[A-Za-z][A-Za-z0-9_-]{0,63}")
_MAX_PARAMETERS = 40
_MAX_CHARS = 8192
# Parameters of a shared access signature.
SIGNATURE = frozenset(
    (
        *("sv", "ss", "srt", "sp", "st", "se", "sip", "spr", "sig", "sr", "si", "sdd", "ses"),
        *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "tn"),
        *("spk", "srk", "epk", "erk"),
    )
)
_BLOCK = re.compile(rb"<(?:Latest|Committed|Uncommitted)\b", re.ASCII)
_SERVICE_TABLE = "Tables"
_BATCH = "$batch"


def parse_host(host: str | None) -> StorageHost | None:
    """Return the account and service of a Host header; None for another host."""
    found = _HOST.fullmatch((host or "").lower().partition(":")[0])
    return StorageHost(account=found[1], service=StorageService(found[2])) if found else None


def parse_target(service: StorageService, raw: str) -> StorageTarget:
    """Parse the path of a request as it was sent. Raises InvalidUri."""
    if len(raw) > _MAX_CHARS or not raw.startswith("/"):
        raise InvalidUri("The path is too long, or does not begin with '/'.")
    try:
        path = unquote(raw, errors="strict")[1:]
    except UnicodeDecodeError as exc:
        raise InvalidUri("The path is not valid UTF-8.") from exc
    container, _, item = path.partition("/")
    if any(part in (".", "..") for part in re.split(r"[/\\]", path)):
        raise InvalidUri("The path has a segment '.' or '..'.")
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in path):
        raise InvalidUri("The path contains a control character.")
    if service is StorageService.TABLE:
        return _parse_table(path)
    if container and not _CONTAINER.fullmatch(container):
        raise InvalidUri(
            "The name of the container or queue is invalid: want 3 to 63 lower-case letters, digits and"
            " single '-'."
        )
    if item and not container:
        raise InvalidUri("The path has no container.")
    return StorageTarget(container=container, item=item)


def _parse_table(path: str) -> StorageTarget:
    """Return the table and the key in a path; for the list of tables, the item is `Tables`."""
    section, slash, rest = path.partition("/")
    if section == _BATCH and not rest:
        return StorageTarget(item=_BATCH)
    if section in ("", _SERVICE_TABLE, f"{_SERVICE_TABLE}()") and not slash:
        return StorageTarget(item=_SERVICE_TABLE if section else "")
    # The key of an entity may contain a slash; the name of its table ends before it.
    if found := _TABLES.fullmatch(path):
        return StorageTarget(container=found[1] or "", item=_SERVICE_TABLE)
    found = _TABLE.fullmatch(path)
    if found is None or found[1].lower() == _SERVICE_TABLE.lower():
        raise InvalidUri("The name of the table, or the key of the entity, is invalid.")
    key = (found[2] or "").removeprefix("(").removesuffix(")")
    return StorageTarget(container=found[1], item=key)


def parse_query(query: bytes) -> dict[str, str]:
    """Parse a query with unique parameters.

    Raises InvalidUri; KeyNotPermitted for a shared access signature.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except (ValueError, UnicodeDecodeError) as exc:
        raise InvalidUri("The query is malformed.") from exc
    found: dict[str, str] = {}
    lower = set()
    for name, value in pairs:
        if name.lower() in SIGNATURE:
            raise KeyNotPermitted("Shared access signatures are not accepted.")
        if not _PARAMETER.fullmatch(name):
            raise InvalidUri("The name of a query parameter is invalid.")
        if name.lower() in lower:
            raise InvalidUri("A query parameter occurs twice.")
        lower.add(name.lower())
        found[name] = value
    return found


def parse_source(host: StorageHost, values: Sequence[str]) -> str:
    """Return the container of the source of a copy, which must be a blob of the same account.

    Raises CannotVerifySource; InvalidUri; KeyNotPermitted.
    """
    parts = urlsplit(values[0]) if len(values) == 1 and values[0].isascii() else None
    if parts is None or not values[0].isprintable() or any(char in values[0] for char in " \\#"):
        raise CannotVerifySource("x-ms-copy-source must be one URL.")
    if parts.scheme != "https" or parts.netloc.lower() != host.name:
        raise CannotVerifySource(f"The source of the copy is not a blob of {host.name}.")
    source = parse_target(host.service, parts.path)
    parse_query(parts.query.encode("ascii"))
    if not source.item:
        raise CannotVerifySource("The source of the copy is not a blob.")
    return source.container


def rewrite_batch(body: bytes, host: StorageHost) -> bytes:
    """Add the account to the URLs of a batch's operations, because Azurite expects it there."""
    line = rb"^((?:GET|POST|PUT|PATCH|MERGE|DELETE) https?://%b)/" % re.escape(host.name.encode())
    return re.sub(line, rb"\1/%b/" % host.account.encode(), body, flags=re.MULTILINE)


def count_blocks(body: bytes) -> int:
    """Return the number of blocks in the body of a block list."""
    return len(_BLOCK.findall(body))


def challenge(authority: str, tenant_id: str) -> str:
    """Return the WWW-Authenticate header, from which clients read the tenant."""
    return (
        f"Bearer authorization_uri={authority}/{tenant_id}/oauth2/authorize "
        f"resource_id={names.STORAGE_RESOURCE}"
    )


def error_body(exc: StorageError, service: StorageService, request_id: str, now: float) -> bytes:
    """Return the body of an error: JSON for tables, XML for the other services."""
    time = (
        datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )
    text = f"{exc.message}\nRequestId:{request_id}\nTime:{time}"
    if service is StorageService.TABLE:
        message = {"lang": "en-US", "value": text}
        return orjson.dumps({"odata.error": {"code": exc.wire_code, "message": message}})
    xml = f"<Error><Code>{exc.wire_code}</Code><Message>{escape(text)}</Message></Error>"
    return f'<?xml version="1.0" encoding="utf-8"?>{xml}'.encode()


def content_type(service: StorageService) -> bytes:
    """Return the media type of an error."""
    if service is StorageService.TABLE:
        return b"application/json;odata=minimalmetadata;streaming=true;charset=utf-8"
    return b"application/xml"


def fixed_parameters(query: Mapping[str, str]) -> tuple[str, str]:
    """Return the two parameters that select an operation."""
    return query.get("restype", ""), query.get("comp", "")
