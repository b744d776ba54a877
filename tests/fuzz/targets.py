"""Fuzz targets: for each parser of untrusted bytes one function that fails when a rule is violated.

Two rules apply to all: a parser raises only its own error, and another library accepts what our parser
accepts and returns the same values. The reverse is not required: our parsers are stricter than others.
"""

import asyncio
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Callable
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import parse_qsl

import jwt
import orjson
import yarl
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from podpass.crypto import jose
from podpass.directory import claims_expression
from podpass.directory.errors import InvalidExpression
from podpass.directory.model import Tenant
from podpass.errors import UsageError
from podpass.exchange import token_request
from podpass.exchange.client_auth import assertion, directory_lookup
from podpass.exchange.client_auth.issuer_discovery import IssuerUnavailable, check_document
from podpass.exchange.errors.catalogue import AadstsError
from podpass.guids import is_guid
from podpass.http import fetcher, proxy_headers
from podpass.http.content_coding import BodyRefused, decode
from podpass.lab.pipelines.platforms import ISSUERS, parse_job
from tests.fuzz.certificates import certificate, certificate_policy
from tests.fuzz.connections import TINY, RecordingConnection, first_request
from tests.fuzz.growth import growth
from tests.fuzz.reviews import pod, review
from tests.fuzz.scan import jar, layer, library_file

ISSUER = "https://oidc.test/x/"
PROXIES = (ip_network("10.0.0.0/8"),)
_EXPRESSION_ISSUER = claims_expression.KubernetesIssuers(issuers=frozenset({ISSUER}))
_DECODED_BYTES = 4096
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384")
FuzzTarget = Callable[[bytes], None]


def form(data: bytes) -> None:
    """Parse a form: the result equals that of the standard library, and each name is unique."""
    try:
        read = token_request.parse_form(data)
    except AadstsError:
        return
    pairs = parse_qsl(
        data.decode(), keep_blank_values=True, strict_parsing=bool(data), errors="strict"
    )
    assert list(read.items()) == pairs
    assert len(read) <= token_request.MAX_PARAMETERS


def headers(data: bytes) -> None:
    """Parse a content type, Basic credentials and a request id from headers."""
    kind, _, rest = data.partition(b"\n")
    authorization, _, query = rest.partition(b"\n")
    assert is_guid(token_request.correlation_id([(b"client-request-id", authorization)], query))
    try:
        read = token_request.read_form(
            b"a=b", kind.decode("latin-1"), authorization.decode("latin-1")
        )
    except AadstsError:
        return
    assert read in ({}, {"a": "b"}) or set(read) == {"a", "client_id", "client_secret"}


