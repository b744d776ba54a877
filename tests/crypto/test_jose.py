"""Tokens and keys: the examples of the RFCs, and two other libraries."""

import base64
import contextlib
import json
import string
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from podpass.crypto import jose
from podpass.crypto.jose import BadKey, BadSignature, MalformedToken, PublicKey

# RFC 7515 appendix A.2 and A.3, the RSA and the EC example, with their keys.
RFC7515_RSA = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Ql"
    "L-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs"
    "LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8"
    "NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
RFC7515_RSA_TOKEN = (
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p"
    "c19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_"
    "lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkS"
    "jtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9"
    "QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
RFC7515_EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_EC_TOKEN = (
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p"
    "c19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3"
    "-Kg6NU1Q"
)

PRIVATE = jose.generate_rsa()
SIGNER = jose.SigningKey(kid="k", key=PRIVATE)
PUBLIC = jose.load_jwk(jose.rsa_jwk(PRIVATE.public_key(), "k"))
EC256, EC384 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1()))
PEM = PRIVATE.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
DER = PRIVATE.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)


def encode_part(value: object) -> str:
    return jose.b64encode(json.dumps(value).encode())


def assemble(header: str, claims: str, sign: Callable[[bytes], bytes]) -> str:
    text = f"{header}.{claims}"
    return f"{text}.{jose.b64encode(sign(text.encode()))}"


def sign_rs256(text: bytes) -> bytes:
    return PRIVATE.sign(text, padding.PKCS1v15(), hashes.SHA256())


def ec_public(key: ec.EllipticCurvePrivateKey, alg: str) -> PublicKey:
    return PublicKey(kid="e", algs=frozenset({alg}), key=key.public_key())


@pytest.mark.parametrize(
    ("jwk", "token"), [(RFC7515_RSA, RFC7515_RSA_TOKEN), (RFC7515_EC, RFC7515_EC_TOKEN)]
)
def test_rfc_examples_verify(jwk: dict[str, str], token: str) -> None:
    parsed = jose.parse(token)
    jose.verify(parsed, jose.load_jwk(jwk))
    assert parsed.claims == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}


@pytest.mark.parametrize("token", [RFC7515_RSA_TOKEN, RFC7515_EC_TOKEN])
def test_rfc_examples_fail_with_another_key(token: str) -> None:
    for key in (PUBLIC, ec_public(EC256, "ES256")):
        with pytest.raises(BadSignature):
            jose.verify(jose.parse(token), key)


def test_two_other_libraries_accept_tokens_of_podpass() -> None:
    token = SIGNER.sign({"sub": "ü", "n": 1}, {"typ": "JWT"})
    assert jwt.decode(token, PEM, algorithms=["RS256"]) == {"sub": "ü", "n": 1}
    key = RSAKey.import_key(PEM)
    signed = jws.deserialize_compact(token, key, algorithms=["RS256"])
    assert signed.headers() == {"alg": "RS256", "kid": "k", "typ": "JWT"}


@pytest.mark.parametrize("alg", ["RS256", "RS384", "RS512", "ES256", "ES384"])
def test_tokens_of_other_libraries_are_accepted(alg: str) -> None:
    private: Any = {"ES256": EC256, "ES384": EC384}.get(alg, PRIVATE)
    token = jwt.encode({"sub": "s"}, private, alg, {"kid": "k"})
    kind = RSAKey if alg.startswith("RS") else ECKey
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    other = jws.serialize_compact({"alg": alg}, b"{}", kind.import_key(pem), algorithms=[alg])
    public = PublicKey(kid=None, algs=frozenset({alg}), key=private.public_key())
    for each in (token, other):
        jose.verify(jose.parse(each), public)
    with pytest.raises(BadSignature):
        jose.verify(jose.parse(token[:-8] + "AAAAAAAA"), public)


CLAIMS = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    max_size=6,
)


@given(claims=CLAIMS)
def test_any_claims_survive_a_round_trip_through_two_libraries(claims: dict[str, Any]) -> None:
    token = SIGNER.sign(claims)
    parsed = jose.parse(token)
    jose.verify(parsed, PUBLIC)
    assert parsed.claims == claims
    key = RSAKey.import_key(PEM)
    payload = jws.deserialize_compact(token, key, algorithms=["RS256"]).payload
    assert payload is not None
    assert json.loads(payload) == claims


def pad(text: str) -> str:
    return text + "=" * (-len(text) % 4)


