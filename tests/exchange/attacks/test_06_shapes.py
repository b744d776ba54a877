"""Group 6: too few parts, too many, too long; a key id that is used as a path or a query."""

import pytest

from tests.exchange.attacks.forge import build_token, valid_parts
from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
LARGE = pytest.mark.filterwarnings("ignore:Sending a large body")  # a warning of aiohttp's client


@pytest.mark.parametrize(
    "token",
    [
        *("a", "a.b", "a.b.c.d", "a.b.c.d.e", ".", "..", "...", "....", "." * 20_000, "a.." * 5000),
        *("\0.\0.\0", "a b.c.d", "=.=.=", "{}", '{"payload":"","signatures":[]}'),
        *('{"protected":"","payload":"","signature":""}', "x" * 30_000, "Bearer eyJ.eyJ.x"),
    ],
)
async def test_malformed_token_is_refused_with_50027(shared: World, token: str) -> None:
    assert (await shared.present(token)).code == 50027


async def test_token_with_an_additional_or_missing_part_is_refused_with_50027(
    shared: World,
) -> None:
    token = shared.mint()
    head, body, tail = token.split(".")
    for changed in (f"{head}.{body}", f"{token}.", f".{token}", f"{token}.{tail}", f"{token}.a.b"):
        assert (await shared.present(changed)).code == 50027


async def test_encrypted_token_is_refused_before_decryption(shared: World) -> None:
    """A JWE has five parts; nothing is decrypted, decompressed or derived from a password."""
    for alg in ("dir", "RSA-OAEP", "PBES2-HS256+A128KW"):
        header = {"alg": alg, "enc": "A128GCM", "zip": "DEF", "p2c": 2**31, "p2s": "AAAA"}
        head = build_token(shared, header, {}).split(".")[0]
        answer = await shared.present(f"{head}.AAAA.AAAA.AAAA.AAAA")
        assert answer.code == 50027
        assert "three parts" in answer.body["error_description"]


async def test_compression_header_does_not_decompress_the_payload(shared: World) -> None:
    header, _ = valid_parts(shared)
    bomb = b"\x78\x9c" + b"\0" * 2000
    assert (await shared.present(build_token(shared, {**header, "zip": "DEF"}, bomb))).code == 50027


@LARGE
@pytest.mark.parametrize("token", ["." * 10_000_000, "x" * 10_000_000], ids=["dots", "letters"])
async def test_token_of_ten_million_characters_is_refused_before_parsing(
    shared: World, token: str
) -> None:
    answer = await shared.present(token)
    assert (answer.status, answer.code) == (413, 9002313)


async def test_token_over_the_size_limit_is_refused_with_50027(shared: World) -> None:
    for token in ("." * 60_000, shared.mint(pad="x" * 16_000)):
        answer = await shared.present(token)
        assert answer.code == 50027
        assert "longer than" in answer.body["error_description"]


@pytest.mark.parametrize(
    ("kid", "code"),
    [
        ("../../etc/passwd", 7000272),
        ("/dev/null", 7000272),
        ("' or 1=1 --", 7000272),
        ("1; drop table tenants", 7000272),
        ("a\nlevel=error", 7000272),
        ("a\r\nSet-Cookie: x=y", 7000272),
        ("\x1b[31m", 7000272),
        ("<script>alert(1)</script>", 7000272),
        ("{issuer.__class__}", 7000272),
        ("%(issuer)s", 7000272),
        ("\0", 7000272),
        ("\u202e", 7000272),
        ("x" * 3000, 7000272),
        ("x" * 9000, 50027),
        ("", 5002723),
        (5, 5002723),
        (True, 5002723),
        (["x"], 5002723),
        ({"x": 1}, 5002723),
        (None, 5002723),
    ],
)
async def test_key_id_is_only_compared_with_published_key_ids(
    shared: World, kid: object, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    header, claims = valid_parts(shared)
    with caplog.at_level("INFO"):
        answer = await shared.present(build_token(shared, {**header, "kid": kid}, claims))
    assert answer.code == code
    described = answer.body["error_description"]
    assert described.isprintable()
    assert len(described) < 1200
    assert all(name.isprintable() for name in answer.headers.values())
    events = [each.getMessage() for each in caplog.records if each.name.startswith("podpass")]
    assert events
    assert all(event.isidentifier() for event in events)


@LARGE
async def test_key_id_of_a_megabyte_is_refused(shared: World) -> None:
    header, claims = valid_parts(shared)
    token = build_token(shared, {**header, "kid": "x" * 1_000_000}, claims)
    answer = await shared.present(token)
    assert (answer.status, answer.code) == (413, 9002313)


@pytest.mark.parametrize("typ", ["at+jwt", "JWE", "dpop+jwt", "secevent+jwt", 5, None, ["JWT"], ""])
async def test_token_of_another_type_is_refused_as_assertion(shared: World, typ: object) -> None:
    assert (await shared.present(shared.mint({"typ": typ}))).code == 5002727


@pytest.mark.parametrize("typ", ["JWT", "jwt", "http://openid.net/specs/jwt/1.0"])
async def test_token_types_that_entra_accepts_are_accepted(shared: World, typ: str) -> None:
    assert (await shared.present(shared.mint({"typ": typ}))).status == 200
