"""The client address of a request through proxies, and the segments of its path."""

from ipaddress import ip_network

import pytest

from podpass.http import proxy_headers
from podpass.http.request_path import InvalidPath, raw_path, split_path

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("lines", "source"),
    [
        ([], "10.0.0.1"),
        ([b"192.0.2.7"], "192.0.2.7"),
        ([b"192.0.2.7:4711"], "192.0.2.7"),
        ([b"[2001:db8::7]:4711"], "2001:db8::7"),
        ([b"2001:db8::7"], "2001:db8::7"),
        ([b"192.0.2.7, 10.9.9.9"], "192.0.2.7"),
        ([b"10.1.1.1, 10.9.9.9"], "10.1.1.1"),
        ([b"192.0.2.7", b"10.9.9.9"], "192.0.2.7"),
        ([b"::ffff:192.0.2.7, ::ffff:10.9.9.9"], "192.0.2.7"),
        ([b"unknown"], "10.0.0.1"),
        ([b"192.0.2.7, unknown, 10.9.9.9"], "10.9.9.9"),
        ([b"192.0.2.7," + b"1" * 100], "10.0.0.1"),
        ([b"\xff\xfe"], "10.0.0.1"),
    ],
)
def test_last_untrusted_address_is_the_client(lines: list[bytes], source: str) -> None:
    headers = [(b"accept", b"*/*"), *((b"x-forwarded-for", line) for line in lines)]
    assert proxy_headers.client_address("10.0.0.1", headers, PROXIES) == source


def test_addresses_before_the_client_are_ignored() -> None:
    """Fails if the first address is used: a client could use up the rate limit of another."""
    headers = [(b"x-forwarded-for", b"198.51.100.1, 192.0.2.7, 10.9.9.9")]
    assert proxy_headers.client_address("10.0.0.1", headers, PROXIES) == "192.0.2.7"


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.2.3.4", True),
        ("::ffff:10.2.3.4", True),
        ("fd12::1", True),
        ("11.2.3.4", False),
        ("2001:db8::1", False),
        ("", False),
        ("ten", False),
    ],
)
def test_only_configured_proxies_are_trusted(address: str, trusted: bool) -> None:
    assert proxy_headers.is_trusted(address, PROXIES) is trusted


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("::ffff:10.2.3.4", "10.2.3.4"),
        ("10.2.3.4", "10.2.3.4"),
        ("fd12::1", "fd12::1"),
        ("::ffff:0:1", "::ffff:0:1"),
        ("", ""),
    ],
)
def test_ipv4_client_of_a_socket_for_both_families_has_its_ipv4_address(
    address: str, plain: str
) -> None:
    assert proxy_headers.unmap_ipv4(address) == plain


@pytest.mark.parametrize(
    ("raw", "segments"),
    [
        (b"/", [""]),
        (b"/a/b", ["a", "b"]),
        (b"/a%2Fb/c", ["a/b", "c"]),
        (b"/a//b/", ["a", "", "b", ""]),
        (b"/%C3%A4", ["ä"]),
        (b"", []),
    ],
)
def test_path_is_split_before_it_is_decoded(raw: bytes, segments: list[str]) -> None:
    assert split_path(raw, limit=3) == segments


@pytest.mark.parametrize("raw", [b"/%FF", b"/\xc3\xa4", b"/a%C3"])
def test_path_that_is_not_utf8_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidPath):
        split_path(raw, limit=3)


def test_empty_segments_do_not_count_for_the_limit() -> None:
    assert len(split_path(b"/a//b//c", limit=3)) == 5
    with pytest.raises(InvalidPath):
        split_path(b"/a/b/c/d", limit=3)


def test_raw_path_has_no_query() -> None:
    assert raw_path({"raw_path": b"/a%20b?c", "path": "/a b"}) == b"/a%20b"
    assert raw_path({"path": "/a"}) == b"/a"
