"""The issuer under its own host name: two public documents, read-only, no other paths."""

import logging
from urllib.parse import urlsplit

import orjson

from podpass.assertion.keys import KeyRing
from podpass.crypto.jose import DISCOVERY_PATH
from podpass.http.server import JSON, App, Receive, Scope, Send, header, respond
from podpass.kubernetes.service_account import discovery
from podpass.kubernetes.service_account.names import JWKS_PATH

_log = logging.getLogger(__name__)

# Clients may cache a document for this long, so they may accept a withdrawn key until then.
MAX_AGE_SECONDS = 300
_CACHE = (b"cache-control", f"public, max-age={MAX_AGE_SECONDS}".encode())


def create_app(issuer: str, ring: KeyRing) -> App:
    """Serve an issuer's discovery document and keys below the issuer's own path."""
    path = urlsplit(discovery.issuer_base(issuer)).path

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            allow = (b"allow", b"GET, HEAD")
            await respond(
                send, 405, b'{"error":"only GET and HEAD are answered here"}', (JSON, allow)
            )
            return
        if scope["path"] == path + DISCOVERY_PATH:
            document, kind = discovery.discovery_document(issuer), discovery.DISCOVERY_TYPE
        elif scope["path"] == path + JWKS_PATH:
            document, kind = discovery.jwks_document(ring.public), discovery.JWKS_TYPE
        else:
            await respond(send, 404, b'{"error":"not found"}')
            return
        if not discovery.is_acceptable(header(scope, b"accept") or "", kind):
            # As strict as an API server: a program that fails here would fail with a cluster's issuer.
            body = b'{"error":"not acceptable: this document is %s"}' % kind
            await respond(send, 406, body)
            return
        _log.info("issuer_document_read", extra={"stage": "assertion", "path": scope["path"]})
        await respond(send, 200, orjson.dumps(document), ((b"content-type", kind), _CACHE))

    return app