def sign_padded(claims: dict[str, Any]) -> str:
    text = ".".join(map(pad, SIGNER.signing_input(claims).split(".")))
    return f"{text}.{pad(jose.b64encode(SIGNER.signature(text)))}"


@given(claims=CLAIMS)
def test_padded_token_is_parsed_only_as_such(claims: dict[str, Any]) -> None:
    token = sign_padded(claims)
    parsed = jose.parse(token, padded=True)
    jose.verify(parsed, PUBLIC)
    assert parsed.claims == claims
    with pytest.raises(MalformedToken):
        jose.parse(token)
    with pytest.raises(MalformedToken, match="padded"):
        jose.parse(SIGNER.sign(claims), padded=True)


@pytest.mark.parametrize("padded", [False, True])
@given(position=st.integers(0, 400), sign=st.sampled_from("AZaz09-_.=+/ \n\x00é"))
def test_modified_token_is_never_accepted(padded: bool, position: int, sign: str) -> None:
    claims = {"sub": "system:serviceaccount:default:web", "aud": ["a"]}
    token = sign_padded(claims) if padded else SIGNER.sign(claims)
    position %= len(token)
    if token[position] == sign:
        return
    changed = token[:position] + sign + token[position + 1 :]
    with pytest.raises((MalformedToken, BadSignature)):
        jose.verify(jose.parse(changed, padded=padded), PUBLIC)


@pytest.mark.parametrize("size", [2, 3])
def test_last_character_with_unused_bits_is_refused(size: int) -> None:
    for sign in string.ascii_letters + string.digits + "-_":
        text = "A" * (size - 1) + sign
        data = base64.urlsafe_b64decode(text + "=" * (4 - size))
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text:
            assert jose.b64decode(text) == data
        else:
            with pytest.raises(MalformedToken, match="canonical"):
                jose.b64decode(text)


@pytest.mark.parametrize("parts", [0, 1, 2, 4, 5])
def test_token_without_three_parts_is_refused(parts: int) -> None:
    with pytest.raises(MalformedToken, match="three parts"):
        jose.parse(".".join(["e30"] * parts))


REASONS = {
    f"longer than {jose.MAX_TOKEN_BYTES} bytes",
    f"header longer than {jose.MAX_HEADER_BYTES} bytes",
    "not three parts",
    "not base64url",
    "not padded base64url",
    "not canonical base64url",
    "not a JSON object",
    "a JSON member occurs twice",
    "a critical header extension is not supported",
}


@given(text=st.text(max_size=300) | st.from_regex(r"[\w-]{0,40}(\.[\w-]{0,40}){0,5}"))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for padded in (False, True):
        try:
            jose.parse(text, padded=padded)
        except MalformedToken as exc:
            assert exc.message in REASONS, "a reason contains nothing of the text"


@given(data=st.binary(max_size=200))
def test_any_bytes_are_parsed_as_an_object_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedToken):
        assert isinstance(jose.loads_object(data), dict)


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", None, [], ["RS256"], 0, "rs256", "PS256", "EdDSA"]
)
def test_unsupported_algorithm_never_verifies(alg: object) -> None:
    for signature in (b"", sign_rs256(b"x")):
        head, body = encode_part({"alg": alg}), encode_part({})
        token = jose.parse(assemble(head, body, lambda _, s=signature: s))  # type: ignore[misc]
        with pytest.raises(BadSignature):
            jose.verify(token, PUBLIC)


def test_missing_algorithm_never_verifies() -> None:
    with pytest.raises(BadSignature):
        jose.verify(jose.parse(assemble(encode_part({}), encode_part({}), sign_rs256)), PUBLIC)


@pytest.mark.parametrize(
    "secret",
    [PEM, PEM.strip(), PEM + b"\n", b"\n" + PEM, DER, json.dumps(RFC7515_RSA).encode(), b""],
)
@pytest.mark.parametrize("alg", ["HS256", "RS256"])
def test_public_key_is_not_used_as_hmac_secret(secret: bytes, alg: str) -> None:
    def compute_mac(text: bytes) -> bytes:
        context = hmac.HMAC(secret or b"\0", hashes.SHA256())
        context.update(text)
        return context.finalize()

    token = jose.parse(assemble(encode_part({"alg": alg}), encode_part({}), compute_mac))
    with pytest.raises(BadSignature):
        jose.verify(token, PUBLIC)


