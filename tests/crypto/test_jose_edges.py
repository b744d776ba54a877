"""Tokens and keys at the exact limits."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from podpass.crypto import jose
from podpass.crypto.jose import BadKey, BadSignature, MalformedToken
from tests.crypto.test_jose import (
    EC256,
    EC384,
    GOOD,
    RFC7515_EC,
    RFC7515_RSA,
    create_rsa_jwk,
    encode_integer,
)


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
