"""The probe waits for a sidecar that starts slowly."""

import socket
import threading
import time

import pytest

from podpass.imds import probe
from podpass.imds.probe import ProbeFailed, wait_until_ready
from tests.ports import free_port


def _serve(port: int, statuses: list[int]) -> threading.Thread:
    """Answer one connection with each status."""
    listening = socket.create_server(("127.0.0.1", port))

    def run() -> None:
        with listening:
            for status in statuses:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(f"HTTP/1.0 {status} x\r\n\r\n".encode())

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_refused_connection_is_one_failed_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference exits immediately, and its hook then kills a container that starts slowly."""
    port = free_port()
    threads: list[threading.Thread] = []

    def start_server(_seconds: float) -> None:
        if not threads:
            threads.append(_serve(port, [500, 200]))

    monkeypatch.setattr(time, "sleep", start_server)
    wait_until_ready(port)
    threads[0].join()


def test_sidecar_of_a_busy_node_has_more_time_to_start_than_to_get_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hook that fails earlier kills the container, and its next start is as slow."""
    port = free_port()
    threads: list[threading.Thread] = []
    waits: list[float] = []

    def start_server_at_last(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == probe.REFUSED_ATTEMPTS - 1:
            threads.append(_serve(port, [500, 200]))

    monkeypatch.setattr(time, "sleep", start_server_at_last)
    wait_until_ready(port)
    threads[0].join()
    assert sum(waits) >= 29


def test_probe_fails_after_seven_attempts_and_names_the_last_reason() -> None:
    port = free_port()
    thread = _serve(port, [404] * probe.ATTEMPTS)
    with pytest.raises(ProbeFailed, match="failed to probe: /readyz answered 404"):
        wait_until_ready(port, interval_seconds=0)
    thread.join()
    with pytest.raises(ProbeFailed, match="ConnectionRefusedError"):
        wait_until_ready(port, interval_seconds=0)
