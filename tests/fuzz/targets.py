"""What is fuzzed: for each reader of untrusted bytes one function that fails when a rule of its is broken.

Two rules hold for all: nothing but the reader's own refusal is raised, and what we accept another library
accepts too and reads alike. (Never the reverse: we refuse much that others take.)
"""

import asyncio
import binascii
import json
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import parse_qsl

import jwt
import orjson
import yarl
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from podpass.crypto import jose
from podpass.directory.model import Tenant
from podpass.exchange import token_request
from podpass.exchange.client_auth import assertion, directory_lookup
from podpass.exchange.client_auth.issuer_discovery import IssuerDown, check_document
from podpass.exchange.errors.catalogue import Refused
from podpass.guids import is_guid
from podpass.http import fetcher, proxy_headers
from tests.fuzz.reviews import pod, review
from tests.fuzz.wires import TINY, Recorder, first_request

ISSUER = "https://oidc.test/x/"
PROXIES = (ip_network("10.0.0.0/8"),)
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384")
Target = Callable[[bytes], None]


def form(data: bytes) -> None:
    """Read a form: the names and values that the standard library reads, each name once."""
    try:
        read = token_request.parse_form(data)
    except Refused:
        return
    pairs = parse_qsl(
        data.decode(), keep_blank_values=True, strict_parsing=bool(data), errors="strict"
    )
    assert list(read.items()) == pairs
    assert len(read) <= token_request.MAX_PARAMETERS


def headers(data: bytes) -> None:
    """Read a content type, Basic credentials and a request id out of headers."""
    kind, _, rest = data.partition(b"\n")
    authorization, _, query = rest.partition(b"\n")
    assert is_guid(token_request.correlation_id([(b"client-request-id", authorization)], query))
    try:
        read = token_request.read_form(
            b"a=b", kind.decode("latin-1"), authorization.decode("latin-1")
        )
    except Refused:
        return
    assert read in ({}, {"a": "b"}) or set(read) == {"a", "client_id", "client_secret"}


def token(data: bytes) -> None:
    """Parse a compact JWS: one spelling, read alike by PyJWT and joserfc."""
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
    # Without these they have no opinion: a header that names no algorithm is refused by `verify`.
    if not isinstance(parsed.header.get("alg"), str) or not isinstance(
        parsed.header.get("kid", ""), str
    ):
        return
    other = jws.extract_compact(text.encode())
    assert (other.headers(), json.loads(other.payload)) == (parsed.header, parsed.claims)
    read = jwt.api_jws.PyJWS().decode_complete(text, options={"verify_signature": False})
    assert (read["header"], read["signature"]) == (parsed.header, parsed.signature)


def claims(data: bytes) -> None:
    """Read header and claims of an assertion, each as JSON of its own."""
    header, _, payload = data.partition(b"\n")
    text = f"{jose.b64encode(header)}.{jose.b64encode(payload)}.AAAA"
    try:
        token = jose.parse(text)
        read = assertion.read_claims(token, ALGORITHMS)
    except (Refused, jose.MalformedToken) as exc:
        assert exc.message.isprintable()
        return
    claim = assertion.claim_of(token)
    assert claim == (read.issuer, read.subject, read.audiences)
    again = json.loads(payload)
    assert (read.issuer, read.subject) == (again["iss"], again["sub"])
    assert read.expires == again["exp"]
    assert list(read.audiences) in ([again["aud"]], again["aud"])


def jwks(data: bytes) -> None:
    """Load a key set: every key in it is one for PyJWT and joserfc too, with the same numbers."""
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
    """Read JSON: what two other readers read, with no member twice."""
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
    """Decode base64url: what the standard library decodes, spelt in one way."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        read = jose.b64decode(text)
    except jose.MalformedToken:
        return
    padded = text.encode() + b"=" * (-len(text) % 4)
    assert read == binascii.a2b_base64(padded.translate(bytes.maketrans(b"-_", b"+/")))
    assert jose.b64encode(read) == text


def discovery(data: bytes) -> None:
    """Check a discovery document: it leads to the issuer's own host, as the client reads addresses."""
    try:
        document = jose.loads_object(data)
        check_document(document, ISSUER, ())
    except (jose.MalformedToken, IssuerDown):
        return
    assert document["issuer"] == ISSUER
    try:
        fetcher.split(document["jwks_uri"])
    except fetcher.FetchError:
        return
    where = yarl.URL(document["jwks_uri"])
    assert (where.scheme, where.host, where.port) == ("https", "oidc.test", 443)


def url(data: bytes) -> None:
    """Take an address apart as the client that connects does: a host that differs was never checked."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        parts = fetcher.split(text)
    except fetcher.FetchError as exc:
        assert exc.reason == "url"
        return
    try:
        read = yarl.URL(text)
        host, port = read.host, read.port
    except ValueError:
        return
    assert (read.scheme, port, read.user) == ("https", parts.port or 443, None)
    assert _place(host or "") == _place(str(parts.hostname))


def _place(host: str) -> object:
    """Tell hosts apart as those who connect do: an address may be spelt in several ways."""
    try:
        return ip_address(host)
    except ValueError:
        return host.lower()


def address(data: bytes) -> None:
    """Read a forwarded chain: an address that somebody wrote there, or the peer's own."""
    found = proxy_headers.source("10.0.0.1", [(proxy_headers.HEADER, data)], PROXIES)
    assert found == "10.0.0.1" or ip_address(found)


class _Nobody:
    """A directory without tenants, which notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find_tenant(self, name: str) -> None:
        self.asked.append(name)

    async def find_identity(self, _tenant: str, client: str) -> None:
        self.asked.append(client)


def names(data: bytes) -> None:
    """Judge the tenant of a path and a client id: the directory is asked for plain names only."""
    text = data.decode("utf-8", "surrogateescape")
    nobody: Any = _Nobody()
    for coroutine in (
        directory_lookup.find_tenant(nobody, text, grant="x"),
        directory_lookup.find_client(nobody, Tenant(id="t", display_name="t"), text),
    ):
        try:
            coroutine.send(None)
        except (Refused, StopIteration) as exc:
            assert not isinstance(exc, Refused) or exc.message.isprintable()
    for asked in nobody.asked:
        assert asked.isascii()
        assert all(sign.isalnum() or sign in "-." for sign in asked)
        assert 1 <= len(asked) <= 253


def _as_h11_wants(data: bytes) -> bytes:
    """Take away what RFC 9112 lets a server pass over, and h11 does not.

    A line break before a request (section 2.2), and more than one space between the parts of its line
    (section 3).
    """
    line, end, rest = data.lstrip(b"\r\n").partition(b"\n")
    return re.sub(rb" +", b" ", line) + end + rest


def http(data: bytes) -> None:
    """Feed a connection: no crash, bounded, and each request it hands on is one for h11 too."""
    loop = asyncio.new_event_loop()
    try:
        recorder = Recorder(loop)
        step = max(1, len(data) // 3)
        for at in range(0, len(data), step):
            recorder.feed(data[at : at + step])
        assert recorder.unread <= TINY.head_bytes + step
        if recorder.answered:
            method, path = recorder.requests[0]
            theirs = first_request(_as_h11_wants(data))
            assert theirs is not None
            assert theirs[0] == method
            assert path in theirs[1]
    finally:
        loop.close()


TARGETS: dict[str, Target] = {
    each.__name__: each
    for each in (
        address,
        base64url,
        claims,
        discovery,
        form,
        headers,
        http,
        json_object,
        jwks,
        names,
        pod,
        review,
        token,
        url,
    )
}