def test_key_type_must_match_the_algorithm() -> None:
    signed = jose.parse(assemble(encode_part({"alg": "RS256"}), encode_part({}), sign_rs256))
    for alg, key in (("ES256", EC256), ("ES384", EC384)):
        with pytest.raises(BadSignature):
            jose.verify(signed, ec_public(key, alg))
    # A P-384 key must not be used with ES256, even if the JWKS says so.
    token = jwt.encode({}, EC384, "ES384")
    forged = assemble(encode_part({"alg": "ES256"}), token.split(".")[1], lambda _: bytes(64))
    with pytest.raises(BadSignature):
        jose.verify(jose.parse(forged), ec_public(EC384, "ES384"))


def test_pss_declared_as_pkcs1_fails() -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    token = assemble(
        encode_part({"alg": "RS256"}),
        encode_part({}),
        lambda text: PRIVATE.sign(text, pss, hashes.SHA256()),
    )
    with pytest.raises(BadSignature):
        jose.verify(jose.parse(token), PUBLIC)


def test_ec_signature_is_two_nonzero_numbers_of_fixed_length() -> None:
    def encode_der(text: bytes) -> bytes:
        return EC256.sign(text, ec.ECDSA(hashes.SHA256()))

    for sign in (encode_der, lambda _: bytes(64), lambda _: b"", lambda _: bytes(63) + b"\1"):
        token = assemble(encode_part({"alg": "ES256"}), encode_part({}), sign)
        with pytest.raises(BadSignature):
            jose.verify(jose.parse(token), ec_public(EC256, "ES256"))


@pytest.mark.parametrize(
    "header",
    [
        *({"crit": ["exp"]}, {"crit": []}, {"crit": None}, {"b64": False}),
        *({"b64": True}, {"crit": ["b64"], "b64": False}),
    ],
)
def test_critical_extensions_are_refused(header: dict[str, Any]) -> None:
    with pytest.raises(MalformedToken, match="critical"):
        jose.parse(assemble(encode_part({"alg": "RS256", **header}), encode_part({}), sign_rs256))


def test_keys_named_in_the_header_are_not_used() -> None:
    attacker = rsa.generate_private_key(65537, 2048)
    jwk = jose.rsa_jwk(attacker.public_key(), "x")
    for extra in ({"jwk": jwk}, {"jku": "https://evil.test/"}, {"x5u": "https://evil.test/"}):
        token = jose.SigningKey(kid="k", key=attacker).sign({}, extra)
        with pytest.raises(BadSignature):
            jose.verify(jose.parse(token), PUBLIC)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "",
        "..",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        "." * 10_000_000,
        "a" * 20_000,
        json.dumps({"payload": "", "signatures": []}),
    ],
)
def test_other_serializations_of_a_token_are_refused(text: str) -> None:
    with pytest.raises(MalformedToken):
        jose.parse(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t + "=",
        lambda t: t.replace(".", "=.", 1),
        lambda t: " " + t,
        lambda t: t + "\n",
        lambda t: t.replace(".", ". ", 1),
        lambda t: t.replace(".", "+/.", 1),
        lambda t: t[:-1] + chr(ord(t[-1]) + 1),
        lambda t: t + "\u0430",
        lambda t: t + "\udc80",
    ],
)
def test_token_has_only_one_encoding(change: Callable[[str], str]) -> None:
    token = assemble(encode_part({"alg": "RS256"}), encode_part({}), lambda _: b"ab")
    with pytest.raises(MalformedToken):
        jose.parse(change(token))


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":1}\x00',
        b"[]",
        b"null",
        b'"{}"',
        b"",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":' + b"9" * 6000 + b"}",
    ],
)
def test_ambiguous_json_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedToken):
        jose.loads_object(data)


def test_huge_header_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(MalformedToken, match="header"):
        jose.parse(assemble(encode_part({"kid": "x" * 5000}), encode_part({}), lambda _: b""))


def test_repr_of_a_token_contains_neither_signature_nor_text() -> None:
    token = jose.parse(SIGNER.sign({"sub": "s"}))
    assert "signature" not in repr(token)
    assert "signed" not in repr(token)
    assert "key" not in repr(SIGNER)


def create_rsa_jwk(bits: int = 2048) -> dict[str, Any]:
    n = (1 << (bits - 1)) | 1
    return {"kty": "RSA", "n": encode_integer(n), "e": "AQAB"}


