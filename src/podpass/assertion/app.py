"""The issuer under its own host name: two public documents, read-only, no other paths."""

import logging
from collections.abc import Callable
from urllib.parse import urlsplit

import orjson

from podpass.assertion.keys import KeyRing
from podpass.crypto.jose import DISCOVERY_PATH
from podpass.errors import Error
from podpass.http.server import JSON, App, Receive, Scope, Send, header, respond
from podpass.kubernetes.service_account import discovery
from podpass.kubernetes.service_account.names import JWKS_PATH

_log = logging.getLogger(__name__)

# Clients may cache a document for this long, so they may accept a withdrawn key until then.
MAX_AGE_SECONDS = 300
_CACHE = (b"cache-control", f"public, max-age={MAX_AGE_SECONDS}".encode())
_TYPES = {DISCOVERY_PATH: discovery.DISCOVERY_TYPE, JWKS_PATH: discovery.JWKS_TYPE}


def create_app(issuer: str, ring: KeyRing) -> App:
    """Serve an issuer's discovery document and keys below the issuer's own path."""

    def read(path: str) -> bytes:
        if path == JWKS_PATH:
            return orjson.dumps(discovery.jwks_document(ring.public))
        return orjson.dumps(discovery.discovery_document(issuer))

    return create_document_app(issuer, read)


def create_document_app(issuer: str, read: Callable[[str], bytes | None]) -> App:
    """Serve the documents that `read` returns by their path after the issuer; None means not published."""
    base = urlsplit(discovery.issuer_base(issuer)).path

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            allow = (b"allow", b"GET, HEAD")
            await respond(
                send, 405, b'{"error":"only GET and HEAD are answered here"}', (JSON, allow)
            )
            return
        path = scope["path"].removeprefix(base)
        kind = _TYPES.get(path) if scope["path"] == base + path else None
        if kind is None:
            await respond(send, 404, b'{"error":"not found"}')
            return
        if not discovery.is_acceptable(header(scope, b"accept") or "", kind):
            # As strict as an API server: a program that fails here would fail with a cluster's issuer.
            body = b'{"error":"not acceptable: this document is %s"}' % kind
            await respond(send, 406, body)
            return
        try:
            document = read(path)
        except Error as exc:
            _log.error("issuer_document_read_failed", extra={"error": exc.message})
            await respond(send, 503, b'{"error":"the document cannot be read"}')
            return
        if document is None:
            await respond(send, 404, b'{"error":"not published yet"}')
            return
        _log.info("issuer_document_read", extra={"stage": "assertion", "path": scope["path"]})
        await respond(send, 200, document, ((b"content-type", kind), _CACHE))

    return app
