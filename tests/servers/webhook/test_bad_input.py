"""What strangers and broken clients send to the running process, and that it serves on."""

import contextlib
import json
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.webhook.kubernetes import CLIENT, Kubernetes
from tests.servers.webhook.running import PATH, Answer, Webhook, pod, review

HUGE = 8 * 1024 * 1024


@pytest.fixture
def served(webhook: Webhook) -> Iterator[Webhook]:
    """A webhook that runs, and that answers a good review after whatever was done to it."""
    webhook.start()
    pid = webhook.pid
    yield webhook
    assert _good(webhook)["allowed"] is True
    assert webhook.pid == pid
    assert not [line for line in webhook.lines() if "traceback" in line]


def _good(webhook: Webhook) -> dict[str, object]:
    answer: dict[str, object] = webhook.review(pod(account="account-0"), "team-0").body["response"]
    return answer


def _code(answer: Answer) -> int:
    """Give the verdict's code; HTTP's own where there is no verdict."""
    if answer.status != 200:
        return answer.status
    response = answer.body["response"]
    return 200 if response["allowed"] else int(response["status"]["code"])


GOOD = review(pod(account="account-0"), "team-0")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (GOOD[: len(GOOD) // 2], 400),
        (GOOD.replace(b"admission.k8s.io/v1", b"admission.k8s.io/v9"), 400),
        (GOOD.replace(b'"AdmissionReview"', b'"AdmissionRequest"'), 400),
        (b"[]", 400),
        (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', 400),
        (review(None, "team-0"), 400),
        (b'{"request":' * 2000 + b"1" + b"}" * 2000, 400),
        (GOOD.replace(b'"name": "app"', b'"name": "\xff\xfe"'), 400),
        (b"\x00" * 1000, 400),
    ],
    ids=[
        "empty",
        "truncated",
        "of another version",
        "of another kind",
        "no object",
        "without a request",
        "without a pod",
        "nested deeply",
        "not UTF-8",
        "zeros",
    ],
)
def test_what_is_no_review_is_refused(served: Webhook, body: bytes, code: int) -> None:
    assert _code(served.post(body)) == code


def test_a_body_that_is_too_long_is_refused_with_a_line_in_the_log(served: Webhook) -> None:
    body = b'{"a":"' + b"x" * HUGE + b'"}'
    assert _code(served.post(body)) == 413
    served.until(lambda: [line for line in served.lines() if line.get("code") == "body_too_large"])


def _resident_megabytes(served: Webhook) -> int:
    status = Path(f"/proc/{served.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def test_large_bodies_that_never_end_take_no_more_memory_than_there_is(served: Webhook) -> None:
    """Each holds what was read of it: sixty at a time would be more than the chart gives a replica."""
    before = _resident_megabytes(served)
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    opened = [served.raw() for _ in range(60)]
    for connection in opened:
        with contextlib.suppress(OSError):
            connection.sendall(f"{head}content-length: 3000000\r\n\r\n".encode())
            connection.sendall(b" " * 2_900_000)
    served.until(
        lambda: [line for line in served.lines() if line.get("code") == "too_much_at_once"]
    )
    assert _good(served)["allowed"] is True
    assert _resident_megabytes(served) - before < 90
    for connection in opened:
        connection.close()


def test_a_body_that_comes_by_the_byte_is_not_waited_for(served: Webhook) -> None:
    connection = served.raw()
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: 90000\r\n\r\n"
    connection.sendall(head.encode() + b" " * 80_000)
    end = time.monotonic() + 40  # at a kilobyte a second it would be kept for a minute and a half
    while not _is_closed(connection):
        assert time.monotonic() < end
        with contextlib.suppress(OSError):
            connection.sendall(b" ")
    connection.close()


def test_one_review_that_asks_for_a_gigabyte_is_refused(
    kubernetes: Kubernetes, webhook: Webhook
) -> None:
    annotations = kubernetes.accounts["team-0/account-0"]["metadata"]["annotations"]
    annotations[CLIENT] = "c" * 200_000
    webhook.start()
    many = [{"name": f"c{n}"} for n in range(1000)]
    answer = webhook.review(pod(account="account-0", containers=many), "team-0")
    assert _code(answer) == 400
    assert _resident_megabytes(webhook) < 160


def test_another_type_of_content_is_refused(served: Webhook) -> None:
    assert _code(served.post(GOOD, {"content-type": "text/plain"})) == 400


def test_names_given_twice_harm_nobody(served: Webhook) -> None:
    twice = GOOD.replace(b'"uid":', b'"uid": "first", "uid":')
    answer = served.post(twice).body["response"]
    assert answer["uid"] == json.loads(GOOD)["request"]["uid"]


@pytest.mark.parametrize(
    "change",
    [
        {"operation": "DELETE", "object": None, "oldObject": pod()},
        {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}},
    ],
    ids=["a delete", "another resource"],
)
def test_a_review_of_something_else_gets_a_verdict_and_no_patch_breaks_it(
    served: Webhook, change: dict[str, object]
) -> None:
    given = {"object": {"kind": "Deployment", "metadata": {}, "spec": {"replicas": 1}}, **change}
    asked = json.loads(GOOD)
    asked["request"].update(given)
    answer = served.post(json.dumps(asked).encode()).body["response"]
    assert "patch" not in answer or answer["allowed"] is True


def test_other_methods_and_paths_get_no_pod_anywhere(served: Webhook) -> None:
    connection = served.connect()
    connection.request("GET", "/../etc/passwd")
    assert connection.getresponse().status in (400, 404)
    connection.close()


def test_plain_http_on_the_tls_port_is_closed(served: Webhook) -> None:
    with socket.create_connection(("127.0.0.1", served.port("webhook")), timeout=20) as plain:
        plain.sendall(b"POST /mutate-v1-pod HTTP/1.1\r\nhost: a\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while data := plain.recv(4096):
                assert b"HTTP/1.1 200" not in data


# ------------------------------------------------------------------------------------ slow and many


def _is_closed(connection: ssl.SSLSocket) -> bool:
    connection.settimeout(0.1)
    try:
        return connection.recv(1) == b""
    except (TimeoutError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def test_clients_that_send_by_the_byte_are_closed_while_others_are_served(served: Webhook) -> None:
    """Each of them would hold a connection for ever (slowloris)."""
    slow = [served.raw() for _ in range(40)]
    for connection in slow:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nhost: a\r\nx".encode())
    end = time.monotonic() + 40
    left = slow
    while left:
        assert time.monotonic() < end, f"{len(left)} are still open"
        assert _good(served)["allowed"] is True
        for connection in left:
            with contextlib.suppress(OSError):
                connection.sendall(b"x")
        left = [connection for connection in left if not _is_closed(connection)]
    for connection in slow:
        connection.close()


def _few_files(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def test_more_connections_than_it_can_afford_are_turned_away_and_told(webhook: Webhook) -> None:
    webhook.start(preexec=lambda: _few_files(100))
    assert webhook.events("connections_bounded")[0]["connections"] == 36
    where = ("127.0.0.1", webhook.port("webhook"))
    opened = [socket.create_connection(where, timeout=20) for _ in range(80)]
    webhook.until(lambda: webhook.events("connections_refused"))
    webhook.until(lambda: "no TLS handshake" in webhook.get("/readyz").text)
    for one in opened:
        one.close()
    webhook.until(lambda: webhook.get("/readyz").status == 200)
    assert _good(webhook)["allowed"] is True


def test_descriptors_that_are_used_up_are_told_and_got_back(webhook: Webhook) -> None:
    webhook.start(preexec=lambda: _few_files(72))
    where = ("127.0.0.1", webhook.port("health"))
    opened = [socket.create_connection(where, timeout=20) for _ in range(80)]
    webhook.until(lambda: webhook.events("connections_not_accepted"))
    assert webhook.events("connections_not_accepted")[0]["cause"] == "Too many open files"
    for one in opened:
        one.close()
    webhook.until(lambda: webhook.get("/readyz").status == 200)
    assert _good(webhook)["allowed"] is True
