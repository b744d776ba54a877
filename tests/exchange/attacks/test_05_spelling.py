"""Group 5: each token has one encoding, and each JSON text one meaning."""

import json
from typing import Any

import pytest

from podpass.crypto import jose
from tests.exchange.attacks.forge import build_token, signing_input, valid_parts
from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize(
    "sign",
    ["=", "==", "%3D", "+", "/", " ", "\t", "\n", "\r\nX: y", "\0", "\u0430", "\ufeff", "\u200b"],
)
async def test_character_outside_base64url_is_refused(shared: World, sign: str) -> None:
    head, body, tail = shared.mint().split(".")
    for changed in (
        *(f"{head}{sign}.{body}.{tail}", f"{head[:9]}{sign}{head[9:]}.{body}.{tail}"),
        *(f"{head}.{body}{sign}.{tail}", f"{head}.{body}.{sign}{tail}"),
        *(f"{head}.{body}.{tail[:9]}{sign}{tail[9:]}", f"{head}.{body}.{tail}{sign}x"),
    ):
        answer = await shared.present(changed)
        assert (answer.status, answer.code) == (400, 50027)


def set_unused_bit(segment: str) -> str:
    """Set an unused bit of a segment's last character: the same bytes in another encoding."""
    return segment[:-1] + ALPHABET[ALPHABET.index(segment[-1]) ^ 1]


async def test_unused_bits_at_the_end_of_a_part_are_refused(shared: World) -> None:
    """Most decoders ignore these bits; a list of used tokens would then not recognise the token."""
    header, claims = valid_parts(shared)
    tried = set()
    for pad in ("", "x", "xx"):
        head, body = signing_input({**header, "pad": pad}, {**claims, "pad": pad}).split(".")
        tail = build_token(shared, {**header, "pad": pad}, {**claims, "pad": pad}).rpartition(".")[
            2
        ]
        whole = {"head": head, "body": body, "tail": tail}
        for name, segment in whole.items():
            if len(segment) % 4:
                changed = ".".join({**whole, name: set_unused_bit(segment)}.values())
                answer = await shared.present(changed)
                assert answer.code == 50027
                assert "canonical" in answer.body["error_description"]
                tried.add(name)
    assert tried == {"head", "body", "tail"}


@pytest.mark.parametrize(
    "payload",
    [
        *(b"[]", b"null", b"1", b'"x"', b"", b" ", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"\xff"),
        *(b'{"a":"\xff"}', b'{"a":"\xc0\x80"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\\ud800"}'),
        *(b'{"a":"\\udc00\\ud800"}', b'{"\\ud800":1}', b'{"a":1}\0', b'{"a":"\0"}'),
        *(b'{"a":1}{"b":2}', b'{"a":1e400}', b'{"a":-1e400}', b'{"a":NaN}', b'{"a":Infinity}'),
        *(b'{"a":01}', b'{"a":+1}', b'{"a":1.}', b'{"a":0x1}', b'{"a":1,}', b"{'a':1}", b"{a:1}"),
        *(b'{"a":1}//x', b'{"a":"\t"}', b'{"a":"\n"}'),
        *(b'{"a":TRUE}', b'{"a":' + b"9" * 5000 + b"}"),
    ],
)
async def test_ambiguous_or_invalid_json_claims_are_refused(shared: World, payload: bytes) -> None:
    """Each payload is sent alone, and appended to the claims of a valid token."""
    header, claims = valid_parts(shared)
    assert (await shared.present(build_token(shared, header, payload))).code == 50027
    if payload.startswith(b"{"):
        appended = json.dumps(claims)[:-1].encode() + b"," + payload[1:]
        assert (await shared.present(build_token(shared, header, appended))).code == 50027


async def test_escaped_nul_is_compared_as_a_character(shared: World) -> None:
    """A comparison that stops at NUL would accept these texts."""
    for sub in (f"{shared.SUBJECT}\0", f"{shared.SUBJECT}\0x"):
        assert (await shared.present(shared.mint(sub=sub))).code == 700213
    assert (await shared.present(shared.mint(iss=f"{shared.ISSUER}\0"))).code == 700211


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("1e400", 50027),
        ("NaN", 50027),
        ("-Infinity", 50027),
        ("999999999999999999999999999999", 70023),
        ("1e300", 70023),
        ("1.8e9", 70023),
        ("-1", 700024),
        ("-999999999999999999999999999999", 700024),
        ("-0", 700024),
        ("0.5", 700024),
        ('"1750003600"', 90014),
        ('"NaN"', 90014),
        ("null", 90014),
        ("true", 90014),
        ("[1750003600]", 90014),
        ("{}", 90014),
    ],
)
async def test_expiry_that_is_not_a_valid_number_is_refused(
    shared: World, written: str, code: int
) -> None:
    header, claims = valid_parts(shared)
    claims.pop("exp")
    payload = json.dumps(claims)[:-1] + f',"exp":{written}}}'
    answer = await shared.present(build_token(shared, header, payload.encode()))
    assert answer.code == code
    assert answer.status in {400, 401}


async def test_expiry_with_a_fraction_is_accepted(shared: World) -> None:
    header, claims = valid_parts(shared)
    payload: dict[str, Any] = {**claims, "exp": shared.NOW + 0.5}
    assert (await shared.present(build_token(shared, header, payload))).status == 200


async def test_integer_beyond_float_precision_stays_exact(shared: World) -> None:
    assert jose.loads_object(b'{"exp":9007199254740993}')["exp"] == 9007199254740993
    late = 1_750_000_000 + 10**18
    assert (await shared.present(shared.mint(exp=late, iat=late - 5))).code == 700024
