"""Looking at one's own port from outside."""

import contextlib
import ssl

import pytest
import trustme

from podpass.http.server import Receive, Scope, Send, bind, respond, server_tls, serving
from podpass.servers.webhook import self_check
from podpass.servers.webhook.self_check import OwnPort, served


async def _app(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, 200, b"")


def _context(ca: trustme.CA) -> ssl.SSLContext:
    leaf = ca.issue_cert("127.0.0.1")
    with leaf.private_key_and_cert_chain_pem.tempfile() as path:
        return server_tls(path, path)


async def test_a_port_that_shows_what_is_meant_to_be_served_is_well(ca: trustme.CA) -> None:
    sock, context = bind("127.0.0.1", 0), _context(ca)
    port = OwnPort(sock, context)
    assert "has not been asked" in port.trouble()
    async with serving(_app, sock, context), port.watching():
        assert port.trouble() == ""


async def test_a_port_that_shows_another_certificate_is_told(ca: trustme.CA) -> None:
    """Another process may have got hold of the port."""
    sock = bind("127.0.0.1", 0)
    port = OwnPort(sock, _context(ca))
    async with serving(_app, sock, _context(ca)), port.watching():
        assert "shows another certificate" in port.trouble()


async def test_a_port_that_answers_nobody_is_told(
    ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "_PATIENCE_SECONDS", 0.2)
    sock = bind("127.0.0.1", 0)
    with contextlib.closing(sock):
        port = OwnPort(sock, _context(ca))
        async with port.watching():
            assert "no TLS handshake" in port.trouble()


def test_a_context_without_a_certificate_serves_none() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert served(context) is None
