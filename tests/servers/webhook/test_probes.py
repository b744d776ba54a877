"""Probes: paths and queries of the reference, their reasons, and the check of the own port over TCP."""

import contextlib
import ssl
from functools import partial

import pytest
import trustme

from podpass.http.server import Receive, Scope, Send, bind, respond, server_tls, serving
from podpass.servers.webhook import probes
from podpass.servers.webhook.probes import PortCheck, Probe, answer, read_served_certificate
from tests.servers.webhook.running import Webhook


def probe(**reasons: str) -> Probe:
    return Probe(name="readyz", checks={name: partial(str, why) for name, why in reasons.items()})


WELL, ILL = probe(certificate="", accounts=""), probe(certificate="", accounts="not listed yet")


def test_successful_probe_returns_ok() -> None:
    assert answer(WELL, "", "") == (200, "ok")


def test_verbose_probe_lists_its_checks() -> None:
    text = "[+]certificate ok\n[+]accounts ok\nreadyz check passed\n"
    assert answer(WELL, "", "verbose") == (200, text)


def test_failed_probe_begins_with_the_reason() -> None:
    text = (
        "not listed yet\n[+]certificate ok\n[-]accounts failed: not listed yet\n"
        "readyz check failed\n"
    )
    assert answer(ILL, "", "") == (500, text)


def test_excluded_check_is_ignored() -> None:
    text = "[+]certificate ok\n[+]accounts excluded: ok\nreadyz check passed\n"
    assert answer(ILL, "", "exclude=accounts") == (200, "ok")
    assert answer(ILL, "", "exclude=accounts&verbose") == (200, text)
    assert answer(ILL, "", "exclude=readyz") == (200, "ok"), "the reference's only check"
    assert answer(ILL, "", "exclude=other")[0] == 500
    assert "no check to exclude has the name other" in answer(ILL, "", "exclude=other")[1]


@pytest.mark.parametrize(
    ("rest", "status", "text"),
    [
        ("certificate", 200, "ok"),
        ("accounts", 500, "internal server error: not listed yet\n"),
        ("other", 404, "no check has the name 'other'; the checks are certificate, accounts\n"),
    ],
)
def test_each_check_has_its_own_path(rest: str, status: int, text: str) -> None:
    assert answer(ILL, rest, "") == (status, text)


def test_check_of_the_reference_means_all_checks() -> None:
    assert answer(WELL, "readyz", "") == (200, "ok")
    assert answer(ILL, "readyz", "")[0] == 500


def test_both_probes_are_served_over_http(webhook: Webhook) -> None:
    webhook.start()
    assert webhook.get("/readyz").text == "ok"
    assert webhook.get("/readyz/").text == "ok"
    assert webhook.get("/healthz/healthz").text == "ok"
    lines = webhook.get("/readyz?verbose").text.splitlines()
    assert lines[-1] == "readyz check passed"
    assert {line.split()[0] for line in lines[:-1]} == {
        "[+]shutdown",
        "[+]version",
        "[+]certificate",
        "[+]accounts",
        "[+]handshake",
    }
    assert webhook.get("/readyz/handshake").text == "ok"
    assert webhook.get("/readyz/nothing").status == 404
    assert webhook.get("/other").status == 404
    assert webhook.get("/readyz", method="POST").status == 405
    assert webhook.get("/readyz", method="HEAD").status == 200


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
    monkeypatch.setattr(probes, "_TIMEOUT_SECONDS", 0.2)
    sock = bind("127.0.0.1", 0)
    with contextlib.closing(sock):
        port = PortCheck(sock, _context(ca))
        async with port.checking():
            assert "TLS handshake with the own port" in port.not_ready_reason()


def test_context_without_certificate_presents_none() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert read_served_certificate(context) is None
