"""Limits of a running authority: clients over their rate wait, and floods are dropped."""

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlencode

import pytest

from podpass.servers.authority.worker import create_rate_limiter
from podpass.settings import AuthorityProcessSettings
from tests.servers.authority.running import (
    CLIENT,
    TOKEN,
    Answer,
    Authority,
    send,
    token_form,
)

pytestmark = pytest.mark.processes

HEAD = {"Content-Type": "application/x-www-form-urlencoded"}
LOOP, OTHER = "127.0.0.1", "127.64.0.2"
BLOCKING = {"workers": 1, "refused_rate": 0.1, "refused_burst": 2, "penalty_seconds": 60}


def _send_invalid_request(
    authority: Authority, source: str, forwarded: str | None = None
) -> Answer | None:
    """Send an invalid request from an address; return None if the connection is dropped."""
    connection = authority.connect(source=source)
    head = HEAD | ({"X-Forwarded-For": forwarded} if forwarded else {})
    try:
        return send(connection, "POST", TOKEN, urlencode(token_form(client_secret="wrong")), head)
    except (ConnectionError, ssl.SSLError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def test_address_over_rate_waits_and_others_continue(authority: Authority) -> None:
    authority.start(workers=1, source_rate=0.1, source_burst=2)
    assert [authority.request_token().status for _ in range(3)] == [200, 200, 429]
    answer = _send_invalid_request(authority, OTHER)
    assert answer is not None
    assert answer.status == 401


def test_flood_of_refused_requests_is_dropped_before_tls(authority: Authority) -> None:
    authority.start(workers=1, refused_rate=0.1, refused_burst=5, penalty_seconds=60)
    assert authority.request_token().status == 200
    answers = [_send_invalid_request(authority, OTHER) for _ in range(10)]
    assert [answer.status for answer in answers if answer] == [401] * 6
    assert answers[6:] == [None] * 4
    authority.wait_for_counter("podpass_exchange_dropped_connections_total", 4)
    assert authority.events("source_blocked")[0]["source"] == OTHER
    # An address that has received a token is not blocked for refused requests.
    assert [_send_invalid_request(authority, LOOP) is None for _ in range(10)] == [False] * 10
    assert authority.request_token().status == 200


def test_flood_over_open_connection_closes_it(authority: Authority) -> None:
    """The attack: one handshake, then an endless series of refused requests."""
    authority.start(workers=1, refused_rate=0.1, refused_burst=20, penalty_seconds=60)
    form = urlencode(token_form(client_secret="wrong"))
    good, flood = authority.connect(), authority.connect(source=OTHER)
    assert authority.request_token(good).status == 200
    for _ in range(21):
        assert send(flood, "POST", TOKEN, form, HEAD).status == 401
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        send(flood, "POST", TOKEN, form, HEAD)
    assert authority.request_token(good).status == 200
    authority.wait_for_counter("podpass_exchange_dropped_connections_total", 1)
    good.close()
    flood.close()


def _completes_handshake(authority: Authority, source: str) -> bool:
    """Connect from an address without a request; return whether the handshake succeeded."""
    connection = authority.connect(source=source)
    try:
        connection.connect()
    except (ConnectionError, ssl.SSLError):
        return False
    finally:
        connection.close()
    return True


def test_flood_of_handshakes_is_dropped_before_tls(authority: Authority) -> None:
    """The attack: a handshake costs as much as an exchange, without a request that could be refused."""
    authority.start(workers=1, refused_rate=0.1, refused_burst=5, penalty_seconds=60)
    kept = authority.connect()
    assert authority.request_token(kept).status == 200
    authority.until(lambda: not _completes_handshake(authority, OTHER))
    assert _send_invalid_request(authority, OTHER) is None
    assert authority.events("source_blocked")[0]["source"] == OTHER
    assert authority.request_token(kept).status == 200
    kept.close()
    assert authority.request_token().status == 200


def test_trusted_proxy_may_connect_without_request(authority: Authority) -> None:
    """As its health checks do: if it were blocked, all clients behind it would be blocked too."""
    authority.start(**BLOCKING, trusted_proxy=f"{OTHER}/32")
    assert all(_completes_handshake(authority, OTHER) for _ in range(8))
    assert _send_invalid_request(authority, OTHER, forwarded="192.0.2.1") is not None
    assert not authority.events("source_blocked")


def test_forwarded_address_of_other_peer_is_ignored(authority: Authority) -> None:
    authority.start(**BLOCKING)
    for number in range(4):
        _send_invalid_request(authority, OTHER, forwarded=f"192.0.2.{number}")
    assert _send_invalid_request(authority, OTHER, forwarded="192.0.2.9") is None


def test_trusted_proxy_is_not_blocked_for_forwarded_clients(authority: Authority) -> None:
    authority.start(**BLOCKING, trusted_proxy=f"{OTHER}/32")
    answers = [_send_invalid_request(authority, OTHER, forwarded="192.0.2.1") for _ in range(8)]
    # The forwarded client gets error responses; the connection stays open for other clients.
    assert [answer.status for answer in answers if answer] == [401] * 3 + [429] * 5
    fresh = _send_invalid_request(authority, OTHER, forwarded="192.0.2.2")
    assert fresh is not None
    assert fresh.status == 401
    assert authority.events("source_blocked")[0]["source"] == "192.0.2.1"


def test_trusted_proxy_is_not_blocked_for_its_own_requests(authority: Authority) -> None:
    """Its health checks may be refused: if it were blocked, all clients behind it would be blocked too."""
    authority.start(**BLOCKING, trusted_proxy=f"{OTHER}/32")
    answers = [_send_invalid_request(authority, OTHER) for _ in range(6)]
    assert [answer.status for answer in answers if answer] == [401] * 3 + [429] * 3
    fresh = _send_invalid_request(authority, OTHER, forwarded="192.0.2.1")
    assert fresh is not None
    assert fresh.status == 401


def test_worker_has_share_of_rate_and_burst() -> None:
    now = 100.0
    process = AuthorityProcessSettings(
        database="sqlite:////x.db",
        sealing_key_file=Path("/s"),
        tls_certificate=Path("/c"),
        tls_key=Path("/k"),
        workers=4,
        source_rate=2,
        source_burst=8,
    )
    limiter = create_rate_limiter(process, lambda: now)
    assert [limiter.acquire(LOOP, "") for _ in range(3)] == [None, None, pytest.approx(2)]


def test_each_worker_enforces_its_share(authority: Authority) -> None:
    authority.start(workers=2, client_rate=0.2, client_burst=8)
    statuses = [authority.request_token().status for _ in range(20)]
    assert 4 <= statuses.count(200) <= 8


def test_limits_can_be_disabled(authority: Authority) -> None:
    off = {"client_rate": 0, "source_rate": 0, "refused_rate": 0, "source_connections": 0}
    authority.start(workers=1, client_burst=1, source_burst=1, refused_burst=1, **off)
    connection = authority.connect()
    assert {
        authority.request_token(connection, client_secret="wrong").status for _ in range(20)
    } == {401}
    assert {authority.request_token(connection).status for _ in range(20)} == {200}
    connection.close()
    assert CLIENT
