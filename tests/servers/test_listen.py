"""Addresses on which a process listens, its limits of files and memory, and those that depend on them."""

import contextlib
import logging
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podpass.errors import UsageError
from podpass.http.server import PortInUse
from podpass.servers.file_limits import (
    limit_connections,
    memory_limit,
    raise_file_limit,
    source_share,
)
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


@contextmanager
def _limit_files(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_connection_limit_is_reduced_to_the_file_limit(caplog: pytest.LogCaptureFixture) -> None:
    with _limit_files(1000):
        assert limit_connections(936) == 936
        assert not caplog.records
        assert limit_connections(937) == limit_connections(100_000) == 936
    assert caplog.records[0].getMessage() == "connection_limit_reduced"
    assert caplog.records[0].levelno == logging.WARNING


def test_file_limit_is_raised_to_the_hard_limit() -> None:
    with _limit_files(1000):
        raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft > 1000 or hard <= 1000


@pytest.mark.parametrize(
    ("connections", "memory", "least", "share"),
    [
        (1024, None, 1, 1024),
        (4096, None, 1, 2048),
        (2049, None, 1, 2048),
        (1024, 512 << 20, 1, 256),
        (100, 512 << 20, 1, 100),
        (4096, 160 << 20, 1, 80),
        (4096, 160 << 20, 640, 640),
        (0, 160 << 20, 640, 0),
        (4096, 1, 1, 1),
    ],
)
def test_share_of_an_address_is_at_most_half_of_the_connections_and_of_the_memory(
    connections: int, memory: int | None, least: int, share: int
) -> None:
    assert source_share(connections, memory, 4096, least) == share


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/", {"memory.max": "536870912"}, 536870912),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/", {}, None),
        ("0::/a/b", {"a/memory.max": "5000", "a/b/memory.max": "max"}, 5000),
        ("0::/a/b", {"a/memory.max": "5000", "a/b/memory.max": "4000"}, 4000),
        # A container with version 1: the path is that of the host, and the root is the container's own.
        ("5:memory:/pods/x\n0::/", {"memory/memory.limit_in_bytes": "5000"}, 5000),
        ("5:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("3:cpu:/", {"memory.max": "5000"}, None),
    ],
)
def test_memory_limit_is_that_of_the_control_group(
    tmp_path: Path, groups: str, files: dict[str, str], limit: int | None
) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text(groups + "\n")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    assert memory_limit(root, own) == limit
    assert memory_limit(root, tmp_path / "absent") is None
