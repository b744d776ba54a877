"""Notices and errors of requests to an instance name the service."""

import queue
import socket
import threading
from pathlib import Path

import pytest
import trustme

from podpass.cli import client, output
from podpass.errors import Error


@pytest.mark.parametrize(
    ("host", "service"),
    [("localhost", "the instance"), ("issuer.example", "issuer.example of this instance")],
)
def test_wait_notice_and_error_name_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, service: str
) -> None:
    printed: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(output, "_NOTICE_SECONDS", 0)
    monkeypatch.setattr(output, "print_message", printed.put)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    notices: list[str] = []

    def close_connection(server: socket.socket) -> None:
        taken, _ = server.accept()
        notices.append(printed.get())
        taken.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=close_connection, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(Error, match=f"{service} does not respond on port {port}"):
            client.request(port, tmp_path / "ca.crt", "GET", "/", host=host)
        thread.join()
    assert notices == [f"waiting for {service} to respond on port {port}, for up to 30 seconds"]


def test_service_that_completes_no_handshake_is_reported_before_the_limit_of_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel accepts the connection of a process that does not run."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    monkeypatch.setattr(client, "_HANDSHAKE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(client.NotResponding, match="did not respond on port"):
            client.request(port, tmp_path / "ca.crt", "GET", "/")
