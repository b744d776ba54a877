"""The wire format of the token endpoint: the form, the JSON error, trace ID and correlation ID."""

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
from podpass.crypto.jose import MalformedToken, UnverifiedToken, loads_object, parse
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.guids import is_guid

MAX_PARAMETERS = 64
_FORM = "application/x-www-form-urlencoded"
_ID_NAMES = ("client-request-id", "x-ms-client-request-id")
# Parameters that are the same in the requests of many pods. Parameters that may contain secrets are not
# cached.
_CACHEABLE = ("client_assertion_type=", "grant_type=", "scope=", "resource=")
MAX_CACHED_CHARS = 256
_MAX_CLAIMS_CHARS = 4096
# The client handles the challenges of Continuous Access Evaluation.
_CAPABILITY = "cp1"


@dataclass(slots=True)
class RequestRecord:
    """What the log line of a request says; the checks add to it while they run.

    `skipped` are the steps that do not apply to the grant or the kind of credential.
    """

    source: str = ""
    skipped: tuple[str, ...] = ()
    signatures_checked: int = 1
    fields: dict[str, Any] = field(default_factory=dict)

    def add(self, **fields: Any) -> None:
        """Add fields to the log line, or replace them."""
        self.fields.update(fields)

    def skip(self, steps: tuple[str, ...]) -> None:
        """Record further steps that do not apply."""
        self.skipped += steps


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """A parsed token request, which is not checked yet.

    `tenant` is as in the path; `version` is that of the endpoint, 1 or 2; `origin` is the origin of this
    service that the request was sent to. The form's values may contain credentials. `record` is the only part
    that changes.
    """

    tenant: str
    version: int
    origin: str
    form: Mapping[str, str] = field(repr=False)
    cloud: Cloud = PUBLIC
    record: RequestRecord = field(default_factory=RequestRecord, repr=False, compare=False)

    def get(self, name: str) -> str:
        """Return a parameter; empty if it is missing."""
        return self.form.get(name, "")

    @cached_property
    def assertion(self) -> UnverifiedToken:
        """Parse the client assertion without verifying it; the result is cached. Raises MalformedToken."""
        text = self.get("client_assertion").strip()
        if "=" not in text:
            return parse(text)
        # The asynchronous CertificateCredential of azure-identity for Python pads its assertion. Tokens of
        # issuers have no padding.
        token = parse(text, padded=True)
        if not is_guid(token.claims.get("iss")):
            raise MalformedToken("not base64url")
        return token


def read_capabilities(request: TokenRequest) -> tuple[str, ...]:
    """Return the client's capabilities for the claim `xms_cc`, from the parameter `claims` (OIDC Core, 5.5).

    As the client wrote them; other claims and unknown capabilities are ignored, as in Entra. Raises
    AadstsError 9002313.
    """
    text = request.get("claims")
    if not text:
        return ()
    if len(text) > _MAX_CLAIMS_CHARS:
        raise _malformed_claims(f"longer than {_MAX_CLAIMS_CHARS} characters")
    try:
        found: object = loads_object(text.encode())
    except MalformedToken as exc:
        raise _malformed_claims(exc.message) from exc
    for name in ("access_token", "xms_cc", "values"):
        found = found.get(name) if isinstance(found, dict) else None
    values = found if isinstance(found, list) else []
    return tuple(dict.fromkeys(one for one in values if str(one).lower() == _CAPABILITY))


def _malformed_claims(reason: str) -> AadstsError:
    error = AadstsError(numbers.MALFORMED_REQUEST, reason=f"the parameter claims is {reason}")
    return error.with_response(step="request")


def read_form(body: bytes, content_type: str | None, authorization: str | None) -> dict[str, str]:
    """Parse a form, and the client ID and secret from HTTP Basic.

    A body with another content type counts as an empty form, as in Entra, so that `grant_type` is missing.

    Raises AadstsError 9002313.
    """
    if content_type is not None and content_type.partition(";")[0].strip().lower() != _FORM:
        return {}
    form = parse_form(body)
    if authorization is not None and authorization[:6].lower() == "basic ":
        client, secret = _parse_basic(authorization[6:])
        form.setdefault("client_id", client)
        form.setdefault("client_secret", secret)
    return form


def parse_form(body: bytes) -> dict[str, str]:
    """Parse application/x-www-form-urlencoded with unique names. Raises AadstsError 9002313."""
    try:
        parts = body.decode().split("&", MAX_PARAMETERS) if body else []
    except UnicodeDecodeError as exc:
        raise AadstsError(numbers.MALFORMED_REQUEST, reason="the form is not UTF-8") from exc
    if len(parts) > MAX_PARAMETERS:
        raise AadstsError(
            numbers.MALFORMED_REQUEST, reason=f"more than {MAX_PARAMETERS} parameters"
        )
    form: dict[str, str] = {}
    for part in parts:
        is_cacheable = len(part) <= MAX_CACHED_CHARS and part.startswith(_CACHEABLE)
        name, value = _cached_parameter(part) if is_cacheable else _parse_parameter(part)
        # Two parsers must not read different values from one form: RFC 6749 section 3.2.
        if name in form:
            raise AadstsError(numbers.MALFORMED_REQUEST, reason="a parameter occurs twice")
        form[name] = value
    return form


def _parse_parameter(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals:
        raise AadstsError(numbers.MALFORMED_REQUEST, reason="a parameter without '='")
    if "%" in part or "+" in part:
        name, value = _unescape(name), _unescape(value)
    return name, value


_cached_parameter = lru_cache(maxsize=256)(_parse_parameter)


def _unescape(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError as exc:
        raise AadstsError(numbers.MALFORMED_REQUEST, reason="a parameter is not UTF-8") from exc


def _parse_basic(value: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError as exc:
        raise AadstsError(
            numbers.MALFORMED_REQUEST, reason="the Basic credentials are not base64 of UTF-8"
        ) from exc
    client, _, secret = pair.partition(":")
    return _unescape(client), _unescape(secret)


def correlation_id(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> str:
    """Return the caller's request ID from header or query if it is a GUID, otherwise a new ID.

    Without this check a caller could write any text into responses and logs.
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
    """Return a random GUID (version 4), faster than `uuid.uuid4`."""
    random = os.urandom(16)
    h = random.hex()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{'89ab'[random[8] >> 6]}{h[17:20]}-{h[20:]}"


def error_body(
    refused: AadstsError, *, login: str, trace_id: str, correlation_id: str, now: float
) -> bytes:
    """Return the JSON body of an error.

    `login` is the origin whose /error page explains the codes. Entra omits `error_uri` for codes without such
    a page. These codes are not documented, so every code has `error_uri` here.
    """
    number = refused.entry.number
    stamp = datetime.fromtimestamp(int(now), tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    suberror = {"suberror": refused.entry.suberror} if refused.entry.suberror else {}
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
            **suberror,
        }
    )
