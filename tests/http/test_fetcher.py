"""Documents from URLs of an attacker, served by real servers that violate the rules."""

import asyncio
import contextlib
import gzip
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, strategies

from podpass.http import address_policy, fetcher
from podpass.http import fetcher as fetch
from podpass.http import server as serve
from podpass.http.address_policy import AddressNotPublic
from podpass.http.fetcher import Fetcher, FetchError, FetchRules

HOST = "good.test"
URL = f"https://{HOST}/document"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., Awaitable[Fetcher]]

BLOCKED = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.9",
    "192.88.99.1",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    # Public in Python 3.13.5.
    "::ffff:168.63.129.16",
    "::ffff:192.0.0.9",
    "::ffff:0:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:1::1",
    "2001:4:112::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
__all__ = ["serve_handler"]  # the fixture
LIMIT = 64 * 1024


@pytest.mark.parametrize("address", BLOCKED)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(AddressNotPublic):
        address_policy.check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "20.190.160.1", "223.255.255.255", "2001:200::1", "2606:4700::1111"),
        *("3ffe::1", "64:ff9b::808:808"),
    ],
)
def test_public_address_is_accepted(address: str) -> None:
    address_policy.check_address(address)


@given(strategies.ip_addresses())
def test_address_that_python_does_not_call_global_is_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """A newer Python may know a range that the list does not contain yet."""
    if address.is_global or address in ipaddress.ip_network("64:ff9b::/96"):
        return
    with pytest.raises(AddressNotPublic):
        address_policy.check_address(str(address))


@pytest.mark.parametrize(
    "url",
    [
        *("http://good.test/", "ftp://good.test/", "file:///etc/passwd"),
        *("data:application/json,{}", "HTTPS:good.test", "https:///path", "https://"),
        *("//good.test/", "", "https://user@good.test/", "https://user:pass@good.test/"),
        *("https://good.test@evil.test/", "https://good.test/#fragment"),
        *("https://good.test/\r\nX: y", "https://good.test/a b", "https://good.test\\@evil.test/"),
        *("https://good.test/\u0430", "https://g\u043e\u043ed.test/", "https://[::1%25eth0]/"),
        *("https://good.test:0/", "https://good.test:99999/", "https://good.test:x/"),
        *("https://[::1/", "https://good.test/" + "a" * 3000),
        *("https://good%2etest/", "https://good.test/|"),
    ],
)
async def test_invalid_url_is_refused_before_any_request(url: str) -> None:
    with pytest.raises(FetchError) as caught:
        await Fetcher(FetchRules()).get_json(url)
    assert caught.value.reason == "url"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "[::1]", "[::ffff:169.254.169.254]", "0.0.0.0", "169.254.169.254"),
        *("10.1.2.3", "[fd00:ec2::254]", "localhost", "localhost.", "2130706433", "0x7f000001"),
        *("017700000001", "127.1"),
    ],
)
async def test_local_or_private_host_is_refused_in_every_notation(host: str) -> None:
    with pytest.raises(FetchError) as caught:
        await Fetcher(FetchRules()).get_json(f"https://{host}/")
    assert caught.value.reason in {"address", "name"}


async def test_name_without_address_fails_with_reason_name() -> None:
    with pytest.raises(FetchError) as caught:
        await Fetcher(FetchRules()).get_json("https://nowhere.invalid/")
    assert caught.value.reason == "name"


def test_hosts_of_instance_are_found_by_name_suffix_or_port() -> None:
    hosts = {
        "a.test": ("127.0.0.1", 1),
        "*.b.test": ("127.0.0.1", 2),
        "c.test:8443": ("127.0.0.1", 3),
    }
    assert fetch.instance_address(hosts, "a.test", 443) == ("127.0.0.1", 1)
    assert fetch.instance_address(hosts, "x.y.b.test", 443) == ("127.0.0.1", 2)
    assert fetch.instance_address(hosts, "c.test", 8443) == ("127.0.0.1", 3)
    for host, port in (("b.test", 443), ("xb.test", 443), ("a.test", 8443), ("c.test", 443)):
        assert fetch.instance_address(hosts, host, port) is None