def encode_integer(number: int) -> str:
    return jose.b64encode(number.to_bytes(max(1, (number.bit_length() + 7) // 8)))


GOOD = jose.rsa_jwk(PRIVATE.public_key(), "k")
GOOD_N = PRIVATE.public_key().public_numbers().n


@pytest.mark.parametrize(
    "jwk",
    [
        create_rsa_jwk(512),
        create_rsa_jwk(1024),
        create_rsa_jwk(2047),
        create_rsa_jwk(8193),
        create_rsa_jwk(16384),
        {**GOOD, "e": encode_integer(1)},
        {**GOOD, "e": encode_integer(2)},
        {**GOOD, "e": encode_integer(65536)},
        {**GOOD, "e": encode_integer(2**64 + 1)},
        {**GOOD, "n": encode_integer(0)},
        {**GOOD, "n": encode_integer(GOOD_N - 1)},
        {**GOOD, "n": None},
        {**GOOD, "n": "!"},
        {**GOOD, "n": 5},
        {**GOOD, "use": "enc"},
        {**GOOD, "use": None},
        {**GOOD, "key_ops": ["encrypt"]},
        {**GOOD, "key_ops": "verify"},
        {**GOOD, "key_ops": 1},
        {**GOOD, "alg": "ES256"},
        {**GOOD, "alg": "PS256"},
        {**GOOD, "alg": ["RS256"]},
        {**GOOD, "alg": {}},
        {**GOOD, "kid": 5},
        {**GOOD, "kty": "rsa"},
        {**GOOD, "kty": ["RSA"]},
        {**GOOD, "kty": None},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {**RFC7515_EC, "crv": "P-384"},
        {**RFC7515_EC, "crv": "P-521"},
        {**RFC7515_EC, "crv": []},
        {**RFC7515_EC, "alg": "ES384"},
        {**RFC7515_EC, "x": "A" * 5000},
    ],
)
def test_unsupported_jwk_is_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises((BadKey, MalformedToken)):
        jose.load_jwk(jwk)
    assert jose.load_jwks({"keys": [jwk, GOOD]})[0].kid == "k"


def test_small_rsa_exponent_is_accepted() -> None:
    for exponent in (3, 65537, 2**31 + 1, 2**32 - 1):
        assert jose.load_jwk({**GOOD, "e": encode_integer(exponent)}).algs == {"RS256"}


def test_key_without_alg_may_use_every_algorithm_of_its_type() -> None:
    assert jose.load_jwk(RFC7515_RSA).algs == {"RS256", "RS384", "RS512"}
    assert jose.load_jwk({**RFC7515_RSA, "alg": "RS512"}).algs == {"RS512"}
    assert jose.load_jwk(RFC7515_EC).algs == {"ES256"}


def test_jwks_is_limited_to_a_hundred_keys() -> None:
    entries: list[Any] = [5, None, *({**RFC7515_EC, "kid": str(n)} for n in range(10_000))]
    keys = jose.load_jwks({"keys": entries})
    assert [key.kid for key in keys] == [str(n) for n in range(98)]


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": None}, {"keys": "x"}])
def test_document_without_key_list_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(BadKey):
        jose.load_jwks(document)


def test_private_key_survives_pem_round_trip() -> None:
    again = jose.load_private_pem(jose.private_key_pem(PRIVATE))
    assert again.private_numbers() == PRIVATE.private_numbers()
    ec_pem = EC256.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for bad in (b"", PEM, ec_pem, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"):
        with pytest.raises(BadKey):
            jose.load_private_pem(bad)


def test_key_id_equals_that_of_kube_apiserver() -> None:
    """The key ID is base64url without padding of SHA-256 over the DER public key."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(DER)
    expected = base64.urlsafe_b64encode(digest.finalize()).rstrip(b"=").decode()
    assert jose.public_key_id(PRIVATE.public_key()) == expected
    assert len(expected) == 43


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=12,
)


@given(value=st.dictionaries(st.text("ab", max_size=2), _JSON), spaces=st.booleans())
def test_both_json_parsers_return_the_same_object(value: dict[str, Any], spaces: bool) -> None:
    """A canonical text is parsed once; any other text is parsed by the second parser too."""
    text = json.dumps(value, separators=None if spaces else (",", ":"), ensure_ascii=spaces)
    assert json.dumps(jose.loads_object(text.encode())) == json.dumps(value)


@given(inner=_JSON, other=_JSON, depth=st.integers(0, 3), space=st.sampled_from(["", " "]))
def test_duplicate_member_is_refused_at_any_depth(
    inner: object, other: object, depth: int, space: str
) -> None:
    """Fails if only the fast parser is used: it accepts the last of two members."""
    twice = f'{{"a":{space}{json.dumps(inner)},"a":{json.dumps(other)}}}'
    text = '{"b":[' * depth + twice + "]}" * depth
    with pytest.raises(MalformedToken):
        jose.loads_object(text.encode())


# Tokens and keys at the exact limits.


def segment(length: int, **members: object) -> str:
    """Return a JSON object that has this many characters in base64url."""
    bare = len(json.dumps({**members, "pad": ""}))
    text = jose.b64encode(json.dumps({**members, "pad": "x" * (length * 3 // 4 - bare)}).encode())
    assert len(text) == length
    return text


def test_token_longer_than_the_limit_is_refused() -> None:
    body, tail = segment(jose.MAX_TOKEN_BYTES - 405), "A" * 400
    exact = f"e30.{body}.{tail}"
    assert len(exact) == jose.MAX_TOKEN_BYTES
    assert len(jose.parse(exact).signature) == 300
    with pytest.raises(MalformedToken, match=f"longer than {jose.MAX_TOKEN_BYTES}"):
        jose.parse(f"{exact}A")


def test_header_longer_than_the_limit_is_refused() -> None:
    exact = segment(jose.MAX_HEADER_BYTES, alg="RS256")
    assert jose.parse(f"{exact}.e30.AAAA").alg == "RS256"
    longer = segment(jose.MAX_HEADER_BYTES + 2, alg="RS256")
    with pytest.raises(MalformedToken, match=f"header longer than {jose.MAX_HEADER_BYTES}"):
        jose.parse(f"{longer}.e30.AAAA")


def test_signed_text_ends_before_the_last_dot() -> None:
    token = jose.parse("e30.eyJhIjoxfQ.AAEC")
    assert (token.signed, token.signature) == (b"e30.eyJhIjoxfQ", b"\0\1\2")
    assert (token.header, token.claims, token.alg, token.kid) == ({}, {"a": 1}, "", None)


@pytest.mark.parametrize(
    "header", ['{"alg":5,"kid":7}', '{"alg":null,"kid":null}', '{"alg":["x"]}']
)
def test_alg_and_kid_of_other_types_are_ignored(header: str) -> None:
    token = jose.parse(f"{jose.b64encode(header.encode())}.e30.")
    assert (token.alg, token.kid) == ("", None)


@pytest.mark.parametrize("size", range(40))
def test_bytes_of_every_length_have_one_encoding(size: int) -> None:
    data = bytes(range(200, 200 + size))
    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert jose.b64encode(data) == text
    assert jose.b64decode(text) == data
    for other in (text + "=", text + "A" * ((1 - len(text)) % 4 or 4)):
        with pytest.raises(MalformedToken):
            jose.b64decode(other)


@pytest.mark.parametrize("bits", [2048, 2049, 3072, 4096])
def test_rsa_keys_of_2048_to_4096_bits_are_accepted(bits: int) -> None:
    assert jose.load_jwk(create_rsa_jwk(bits)).key.key_size == bits


@pytest.mark.parametrize("e", [3, 5, 17, 65537, 2**31 + 1, 2**32 - 1])
def test_exponents_from_3_to_32_bits_are_accepted(e: int) -> None:
    key = jose.load_jwk({**GOOD, "e": encode_integer(e)}).key
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.public_numbers().e == e


@pytest.mark.parametrize(
    "jwk",
    [
        {**GOOD, "e": encode_integer(2**32 + 1)},
        {**GOOD, "e": "AAAAAAAAAAAAAAAAAAAAAAAB"},
        {**GOOD, "n": "A" * 3000 + str(GOOD["n"])},
        {**RFC7515_EC, "x": "AAAA" * 16 + str(RFC7515_EC["x"])},
        {**RFC7515_EC, "y": None},
        {**RFC7515_EC, "x": 5},
        {**RFC7515_EC, "kid": 5},
        {**RFC7515_EC, "use": "enc"},
        {**RFC7515_EC, "key_ops": ["sign"]},
        {**RFC7515_EC, "alg": "ES256K"},
    ],
)
def test_overlong_numbers_and_keys_for_other_uses_are_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises((BadKey, MalformedToken)):
        jose.load_jwk(jwk)


@pytest.mark.parametrize("changes", [{}, {"use": "sig"}, {"key_ops": ["verify"]}, {"kid": "k"}])
def test_optional_jwk_members_are_accepted(changes: dict[str, Any]) -> None:
    for bare in (RFC7515_RSA, RFC7515_EC):
        key = jose.load_jwk({**bare, **changes})
        assert key.kid == changes.get("kid")
    assert jose.load_jwk({**RFC7515_RSA, "key_ops": ["sign", "verify"]}).algs == {
        "RS256",
        "RS384",
        "RS512",
    }


def test_jwk_round_trip_is_unchanged() -> None:
    key = jose.load_jwk(RFC7515_RSA).key
    assert isinstance(key, rsa.RSAPublicKey)
    expected = {**RFC7515_RSA, "use": "sig", "kid": "x", "alg": "RS256", "extra": 1}
    assert jose.rsa_jwk(key, "x", extra=1) == expected
    # The lengths of modulus and exponent in bits are not multiples of eight.
    for n, e in (
        ((1 << 2049) | 1, 3),
        ((1 << 2055) | 1, 257),
        ((1 << 2056) | 1, 65537),
        ((1 << 2048) | 1, 131),
    ):
        written = jose.rsa_jwk(rsa.RSAPublicNumbers(e, n).public_key(), "x")
        assert (written["n"], written["e"]) == (encode_integer(n), encode_integer(e))


def test_generated_key_is_accepted() -> None:
    key = jose.generate_rsa()
    assert (key.key_size, key.public_key().public_numbers().e) == (2048, 65537)
    pem = jose.private_key_pem(key)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert jose.load_private_pem(pem).private_numbers() == key.private_numbers()


def test_encrypted_or_other_key_is_refused() -> None:
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    closed = jose.generate_rsa().private_bytes(
        *kinds, serialization.BestAvailableEncryption(b"password")
    )
    elliptic = EC256.private_bytes(*kinds, serialization.NoEncryption())
    for pem in (
        closed,
        elliptic,
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ):
        with pytest.raises(BadKey):
            jose.load_private_pem(pem)


@pytest.mark.parametrize(("key", "alg", "size"), [(EC256, "ES256", 32), (EC384, "ES384", 48)])
def test_malformed_ec_signature_is_refused(
    key: ec.EllipticCurvePrivateKey, alg: str, size: int
) -> None:
    digest: Any = hashes.SHA256() if size == 32 else hashes.SHA384()
    head, public = (
        jose.b64encode(jose.dumps({"alg": alg})),
        jose.PublicKey(kid=None, algs=frozenset({alg}), key=key.public_key()),
    )
    r, s = decode_dss_signature(key.sign(f"{head}.e30".encode(), ec.ECDSA(digest)))
    good = r.to_bytes(size) + s.to_bytes(size)
    jose.verify(jose.parse(f"{head}.e30.{jose.b64encode(good)}"), public)
    swapped = s.to_bytes(size) + r.to_bytes(size)
    for bad in (
        swapped,
        good[:-1],
        good + b"\0",
        b"\0" + good,
        good[:size] + b"\0" + good[size:],
        b"",
    ):
        with pytest.raises(BadSignature):
            jose.verify(jose.parse(f"{head}.e30.{jose.b64encode(bad)}"), public)


def test_invalid_jwks_entry_does_not_hide_the_others() -> None:
    first, second = {**GOOD, "kid": "a"}, {**RFC7515_EC, "kid": "b"}
    broken: list[Any] = [None, [], "x", {}, {**GOOD, "n": "!"}, {**GOOD, "use": "enc"}]
    found = jose.load_jwks({"keys": [*broken, first, *broken, second]})
    assert [key.kid for key in found] == ["a", "b"]
    many = [{**RFC7515_EC, "kid": str(number)} for number in range(jose.MAX_KEYS + 1)]
    assert len(jose.load_jwks({"keys": many})) == jose.MAX_KEYS


def test_additional_header_members_are_signed() -> None:
    signer = jose.SigningKey(kid="k", key=jose.generate_rsa())
    plain, more = jose.parse(signer.sign({"a": 1})), jose.parse(signer.sign({}, {"typ": "JWT"}))
    assert plain.header == {"alg": "RS256", "kid": "k"}
    assert more.header == {"alg": "RS256", "kid": "k", "typ": "JWT"}
    jose.verify(
        plain, jose.PublicKey(kid="k", algs=frozenset({"RS256"}), key=signer.key.public_key())
    )
