"""The token endpoint's wire: a form in, JSON out, and the ids that tie an answer to the log."""

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from podpass.clouds import PUBLIC, Cloud
from podpass.crypto.jose import UnverifiedToken, parse
from podpass.exchange.errors.catalogue import Refused
from podpass.guids import is_guid

MAX_PARAMETERS = 64
_FORM = "application/x-www-form-urlencoded"
_ID_NAMES = ("client-request-id", "x-ms-client-request-id")
# What every pod writes alike. Nothing that may be a secret is remembered.
_ALIKE = ("client_assertion_type=", "grant_type=", "scope=", "resource=")
ALIKE_CHARS = 256

# What an exchange learns on its way, for its log line.
Facts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """A request for a token, read and not yet judged.

    Shapes:  `tenant` as it stands in the path; `version` of the endpoint, 1 or 2; `origin` under which
             the service was asked. The form's values may hold credentials.
    """

    tenant: str
    version: int
    origin: str
    form: Mapping[str, str] = field(repr=False)
    cloud: Cloud = PUBLIC

    def get(self, name: str) -> str:
        """Give a parameter, empty when it is missing."""
        return self.form.get(name, "")

    @cached_property
    def assertion(self) -> UnverifiedToken:
        """Read the client assertion, of which nothing is proved; once, if it can be read.

        Errors:  MalformedToken.
        """
        return parse(self.get("client_assertion").strip())


def read_form(body: bytes, content_type: str | None, authorization: str | None) -> dict[str, str]:
    """Read a form and the client's name and secret from HTTP Basic.

    Errors:  Refused 9002313. A body of another type is an empty form, as at Entra, which then misses
             `grant_type`.
    """
    if content_type is not None and content_type.partition(";")[0].strip().lower() != _FORM:
        return {}
    form = parse_form(body)
    if authorization is not None and authorization[:6].lower() == "basic ":
        client, secret = _basic(authorization[6:])
        form.setdefault("client_id", client)
        form.setdefault("client_secret", secret)
    return form


def parse_form(body: bytes) -> dict[str, str]:
    """Read application/x-www-form-urlencoded with unique names.

    Errors:  Refused 9002313.
    """
    try:
        parts = body.decode().split("&", MAX_PARAMETERS) if body else []
    except UnicodeDecodeError as exc:
        raise Refused(9002313, reason="the form is not UTF-8") from exc
    if len(parts) > MAX_PARAMETERS:
        raise Refused(9002313, reason=f"more than {MAX_PARAMETERS} parameters")
    form: dict[str, str] = {}
    for part in parts:
        is_alike = len(part) <= ALIKE_CHARS and part.startswith(_ALIKE)
        name, value = _parameter_alike(part) if is_alike else _parameter(part)
        # Two readers of one form must not see two values: RFC 6749 section 3.2.
        if name in form:
            raise Refused(9002313, reason="a parameter stands twice")
        form[name] = value
    return form


def _parameter(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals:
        raise Refused(9002313, reason="a parameter without '='")
    if "%" in part or "+" in part:
        name, value = _unescape(name), _unescape(value)
    return name, value


_parameter_alike = lru_cache(maxsize=256)(_parameter)


def _unescape(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError as exc:
        raise Refused(9002313, reason="a parameter is not UTF-8") from exc


def _basic(value: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError as exc:
        raise Refused(9002313, reason="the Basic credentials are not base64 of UTF-8") from exc
    client, _, secret = pair.partition(":")
    return _unescape(client), _unescape(secret)


def correlation_id(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> str:
    """Take the caller's request id from header or query if it is a GUID, or make one.

    Anything else would let a caller write what he likes into answers and logs.
    """
    for name, value in headers:
        if name in (b"client-request-id", b"x-ms-client-request-id"):
            text = value.decode("latin-1")
            if is_guid(text):
                return text
    if b"client-request-id=" in query:
        for part in query.decode("latin-1").split("&"):
            name_text, _, text = part.partition("=")
            if name_text in _ID_NAMES and is_guid(text):
                return text
    return new_id()


def new_id() -> str:
    """Make a random GUID (version 4): `uuid.uuid4` takes twice as long, and each answer bears one."""
    chance = os.urandom(16)
    h = chance.hex()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{'89ab'[chance[8] >> 6]}{h[17:20]}-{h[20:]}"


def error_body(
    refused: Refused, *, login: str, trace_id: str, correlation_id: str, now: float
) -> bytes:
    """Write the JSON body of a refusal.

    Shapes:  `login` is the origin whose /error page explains codes. Entra leaves `error_uri` out for codes
             without such a page; which those are is not known, so every code has one here.
    """
    number = refused.entry.number
    stamp = datetime.fromtimestamp(int(now), tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return orjson.dumps(
        {
            "error": refused.error,
            "error_description": f"{refused.entry.name}: {refused.message} Trace ID: {trace_id} "
            f"Correlation ID: {correlation_id} Timestamp: {stamp}",
            "error_codes": [number],
            "timestamp": stamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"{login}/error?code={number}",
        }
    )
