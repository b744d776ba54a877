"""Where the process listens."""

import contextlib
import socket

import pytest

from podpass.http.server import PortInUse
from podpass.servers.webhook.listen import listen


def _reaches(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


def test_no_host_is_every_interface_of_both_families() -> None:
    with contextlib.closing(listen("--health-addr", ":0")) as sock:
        port = sock.getsockname()[1]
        assert _reaches("127.0.0.1", port)
        assert sock.family is not socket.AF_INET6 or _reaches("::1", port)


def test_where_there_is_no_ipv6_the_other_family_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many nodes have it switched off."""
    real = socket.socket.bind

    class WithoutSix(socket.socket):
        def bind(self, address: object) -> None:
            if self.family is socket.AF_INET6:
                raise OSError(99, "Cannot assign requested address")
            real(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", WithoutSix)
    with contextlib.closing(listen("--health-addr", ":0")) as sock:
        assert sock.family is socket.AF_INET
        assert sock.getsockname()[0] == "0.0.0.0"


def test_a_host_is_listened_on_alone() -> None:
    with contextlib.closing(listen("--health-addr", "127.0.0.1:0")) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_named_with_the_flag_to_change() -> None:
    with contextlib.closing(listen("--health-addr", ":0")) as sock:
        with pytest.raises(PortInUse) as caught:
            listen("--health-addr", f":{sock.getsockname()[1]}")
        assert "--health-addr" in caught.value.hint