def token(data: bytes) -> None:
    """Parse a compact JWS: it has one encoding, and PyJWT and joserfc return the same values."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        parsed = jose.parse(text)
    except jose.MalformedToken as exc:
        assert len(text) < 12 or text not in exc.message
        return
    head, body, tail = text.split(".")
    assert [jose.b64encode(jose.b64decode(each)) for each in (head, body, tail)] == [
        head,
        body,
        tail,
    ]
    assert jose.b64encode(parsed.signature) == tail
    assert json.loads(jose.b64decode(body)) == parsed.claims
    # PyJWT and joserfc need these members; `verify` refuses a header that names no algorithm.
    if not isinstance(parsed.header.get("alg"), str) or not isinstance(
        parsed.header.get("kid", ""), str
    ):
        return
    other = jws.extract_compact(text.encode())
    assert (other.headers(), json.loads(other.payload)) == (parsed.header, parsed.claims)
    read = jwt.api_jws.PyJWS().decode_complete(text, options={"verify_signature": False})
    assert (read["header"], read["signature"]) == (parsed.header, parsed.signature)


def claims(data: bytes) -> None:
    """Parse the header and the claims of an assertion, each as separate JSON."""
    header, _, payload = data.partition(b"\n")
    text = f"{jose.b64encode(header)}.{jose.b64encode(payload)}.AAAA"
    try:
        token = jose.parse(text)
        read = assertion.read_claims(token, ALGORITHMS)
    except (AadstsError, jose.MalformedToken) as exc:
        assert exc.message.isprintable()
        return
    claim = assertion.peek_claim(token)
    assert claim == (read.issuer, read.subject, read.audiences)
    again = json.loads(payload)
    assert (read.issuer, read.subject) == (again["iss"], again["sub"])
    assert read.expires == again["exp"]
    assert list(read.audiences) in ([again["aud"]], again["aud"])


def jwks(data: bytes) -> None:
    """Load a key set: PyJWT and joserfc accept every key with the same numbers."""
    try:
        document = jose.loads_object(data)
        keys = jose.load_jwks(document)
    except (jose.MalformedToken, jose.BadKey):
        return
    assert len(keys) <= jose.MAX_KEYS
    for entry in document["keys"][: jose.MAX_KEYS]:
        if isinstance(entry, dict):
            _one_key(entry)


def _one_key(entry: dict[str, Any]) -> None:
    try:
        key = jose.load_jwk(entry)
    except (jose.MalformedToken, jose.BadKey):
        return
    public: Any = {
        str(name): entry[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in entry
    }
    kind = RSAKey if entry["kty"] == "RSA" else ECKey
    alg = "RS256" if entry["kty"] == "RSA" else next(iter(key.algs))
    assert key.key.public_numbers() == kind.import_key(public).public_key.public_numbers()
    assert key.key.public_numbers() == jwt.PyJWK(public, alg).key.public_numbers()
    assert key.key.key_size >= 256
    assert entry["kty"] == "EC" or jose.MIN_RSA_BITS <= key.key.key_size <= jose.MAX_RSA_BITS


def json_object(data: bytes) -> None:
    """Parse JSON: the result equals that of two other parsers, and no member is duplicate."""
    try:
        read = jose.loads_object(data)
    except jose.MalformedToken:
        return
    seen: list[list[str]] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen.append([name for name, _ in pairs])
        return dict(pairs)

    exact = json.loads(data.decode(), object_pairs_hook=note)
    assert all(len(set(each)) == len(each) for each in seen)
    assert repr(read) == repr(exact)
    assert orjson.loads(data).keys() == read.keys()


def base64url(data: bytes) -> None:
    """Decode base64url: the result equals that of the standard library, and the encoding is canonical."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        read = jose.b64decode(text)
    except jose.MalformedToken:
        return
    padded = text.encode() + b"=" * (-len(text) % 4)
    assert read == binascii.a2b_base64(padded.translate(bytes.maketrans(b"-_", b"+/")))
    assert jose.b64encode(read) == text


def discovery(data: bytes) -> None:
    """Check a discovery document: its keys URL is on the issuer's host, as the HTTP client parses URLs."""
    try:
        document = jose.loads_object(data)
        check_document(document, ISSUER, ())
    except (jose.MalformedToken, IssuerUnavailable):
        return
    assert document["issuer"] == ISSUER
    try:
        fetcher.parse_url(document["jwks_uri"])
    except fetcher.FetchError:
        return
    where = yarl.URL(document["jwks_uri"])
    assert (where.scheme, where.host, where.port) == ("https", "oidc.test", 443)


def url(data: bytes) -> None:
    """Parse a URL: its host is the one to which the HTTP client connects, so the correct host is checked."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        parts = fetcher.parse_url(text)
    except fetcher.FetchError as exc:
        assert exc.reason == "url"
        return
    try:
        read = yarl.URL(text)
        host, port = read.host, read.port
    except ValueError:
        return
    assert (read.scheme, port, read.user) == ("https", parts.port or 443, None)
    assert _normalized_host(host or "") == _normalized_host(str(parts.hostname))


def content_coding(data: bytes) -> None:
    """Decode a body and compare the result with the standard library; the first byte chooses the coding."""
    coding, theirs = (("gzip", gzip.decompress), ("deflate", zlib.decompress))[data[:1] > b"m"]
    try:
        decoded = decode(coding, data[1:], _DECODED_BYTES)
    except BodyRefused:
        return
    assert len(decoded) <= _DECODED_BYTES
    assert decoded == (theirs(data[1:]) if data[1:] else b"")


def _normalized_host(host: str) -> object:
    """Normalize a host as a connecting client does: an IP address has several spellings."""
    try:
        return ip_address(host)
    except ValueError:
        return host.lower()


def address(data: bytes) -> None:
    """Parse X-Forwarded-For: the result is an address in the header or the peer's address."""
    found = proxy_headers.client_address("10.0.0.1", [(proxy_headers.HEADER, data)], PROXIES)
    assert found == "10.0.0.1" or ip_address(found)