def respond_with(body: bytes, status: str = "200 OK", **headers: str) -> Handler:
    """Return a handler that answers every request with a complete body."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return respond_with_raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def respond_with_raw(data: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return handle


async def send_endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
        await writer.drain()


async def send_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def send_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.fixture
async def serve_handler(tmp_path: Path) -> AsyncIterator[Serve]:
    """Serve a handler for a host name over TLS, and return a fetcher that can reach it."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with AsyncExitStack() as stack:

        async def start(handler: Handler, *, name: str = HOST, seconds: float = 3.0) -> Fetcher:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ca.issue_cert(name).configure_cert(tls)

            async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await handler(reader, writer)
                writer.close()

            server = await asyncio.start_server(closing, sock=serve.bind("127.0.0.1", 0), ssl=tls)
            stack.callback(server.close)
            port = server.sockets[0].getsockname()[1]
            hosts = {HOST: ("127.0.0.1", port), f"{HOST}:8443": ("127.0.0.1", port)}
            return Fetcher(FetchRules(hosts=hosts, ca_file=tmp_path / "ca.pem", seconds=seconds))

        yield start


async def expect_refusal(fetcher: Fetcher, url: str = URL) -> str:
    with pytest.raises(FetchError) as caught:
        await fetcher.get_json(url)
    return caught.value.reason


async def test_object_is_fetched_with_host_header_and_sni(serve_handler: Serve) -> None:
    seen = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        await respond_with(b'{"a":1}')(_replay(seen[0]), writer)

    fetcher = await serve_handler(handle)
    assert await fetcher.get_json(URL) == {"a": 1}
    head = seen[0].decode().lower()
    assert head.startswith("get /document http/1.1\r\nhost: good.test\r\n")
    assert "accept-encoding: identity" in head
    assert "cookie" not in head


def _replay(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    return reader


async def test_port_of_instance_is_reached_by_its_name(serve_handler: Serve) -> None:
    assert await (await serve_handler(respond_with(b"{}"))).get_json(f"https://{HOST}:8443/") == {}


@pytest.mark.parametrize("status", ["301 a", "302 a", "303 a", "307 a", "308 a"])
async def test_redirect_is_not_followed(serve_handler: Serve, status: str) -> None:
    fetcher = await serve_handler(respond_with(b"", status, location=f"https://{HOST}/other"))
    assert await expect_refusal(fetcher) == "status"


@pytest.mark.parametrize("status", ["201 a", "404 a", "500 a"])
async def test_other_status_than_200_is_a_failure(serve_handler: Serve, status: str) -> None:
    assert await expect_refusal(await serve_handler(respond_with(b"{}", status))) == "status"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"<html>", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\xff"}', b"\x1f\x8b"],
)
async def test_invalid_json_object_is_refused(serve_handler: Serve, body: bytes) -> None:
    assert await expect_refusal(await serve_handler(respond_with(body))) == "not_json"


async def test_body_over_limit_is_refused(serve_handler: Serve) -> None:
    assert (
        await expect_refusal(await serve_handler(respond_with(b'{"a":"' + b"x" * 65536 + b'"}')))
        == "too_large"
    )
    assert await (await serve_handler(respond_with(b'{"a":"' + b"x" * 65000 + b'"}'))).get_json(URL)


async def test_endless_body_is_refused_at_limit(serve_handler: Serve) -> None:
    assert await expect_refusal(await serve_handler(send_endless_body)) == "too_large"


async def test_compressed_body_is_refused(serve_handler: Serve) -> None:
    bomb = gzip.compress(b"{" + b" " * 50_000_000 + b"}")
    assert (
        await expect_refusal(await serve_handler(respond_with(bomb, content_encoding="gzip")))
        == "compressed"
    )


@pytest.mark.parametrize("handler", [send_slowly, send_nothing])
async def test_slow_response_times_out(serve_handler: Serve, handler: Handler) -> None:
    assert await expect_refusal(await serve_handler(handler, seconds=0.3)) == "timeout"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 20_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    ],
)
async def test_response_that_is_not_http_has_reason_unreachable(
    serve_handler: Serve, data: bytes
) -> None:
    assert await expect_refusal(await serve_handler(respond_with_raw(data))) == "unreachable"


async def test_certificate_for_another_name_is_not_accepted(serve_handler: Serve) -> None:
    assert (
        await expect_refusal(await serve_handler(respond_with(b"{}"), name="other.test"))
        == "unreachable"
    )


async def test_hosts_of_instance_are_verified_with_its_ca_only(serve_handler: Serve) -> None:
    """A certificate of another CA for the name of the instance is not trusted, public or not."""
    fetcher = await serve_handler(respond_with(b"{}"))
    other = trustme.CA()
    rules = fetcher._rules
    assert rules.ca_file is not None
    other.cert_pem.write_to_path(rules.ca_file)
    assert await expect_refusal(fetcher) == "unreachable"


