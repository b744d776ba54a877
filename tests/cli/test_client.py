"""Who is asked is named, where it does not answer at once or at all."""

import queue
import socket
import threading
from pathlib import Path

import pytest
import trustme

from podpass.cli import client, output
from podpass.errors import Error


@pytest.mark.parametrize(
    ("host", "who"),
    [("localhost", "the instance"), ("issuer.example", "issuer.example of this instance")],
)
def test_what_is_waited_for_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, who: str
) -> None:
    said: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(output, "_SILENT_SECONDS", 0)
    monkeypatch.setattr(output, "say", said.put)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    heard: list[str] = []

    def hang_up(server: socket.socket) -> None:
        taken, _ = server.accept()
        heard.append(said.get())
        taken.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(Error, match=f"{who} does not answer on port {port}"):
            client.request(port, tmp_path / "ca.crt", "GET", "/", host=host)
        thread.join()
    assert heard == [f"waiting for {who} to answer on port {port}, for up to 30 seconds"]
