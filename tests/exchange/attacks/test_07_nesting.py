"""Group 7: JSON nested deeper than a parser's stack, in tokens and in an issuer's documents."""

import contextlib

import pytest

from podpass.crypto import jose
from tests.exchange.attacks.forge import DISCOVERY_PATH, KEYS_PATH, build_token, valid_parts
from tests.exchange.world import World

MODULE = pytest.mark.asyncio(loop_scope="module")
OPENINGS = [b'{"a":', b'{"a":[', b'{"iss":{"x":[']
DEPTHS = [900, 1100, 2000]


@MODULE
@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("depth", DEPTHS)
async def test_deeply_nested_claims_are_refused_and_the_service_keeps_running(
    fresh: World, opening: bytes, depth: int
) -> None:
    header, claims = valid_parts(fresh)
    closing = bytes(reversed(opening)).translate(bytes.maketrans(b"{[", b"}]"))
    closing = bytes(sign for sign in closing if sign in b"}]")
    for payload in (opening * depth, opening * depth + b"1" + closing * depth):
        answer = await fresh.present(build_token(fresh, header, payload))
        assert answer.code in {50027, 90014}
        answer = await fresh.present(build_token(fresh, payload[:2900], claims))
        assert answer.code in {50027, 5002738}
    assert (await fresh.request_token()).status == 200


@pytest.mark.parametrize("opening", [b'{"a":', b"["])
def test_json_with_a_hundred_thousand_levels_is_refused(opening: bytes) -> None:
    for data in (opening * 100_000, b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        with pytest.raises(jose.MalformedToken):
            jose.loads_object(data)


@pytest.mark.parametrize("depth", [1, 200, 253, 254, 255, 256, 300, 1000, 1023, 1024, 1025, 1100])
def test_json_of_any_depth_is_parsed_or_refused(depth: int) -> None:
    """If the parser's limit were higher than the serializer's, a depth between them would crash."""
    for opening, closing in ((b'{"a":', b"}"), (b'{"a":[', b"]}")):
        with contextlib.suppress(jose.MalformedToken):
            read = jose.loads_object(opening * depth + b"1" + closing * depth)
            assert set(read) == {"a"}


@MODULE
@pytest.mark.parametrize("path", [DISCOVERY_PATH, KEYS_PATH])
async def test_deeply_nested_issuer_document_is_a_failed_request(fresh: World, path: str) -> None:
    for body in (b'{"keys":' + b"[" * 60_000, b'{"keys":' + b"[" * 30_000 + b"]" * 30_000 + b"}"):
        fresh.site.answers[path] = (200, body, {})
        answer = await fresh.request_token()
        assert (answer.status, answer.code) == (400, 501661)
        fresh.now += 100
    fresh.site.answers.clear()
    assert (await fresh.request_token()).status == 200