async def test_closed_port_has_reason_unreachable() -> None:
    sock = serve.bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    sock.close()
    assert (
        await expect_refusal(Fetcher(FetchRules(hosts={HOST: ("127.0.0.1", port)})))
        == "unreachable"
    )


async def test_proxy_in_environment_is_ignored(
    serve_handler: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert await (await serve_handler(respond_with(b"{}"))).get_json(URL) == {}


async def test_connection_goes_to_checked_address(
    serve_handler: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a second lookup of the name would return another address."""
    fetcher = await serve_handler(respond_with(b"{}"))
    lookups = []
    real = socket.getaddrinfo

    def rebinding(host: str, *args: Any, **more: Any) -> object:
        lookups.append(host)
        return real("127.0.0.1", *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert await expect_refusal(fetcher, "https://rebinding.test/") == "address"
    assert lookups == ["rebinding.test"]
    assert await fetcher.get_json(URL) == {}
    assert HOST not in lookups


async def test_error_contains_nothing_of_the_body(serve_handler: Serve) -> None:
    fetcher = await serve_handler(respond_with(b"<html>secret-of-another-host"))
    with pytest.raises(FetchError) as caught:
        await fetcher.get_json(URL)
    assert "secret" not in repr((caught.value, caught.value.facts))


# The limits of the fetcher: chunked bodies, maximum sizes, characters of URLs, suffixes.


def respond_with_chunks(*bodies: bytes) -> object:
    """Return a handler that sends a body in chunks, with a pause between them."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % sum(map(len, bodies)))
        for body in bodies:
            writer.write(body)
            await writer.drain()
            await asyncio.sleep(0.05)

    return handle


async def test_document_in_several_chunks_is_read_completely(serve_handler: Serve) -> None:
    assert await (await serve_handler(respond_with_chunks(b'{"a":', b"1", b"}"))).get_json(URL) == {
        "a": 1
    }


async def test_size_limit_applies_to_all_chunks_together(serve_handler: Serve) -> None:
    """Fails if each chunk is measured separately: a body could be endless."""
    third = b" " * (LIMIT // 3 + 1)
    assert (
        await expect_refusal(
            await serve_handler(respond_with_chunks(b"{" + third, third, third + b"}"))
        )
        == "too_large"
    )


async def test_document_at_size_limit_is_read_and_larger_one_is_refused(
    serve_handler: Serve,
) -> None:
    longest = b'{"a":"' + b"x" * (LIMIT - 8) + b'"}'
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
    assert await (await serve_handler(respond_with_raw(head % LIMIT + longest))).get_json(URL)
    longer = respond_with_raw(head % (LIMIT + 1) + longest + b" ")
    assert await expect_refusal(await serve_handler(longer)) == "too_large"


def test_url_at_length_limit_is_accepted_and_longer_one_is_refused() -> None:
    longest = f"https://{HOST}/" + "a" * (fetcher.MAX_URL_CHARS - len(f"https://{HOST}/"))
    assert fetcher.parse_url(longest).hostname == HOST
    with pytest.raises(fetcher.FetchError):
        fetcher.parse_url(longest + "a")


@pytest.mark.parametrize("sign", "XYZaz09-._~!$&'()*+,;=:/?%")
def test_allowed_character_in_url_is_accepted(sign: str) -> None:
    assert fetcher.parse_url(f"https://{HOST}/{sign}").hostname == HOST


@pytest.mark.parametrize(
    ("host", "port", "found"),
    [
        ("x.b.test", 443, 2),
        ("x.y.b.test", 443, 2),
        ("b.test", 443, None),
        ("test", 443, None),
        ("x.b.test", 8443, None),
        ("xb.test", 443, None),
    ],
)
def test_suffix_includes_subdomains_at_any_depth(host: str, port: int, found: int | None) -> None:
    where = fetcher.instance_address({"*.b.test": ("127.0.0.1", 2)}, host, port)
    assert where == (None if found is None else ("127.0.0.1", found))


def test_fetch_error_has_reason_in_facts() -> None:
    failed = fetcher.FetchError("a sentence", reason="slug", host="h")
    assert (failed.message, failed.reason, failed.facts) == (
        "a sentence",
        "slug",
        {"reason": "slug", "host": "h"},
    )
