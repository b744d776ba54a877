"""Addresses on which the process listens."""

import contextlib
import socket

import pytest

from podpass.errors import UsageError
from podpass.http.server import PortInUse
from podpass.servers.listen import format_address, listen


def _reaches(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


def test_address_without_host_listens_on_all_interfaces() -> None:
    with contextlib.closing(listen("--health-addr", ":0")) as sock:
        port = sock.getsockname()[1]
        assert _reaches("127.0.0.1", port)
        assert sock.family is not socket.AF_INET6 or _reaches("::1", port)


def test_listen_succeeds_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv6 is disabled on many nodes."""
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


def test_address_with_host_listens_on_that_host_only() -> None:
    with contextlib.closing(listen("--health-addr", "127.0.0.1:0")) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"


def test_port_in_use_error_names_the_flag() -> None:
    with contextlib.closing(listen("--health-addr", ":0")) as sock:
        with pytest.raises(PortInUse) as caught:
            listen("--health-addr", f":{sock.getsockname()[1]}")
        assert "--health-addr" in caught.value.hint


@pytest.mark.parametrize("text", ["", "host", "127.0.0.1", ":x", ":70000"])
def test_text_that_is_not_an_address_is_refused_with_its_flag(text: str) -> None:
    with pytest.raises(UsageError, match=r"--listen .* must be HOST:PORT"):
        listen("--listen", text)


@pytest.mark.parametrize(
    ("given", "shown"),
    [("127.0.0.1:0", "127.0.0.1:{}"), ("[::1]:0", "[::1]:{}"), (":0", "[::]:{}")],
)
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv6_address_is_shown_in_brackets(given: str, shown: str) -> None:
    with contextlib.closing(listen("--listen", given)) as sock:
        port = sock.getsockname()[1]
        assert format_address(sock) == shown.format(port)
        with pytest.raises(PortInUse) as caught:
            listen("--listen", given.replace(":0", f":{port}"))
    assert shown.format(port) in caught.value.message