class _EmptyDirectory:
    """A directory without tenants that records the queries."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find_tenant(self, name: str) -> None:
        self.asked.append(name)

    async def find_identity(self, _tenant: str, client: str) -> None:
        self.asked.append(client)


def names(data: bytes) -> None:
    """Look up the tenant of a path and a client id: the directory gets only plain names."""
    text = data.decode("utf-8", "surrogateescape")
    empty: Any = _EmptyDirectory()
    for coroutine in (
        directory_lookup.find_tenant(empty, text, grant="x"),
        directory_lookup.find_client(empty, Tenant(id="t", display_name="t"), text),
    ):
        try:
            coroutine.send(None)
        except (AadstsError, StopIteration) as exc:
            assert not isinstance(exc, AadstsError) or exc.message.isprintable()
    for asked in empty.asked:
        assert asked.isascii()
        assert all(sign.isalnum() or sign in "-." for sign in asked)
        assert 1 <= len(asked) <= 253


def expression(data: bytes) -> None:
    """Parse an expression and compare claims: fnmatch gives the same result, and no namespace is open.

    The first line is the expression, the second the subject of a token.
    """
    text, _, subject = data.decode("utf-8", "surrogateescape").partition("\n")
    try:
        clauses = claims_expression.parse(text)
    except InvalidExpression:
        return
    assert " and ".join(map(str, clauses)) == text
    presented = {clause.claim: subject for clause in clauses}
    for clause in clauses:
        wanted = clause.value
        if clause.operator == "eq":
            same = subject == wanted
        else:
            same = fnmatchcase(subject, wanted.replace("[", "[[]"))
        assert clause.holds(presented) == same or len(subject) > 2048
        assert same or clause.describe_difference(presented)
    try:
        claims_expression.check_expression(ISSUER, text, _EXPRESSION_ISSUER)
    except InvalidExpression:
        return
    if not claims_expression.failing_clauses(text, {"sub": subject}):
        for clause in clauses:
            prefix, wildcard, _ = clause.value.split(":")[2].replace("?", "*").partition("*")
            assert not wildcard or prefix[1:].endswith("-") or clause.operator == "eq"
            assert subject.startswith(f"system:serviceaccount:{prefix}")


def job(data: bytes) -> None:
    """Parse the name of a job: its subject has every part of the name, in the same order."""
    text = data.decode(errors="replace")
    try:
        found = parse_job(text)
    except UsageError:
        return
    platform, _, rest = text.partition(":")
    assert found.platform == platform
    assert found.is_entra or found.issuer.startswith(ISSUERS[platform])
    # Azure DevOps and HCP Terraform separate by other characters, and ids are in lower case.
    named = re.split("[:/]", rest.lower())
    assert [each for each in re.split("[:/]", found.subject.lower()) if each in named] == named
    assert not found.claims.keys() & {"iss", "sub", "aud", "exp", "nbf", "iat"}
    assert 0 < found.seconds <= 7200
    assert (
        orjson.loads(orjson.dumps({**found.claims, "sub": found.subject}))["sub"] == found.subject
    )


def _normalize_for_h11(data: bytes) -> bytes:
    """Remove what RFC 9112 allows a server to ignore and h11 refuses.

    These are a line break before a request (section 2.2) and repeated spaces in the request line (section 3).
    """
    line, end, rest = data.lstrip(b"\r\n").partition(b"\n")
    return re.sub(rb" +", b" ", line) + end + rest


def http(data: bytes) -> None:
    """Feed a connection: no crash, bounded memory, and h11 parses the same requests."""
    loop = asyncio.new_event_loop()
    try:
        recorder = RecordingConnection(loop)
        step = max(1, len(data) // 3)
        for at in range(0, len(data), step):
            recorder.feed(data[at : at + step])
        assert recorder.unread <= TINY.head_bytes + step
        if recorder.answered:
            method, path = recorder.requests[0]
            theirs = first_request(_normalize_for_h11(data))
            assert theirs is not None
            assert theirs[0] == method
            assert path in theirs[1]
    finally:
        loop.close()


TARGETS: dict[str, FuzzTarget] = {
    each.__name__: each
    for each in (
        *(address, base64url, certificate, certificate_policy, claims, content_coding, discovery),
        *(expression, form, growth, headers, http),
        *(jar, job, json_object, jwks, layer, library_file),
        *(names, pod, review, token, url),
    )
}
