"""The fetcher at its edges: bodies in pieces, the longest that is read, addresses and names just so."""

import asyncio

import pytest

from podpass.http import fetcher
from tests.http.test_fetcher import HOST, URL, Serve, raw, refused, served

__all__ = ["served"]  # the fixture
LIMIT = 64 * 1024


def pieces(*bodies: bytes) -> object:
    """Answer with a body that comes in pieces, each long after the one before."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % sum(map(len, bodies)))
        for body in bodies:
            writer.write(body)
            await writer.drain()
            await asyncio.sleep(0.05)

    return handle


async def test_a_document_that_comes_in_pieces_is_read_whole(served: Serve) -> None:
    assert await (await served(pieces(b'{"a":', b"1", b"}"))).get_json(URL) == {"a": 1}


async def test_pieces_count_together(served: Serve) -> None:
    """Fails if each piece is measured by itself: a body could go on for ever."""
    third = b" " * (LIMIT // 3 + 1)
    assert await refused(await served(pieces(b"{" + third, third, third + b"}"))) == "too_large"


async def test_the_longest_document_is_read_and_one_byte_more_is_not(
    served: Serve,
) -> None:
    longest = b'{"a":"' + b"x" * (LIMIT - 8) + b'"}'
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
    assert await (await served(raw(head % LIMIT + longest))).get_json(URL)
    longer = raw(head % (LIMIT + 1) + longest + b" ")
    assert await refused(await served(longer)) == "too_large"


def test_the_longest_address_is_taken_and_one_sign_more_is_not() -> None:
    longest = f"https://{HOST}/" + "a" * (fetcher.MAX_URL_CHARS - len(f"https://{HOST}/"))
    assert fetcher.split(longest).hostname == HOST
    with pytest.raises(fetcher.FetchError):
        fetcher.split(longest + "a")


@pytest.mark.parametrize("sign", "XYZaz09-._~!$&'()*+,;=:/?%")
def test_a_plain_sign_may_stand_in_an_address(sign: str) -> None:
    assert fetcher.split(f"https://{HOST}/{sign}").hostname == HOST


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
def test_a_suffix_covers_names_below_it_at_any_depth(
    host: str, port: int, found: int | None
) -> None:
    where = fetcher.own_address({"*.b.test": ("127.0.0.1", 2)}, host, port)
    assert where == (None if found is None else ("127.0.0.1", found))


def test_a_failure_says_its_reason_in_its_facts() -> None:
    failed = fetcher.FetchError("a sentence", reason="slug", host="h")
    assert (failed.message, failed.reason, failed.facts) == (
        "a sentence",
        "slug",
        {"reason": "slug", "host": "h"},
    )
