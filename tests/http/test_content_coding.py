"""Content codings of request bodies: what is decoded, what is refused, and what a refused body may cost."""

import contextlib
import gzip
import random
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.http import server
from podpass.http.content_coding import (
    MAX_OVERHEAD_BYTES,
    MAX_RATIO,
    UNLIMITED_RATIO_BYTES,
    BodyRefused,
    BodyTooLarge,
    InvalidCoding,
    UnsupportedCoding,
    decode,
    parse_coding,
)
from tests.http.coded_bodies import BOMB, CODERS, EMPTY_BLOCKS, REFUSED

LIMIT = 256 * 1024


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        ([], ""),
        ([""], ""),
        (["identity"], ""),
        (["GZIP "], "gzip"),
        (["identity, gzip"], "gzip"),
        (["identity", "x-gzip"], "x-gzip"),
        (["deflate"], "deflate"),
    ],
)
def test_coding_is_read_from_all_headers(values: list[str], coding: str) -> None:
    assert parse_coding(values) == coding


@pytest.mark.parametrize("values", [["br"], ["gzip, gzip"], ["gzip", "deflate"], ["zstd, gzip"]])
def test_other_and_several_codings_are_refused_with_415(values: list[str]) -> None:
    with pytest.raises(UnsupportedCoding) as caught:
        parse_coding(values)
    assert caught.value.status == 415
    assert caught.value.headers == ((b"accept-encoding", b"gzip, deflate"),)


@given(data=st.binary(max_size=2_000), coding=st.sampled_from(sorted(CODERS)))
def test_every_body_is_decoded(data: bytes, coding: str) -> None:
    assert decode(coding, CODERS[coding](data), LIMIT) == data


@given(data=st.binary(max_size=300), coding=st.sampled_from(sorted(CODERS)))
def test_any_bytes_are_decoded_or_refused(data: bytes, coding: str) -> None:
    with contextlib.suppress(BodyRefused):
        assert len(decode(coding, data, 1000)) <= 1000


@pytest.mark.parametrize("level", [0, 1, 9])
def test_large_body_of_every_compression_level_is_decoded(level: int) -> None:
    data = random.Random(1).randbytes(LIMIT // 2) + bytes(LIMIT // 2)
    assert decode("gzip", gzip.compress(data, level), LIMIT) == data


def test_missing_body_with_a_coding_is_empty() -> None:
    assert decode("gzip", b"", LIMIT) == b""


def test_limit_applies_to_the_decoded_body() -> None:
    body = gzip.compress(b"ab" * 500)
    assert len(decode("gzip", body, 1000)) == 1000
    with pytest.raises(BodyTooLarge):
        decode("gzip", body, 999)


def test_ratio_applies_to_bodies_over_its_threshold() -> None:
    body = gzip.compress(bytes(UNLIMITED_RATIO_BYTES))
    assert MAX_RATIO * len(body) < UNLIMITED_RATIO_BYTES
    assert len(decode("gzip", body, LIMIT)) == UNLIMITED_RATIO_BYTES
    with pytest.raises(BodyTooLarge):
        decode("gzip", gzip.compress(bytes(UNLIMITED_RATIO_BYTES + 1)), LIMIT)


@pytest.mark.parametrize(("coding", "body", "status"), REFUSED)
def test_invalid_body_is_refused(coding: str, body: bytes, status: int) -> None:
    with pytest.raises(BodyRefused) as caught:
        decode(parse_coding([coding]), body, LIMIT)
    assert caught.value.status == status


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the bytes that go into decoders and come out of them."""
    counted = {"in": 0, "out": 0, "decoders": 0}
    create = zlib.decompressobj

    class Decoder:
        def __init__(self, bits: int) -> None:
            counted["decoders"] += 1
            self._decoder = create(bits)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._decoder, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            out = self._decoder.decompress(data, most)
            counted["in"] += len(data)
            counted["out"] += len(out)
            return out

    monkeypatch.setattr(zlib, "decompressobj", Decoder)
    return counted


def test_bomb_is_decoded_only_up_to_the_limit(work: dict[str, int]) -> None:
    with pytest.raises(BodyTooLarge):
        decode("gzip", BOMB, LIMIT)
    assert work["out"] <= LIMIT + 1


def test_ratio_stops_decoding_before_the_limit(work: dict[str, int]) -> None:
    body = gzip.compress(bytes(100_000))
    with pytest.raises(BodyTooLarge):
        decode("gzip", body, 10 * LIMIT)
    assert work["out"] <= UNLIMITED_RATIO_BYTES + 1


def test_empty_compressed_blocks_are_refused_after_the_overhead_limit(work: dict[str, int]) -> None:
    with pytest.raises(InvalidCoding):
        decode("gzip", EMPTY_BLOCKS, LIMIT)
    assert work["in"] <= MAX_OVERHEAD_BYTES + 4096 < len(EMPTY_BLOCKS)


def test_later_gzip_members_are_not_decoded(work: dict[str, int]) -> None:
    """A decoder for each of thousands of empty members would copy the rest of the body for each."""
    with pytest.raises(InvalidCoding):
        decode("gzip", gzip.compress(b"") * 10_000, LIMIT)
    assert work["decoders"] == 1
    assert work["in"] <= 4096


async def test_compressed_form_is_limited_too() -> None:
    body = gzip.compress(bytes(range(256)) * 4, 0)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    scope = {"headers": [(b"content-encoding", b"gzip")]}
    assert len(await server.read_decoded_body(scope, receive, len(body))) == 1024
    with pytest.raises(BodyTooLarge):
        await server.read_decoded_body(scope, receive, len(body) - 1)
