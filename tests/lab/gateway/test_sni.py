"""The server name in the first bytes of a TLS connection."""

import contextlib
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podpass.lab.gateway.sni import HEADER_BYTES, BadHello, HelloReader, record_length
from tests.suite_policy import examples


def client_hello(host: str | None) -> bytes:
    """Return the ClientHello that OpenSSL sends."""
    context = ssl.create_default_context()
    context.check_hostname = host is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=host)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def read_server_name(data: bytes) -> str:
    """Read a hello from data that is complete; AssertionError if it is not."""
    hello = HelloReader()
    while not hello.is_complete:
        header = data[len(hello.data) :][:HEADER_BYTES]
        assert len(header) == HEADER_BYTES
        end = len(hello.data) + HEADER_BYTES + record_length(header)
        assert end <= len(data)
        hello.add(header, data[len(hello.data) + HEADER_BYTES : end])
    return hello.server_name()


HELLO = client_hello("login.microsoftonline.com")


def split_records(hello: bytes, size: int) -> bytes:
    """Return the same handshake message in records of a size."""
    body = hello[5:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2) + part for part in parts)


def test_server_name_is_read_from_one_record_or_several() -> None:
    assert read_server_name(HELLO) == "login.microsoftonline.com"
    assert read_server_name(HELLO + b"more") == "login.microsoftonline.com"
    assert read_server_name(split_records(HELLO, 50)) == "login.microsoftonline.com"


def test_hello_is_complete_with_its_last_record() -> None:
    records = split_records(HELLO, 50)
    hello, at = HelloReader(), 0
    while at < len(records):
        assert not hello.is_complete
        end = at + HEADER_BYTES + record_length(records[at : at + HEADER_BYTES])
        hello.add(records[at : at + HEADER_BYTES], records[at + HEADER_BYTES : end])
        at = end
    assert hello.is_complete
    assert hello.data == records


@pytest.mark.parametrize(
    "data",
    [
        client_hello(None),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    ],
)
def test_data_without_a_server_name_is_refused(data: bytes) -> None:
    with pytest.raises(BadHello):
        read_server_name(data)


@settings(max_examples=examples(200), deadline=None)
@given(st.integers(0, len(HELLO) - 1), st.binary(min_size=1, max_size=8))
def test_corrupt_client_hello_raises_no_other_error(at: int, noise: bytes) -> None:
    damaged = HELLO[:at] + noise + HELLO[at + len(noise) :]
    with contextlib.suppress(BadHello, AssertionError):
        name = read_server_name(damaged)
        assert isinstance(name, str)
