"""Invalid and hostile requests to the running process, which must keep serving."""

import contextlib
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.webhook.kubernetes import CLIENT, Kubernetes
from tests.servers.webhook.running import PATH, Answer, Webhook, pod, review

pytestmark = pytest.mark.processes

HUGE = 8 * 1024 * 1024


@pytest.fixture
def running_webhook(webhook: Webhook) -> Iterator[Webhook]:
    """Provide a running webhook; after each test, check that it still answers a valid review."""
    webhook.start()
    pid = webhook.pid
    yield webhook
    assert _review_pod(webhook)["allowed"] is True
    assert webhook.pid == pid
    assert not [line for line in webhook.lines() if "traceback" in line]


def _review_pod(webhook: Webhook) -> dict[str, object]:
    answer: dict[str, object] = webhook.review(pod(account="account-0"), "team-0").body["response"]
    return answer


def _code(answer: Answer) -> int:
    """Return the status code of the review, or that of HTTP if there is no review."""
    if answer.status != 200:
        return answer.status
    response = answer.body["response"]
    return 200 if response["allowed"] else int(response["status"]["code"])


GOOD = review(pod(account="account-0"), "team-0")


@pytest.mark.parametrize(
    "body", [b"", GOOD[: len(GOOD) // 2], b'{"request":' * 2000 + b"1" + b"}" * 2000, bytes(1000)]
)
def test_invalid_review_is_refused(running_webhook: Webhook, body: bytes) -> None:
    assert _code(running_webhook.post(body)) == 400


def test_too_large_body_is_refused_and_logged(running_webhook: Webhook) -> None:
    body = b'{"a":"' + b"x" * HUGE + b'"}'
    assert _code(running_webhook.post(body)) == 413
    running_webhook.until(
        lambda: [line for line in running_webhook.lines() if line.get("code") == "body_too_large"]
    )


def _resident_megabytes(running_webhook: Webhook) -> int:
    status = Path(f"/proc/{running_webhook.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def test_unfinished_large_bodies_use_bounded_memory(running_webhook: Webhook) -> None:
    """Each request uses memory for its body: sixty concurrent requests would exceed the chart's limit."""
    before = _resident_megabytes(running_webhook)
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    opened = [running_webhook.raw() for _ in range(60)]
    for connection in opened:
        with contextlib.suppress(OSError):
            connection.sendall(f"{head}content-length: 3000000\r\n\r\n".encode())
            connection.sendall(b" " * 2_900_000)
    running_webhook.until(
        lambda: [
            line
            for line in running_webhook.lines()
            if line.get("code") == "memory_budget_exhausted"
        ]
    )
    assert _review_pod(running_webhook)["allowed"] is True
    assert _resident_megabytes(running_webhook) - before < 90
    for connection in opened:
        connection.close()


def test_slow_body_is_closed(running_webhook: Webhook) -> None:
    connection = running_webhook.raw()
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: 90000\r\n\r\n"
    connection.sendall(head.encode() + b" " * 80_000)
    end = (
        time.monotonic() + 40
    )  # at a kilobyte per second the connection would stay open for a minute and a half
    while not _is_closed(connection):
        assert time.monotonic() < end
        with contextlib.suppress(OSError):
            connection.sendall(b" ")
    connection.close()


def test_review_that_needs_a_gigabyte_is_refused(kubernetes: Kubernetes, webhook: Webhook) -> None:
    annotations = kubernetes.accounts["team-0/account-0"]["metadata"]["annotations"]
    annotations[CLIENT] = "c" * 200_000
    webhook.start()
    many = [{"name": f"c{n}"} for n in range(1000)]
    answer = webhook.review(pod(account="account-0", containers=many), "team-0")
    assert _code(answer) == 400
    assert _resident_megabytes(webhook) < 160


def test_other_methods_and_paths_are_refused(running_webhook: Webhook) -> None:
    connection = running_webhook.connect()
    connection.request("GET", "/../etc/passwd")
    assert connection.getresponse().status in (400, 404)
    connection.close()


def test_plain_http_on_the_tls_port_is_closed(running_webhook: Webhook) -> None:
    with socket.create_connection(
        ("127.0.0.1", running_webhook.port("webhook")), timeout=20
    ) as plain:
        plain.sendall(b"POST /mutate-v1-pod HTTP/1.1\r\nhost: a\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while data := plain.recv(4096):
                assert b"HTTP/1.1 200" not in data


# ------------------------------------------------------------------- slow clients and many connections


def _is_closed(connection: ssl.SSLSocket) -> bool:
    connection.settimeout(0.1)
    try:
        return connection.recv(1) == b""
    except (TimeoutError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def test_slow_clients_are_closed_while_others_are_served(running_webhook: Webhook) -> None:
    """Each of them would occupy a connection permanently (slowloris)."""
    slow = [running_webhook.raw() for _ in range(40)]
    for connection in slow:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nhost: a\r\nx".encode())
    end = time.monotonic() + 40
    left = slow
    while left:
        assert time.monotonic() < end, f"{len(left)} are still open"
        assert _review_pod(running_webhook)["allowed"] is True
        for connection in left:
            with contextlib.suppress(OSError):
                connection.sendall(b"x")
        left = [connection for connection in left if not _is_closed(connection)]
    for connection in slow:
        connection.close()


def _limit_files(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def _open_connections(where: tuple[str, int], count: int) -> list[socket.socket]:
    opened = []
    for _ in range(count):
        with contextlib.suppress(ConnectionResetError):  # already closed by the webhook
            opened.append(socket.create_connection(where, timeout=20))
    return opened


def test_connections_above_the_limit_are_closed_and_logged(webhook: Webhook) -> None:
    webhook.start(preexec=lambda: _limit_files(100))
    assert webhook.events("connection_limit_reduced")[0]["connections"] == 36
    where = ("127.0.0.1", webhook.port("webhook"))
    opened = _open_connections(where, 80)
    webhook.until(lambda: webhook.events("connection_limit_reached"))
    webhook.until(lambda: "TLS handshake with the own port" in webhook.get("/readyz").text)
    for one in opened:
        one.close()
    webhook.until(lambda: webhook.get("/readyz").status == 200)
    assert _review_pod(webhook)["allowed"] is True


def test_file_descriptor_exhaustion_is_logged_and_recovered(webhook: Webhook) -> None:
    webhook.start(preexec=lambda: _limit_files(72))
    where = ("127.0.0.1", webhook.port("health"))
    # One address gets only its share of the connections.
    opened = [
        socket.create_connection(
            where, timeout=20, source_address=(f"127.64.0.{2 + number % 8}", 0)
        )
        for number in range(80)
    ]
    webhook.until(lambda: webhook.events("connection_accept_failed"))
    assert webhook.events("connection_accept_failed")[0]["cause"] == "Too many open files"
    for one in opened:
        one.close()
    webhook.until(lambda: webhook.get("/readyz").status == 200)
    assert _review_pod(webhook)["allowed"] is True
