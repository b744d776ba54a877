"""The check of the own port over TCP."""

import contextlib
import ssl

import pytest
import trustme

from podpass.http.server import Receive, Scope, Send, bind, respond, server_tls, serving
from podpass.servers.webhook import self_check
from podpass.servers.webhook.self_check import PortCheck, read_served_certificate


async def _app(_scope: Scope, _receive: Receive, send: Send) -> None:
    await respond(send, 200, b"")


def _context(ca: trustme.CA) -> ssl.SSLContext:
    leaf = ca.issue_cert("127.0.0.1")
    with leaf.private_key_and_cert_chain_pem.tempfile() as path:
        return server_tls(path, path)


async def test_port_with_the_expected_certificate_is_ready(ca: trustme.CA) -> None:
    sock, context = bind("127.0.0.1", 0), _context(ca)
    port = PortCheck(sock, context)
    assert "has not been checked" in port.not_ready_reason()
    async with serving(_app, sock, context), port.checking():
        assert port.not_ready_reason() == ""


async def test_port_with_another_certificate_is_reported(ca: trustme.CA) -> None:
    """Another process may use the port."""
    sock = bind("127.0.0.1", 0)
    port = PortCheck(sock, _context(ca))
    async with serving(_app, sock, _context(ca)), port.checking():
        assert "presents another certificate" in port.not_ready_reason()


async def test_port_without_response_is_reported(
    ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "_TIMEOUT_SECONDS", 0.2)
    sock = bind("127.0.0.1", 0)
    with contextlib.closing(sock):
        port = PortCheck(sock, _context(ca))
        async with port.checking():
            assert "TLS handshake with the own port" in port.not_ready_reason()


def test_context_without_certificate_presents_none() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert read_served_certificate(context) is None
