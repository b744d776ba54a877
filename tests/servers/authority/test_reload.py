"""Reload of the serving certificate of a running authority."""

import signal
import socket
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from tests.servers.authority.running import TENANT, Authority

pytestmark = pytest.mark.processes


def _read_presented_certificate(authority: Authority) -> str:
    where = urlsplit(authority.facts["service"])
    address = (where.hostname or "", where.port or 0)
    with (
        socket.create_connection(address, timeout=10) as plain,
        authority.trust.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
    assert der is not None
    return ssl.DER_cert_to_PEM_cert(der)


def _encode_pem(leaf: object) -> str:
    return ssl.DER_cert_to_PEM_cert(
        ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())  # type: ignore[attr-defined]
    )


def test_every_worker_reloads_certificate_automatically(authority: Authority) -> None:
    authority.start(workers=2)
    kept = authority.connect()
    assert authority.request_token(kept).status == 200
    new = _encode_pem(authority.write_certificate())
    authority.until(lambda: {_read_presented_certificate(authority) for _ in range(10)} == {new})
    # An open connection continues with the old certificate.
    assert authority.request_token(kept).status == 200
    kept.close()
    assert len(authority.events("certificate_reloaded")) == 2


def test_sighup_reloads_certificate_immediately(authority: Authority) -> None:
    authority.start(workers=2, tls_poll_seconds=3600)
    old = _read_presented_certificate(authority)
    new = _encode_pem(authority.write_certificate())
    assert _read_presented_certificate(authority) == old
    authority.send_signal(signal.SIGHUP)
    authority.until(lambda: {_read_presented_certificate(authority) for _ in range(10)} == {new})
    assert authority.request_token().status == 200


def test_expired_certificate_is_a_warning_of_readiness_until_it_is_renewed(
    authority: Authority,
) -> None:
    """Fails if the only signs are a metric and a log line: clients refuse to connect."""
    authority.write_certificate(datetime.now(UTC) - timedelta(minutes=1))
    authority.start(workers=1)
    authority.until(lambda: authority.get("/readyz").body["warnings"])
    answer = authority.get("/readyz")
    assert (answer.status, answer.body["reasons"]) == (200, [])
    assert answer.body["warnings"] == [
        "the certificate (--tls-certificate) is expired, so clients refuse to connect; renew its files"
    ]
    authority.write_certificate()
    authority.until(lambda: not authority.get("/readyz").body["warnings"])
    assert authority.request_token().status == 200


def test_incomplete_certificate_change_is_not_loaded_and_logged(authority: Authority) -> None:
    authority.start(workers=1, admin_listen="127.0.0.1:0", tenant_id=TENANT)
    old = _read_presented_certificate(authority)
    key = (authority.folder / "tls.key").read_bytes()
    authority.write_certificate()
    (authority.folder / "tls.key").write_bytes(key)
    authority.until(lambda: authority.events("certificate_reload_failed"))
    assert _read_presented_certificate(authority) == old
    refused = "podpass_authority_certificate_reload_failures_total"
    behind = "podpass_authority_certificate_reload_failing"
    authority.until(lambda: authority.metrics()[refused] >= 2)  # also that of the admin process
    assert authority.metrics()[behind] == 1
    # The metric must return to 0 when the files are valid again, so that its alert ends.
    new = _encode_pem(authority.write_certificate())
    authority.until(lambda: _read_presented_certificate(authority) == new)
    authority.until(lambda: authority.metrics()[behind] == 0)
    assert authority.metrics()[refused] >= 2
