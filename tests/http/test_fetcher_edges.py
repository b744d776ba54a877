"""The limits of the fetcher: chunked bodies, maximum sizes, characters of URLs, suffixes."""

import asyncio

import pytest

from podpass.http import fetcher
from tests.http.test_fetcher import (
    HOST,
    URL,
    Serve,
    expect_refusal,
    respond_with_raw,
    serve_handler,
)

__all__ = ["serve_handler"]  # the fixture
LIMIT = 64 * 1024


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
