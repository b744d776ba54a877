"""The algorithms of keys: what one library signs or encrypts, another one verifies or decrypts.

PyCryptodome has implementations of its own. For the curve P-256K and for RSNULL, which it lacks, the other
library is the `openssl` command.
"""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from Crypto.Cipher import PKCS1_OAEP, PKCS1_v1_5
from Crypto.Hash import SHA1, SHA256, SHA384, SHA512
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import DSS, pkcs1_15, pss
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault import key_types
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.keys import algorithms
from tests.suite_policy import examples

HASHES: dict[str, Any] = {"256": SHA256, "384": SHA384, "512": SHA512}
ES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
RSA_KEYS: dict[int, rsa.RSAPrivateKey] = {
    bits: rsa.generate_private_key(65537, bits) for bits in (2048, 3072, 4096)
}
EC_KEYS = {name: ec.generate_private_key(curve) for name, curve in ES.items()}
KOBLITZ = ec.generate_private_key(ec.SECP256K1())
SIGNING = sorted(set(algorithms.SIGNATURES) - {"RSNULL", "ES256K"})

messages = st.binary(max_size=100)
sizes = st.sampled_from(sorted(RSA_KEYS))


def pem(key: PrivateKey) -> str:
    return key_types.encode_key(key).decode()


def verifier(algorithm: str, key: PrivateKey) -> Any:
    if algorithm.startswith("ES"):
        return DSS.new(ECC.import_key(pem(key)), "fips-186-3")
    module = pss if algorithm.startswith("PS") else pkcs1_15
    return module.new(RSA.import_key(pem(key)))


@pytest.mark.parametrize("algorithm", SIGNING)
@settings(max_examples=examples(8), deadline=None)
@given(message=messages, size=sizes)
def test_signature_is_that_of_another_library(algorithm: str, message: bytes, size: int) -> None:
    key = EC_KEYS.get(algorithm) or RSA_KEYS[size]
    digest = HASHES[algorithm[2:]].new(message)
    other = verifier(algorithm, key)
    other.verify(digest, algorithms.sign(key, algorithm, digest.digest()))
    theirs = other.sign(digest)
    public = key.public_key()
    assert algorithms.verify(public, algorithm, digest.digest(), theirs)
    wrong = bytes([theirs[0], theirs[1] ^ 1, *theirs[2:]])
    assert not algorithms.verify(public, algorithm, digest.digest(), wrong)
    altered = HASHES[algorithm[2:]].new(message + b"x").digest()
    assert not algorithms.verify(public, algorithm, altered, theirs)


@pytest.mark.parametrize("algorithm", sorted(algorithms.ENCRYPTION))
@settings(max_examples=examples(8), deadline=None)
@given(value=st.binary(max_size=150), size=sizes)
def test_ciphertext_is_that_of_another_library(algorithm: str, value: bytes, size: int) -> None:
    key = RSA_KEYS[size]
    theirs = RSA.import_key(pem(key))
    mine = algorithms.encrypt(key.public_key(), algorithm, value)
    if algorithm == "RSA1_5":
        padded = PKCS1_v1_5.new(theirs)
        decrypted, encrypted = padded.decrypt(mine, None), padded.encrypt(value)
    else:
        other = PKCS1_OAEP.new(theirs, SHA1 if algorithm == "RSA-OAEP" else SHA256)
        decrypted, encrypted = other.decrypt(mine), other.encrypt(value)
    assert decrypted == value
    assert algorithms.decrypt(key, algorithm, encrypted) == value


def run_openssl(folder: Path, arguments: list[str], **files: bytes) -> bytes:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    output = folder / "output"
    command = ["openssl", *arguments, "-out", str(output)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return output.read_bytes()


def test_koblitz_signature_is_that_of_openssl(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"message").digest()
    r_s = algorithms.sign(KOBLITZ, "ES256K", digest)
    assert len(r_s) == 64
    der = encode_dss_signature(*(int.from_bytes(half, "big") for half in (r_s[:32], r_s[32:])))
    files = {"key.pem": key_types.encode_key(KOBLITZ), "digest": digest, "signature": der}
    verify = ["pkeyutl", "-verify", "-inkey", "key.pem", "-in", "digest", "-sigfile", "signature"]
    assert b"Verified Successfully" in run_openssl(tmp_path, verify, **files)
    made = run_openssl(tmp_path, ["pkeyutl", "-sign", "-inkey", "key.pem", "-in", "digest"])
    raw = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(made))
    assert algorithms.verify(KOBLITZ.public_key(), "ES256K", digest, raw)


def test_signature_without_digest_info_is_that_of_openssl(tmp_path: Path) -> None:
    key, value = RSA_KEYS[2048], b"any value, such as MD5 and SHA-1"
    files = {"key.pem": key_types.encode_key(key), "value": value}
    theirs = run_openssl(
        tmp_path, ["pkeyutl", "-sign", "-inkey", "key.pem", "-in", "value"], **files
    )
    assert algorithms.sign(key, "RSNULL", value) == theirs
    assert algorithms.verify(key.public_key(), "RSNULL", value, theirs)
    assert not algorithms.verify(key.public_key(), "RSNULL", value + b"!", theirs)


@pytest.mark.parametrize("algorithm", SIGNING)
def test_digest_of_another_length_is_refused(algorithm: str) -> None:
    key = EC_KEYS.get(algorithm) or RSA_KEYS[2048]
    size = int(algorithm[2:]) // 8
    for digest in (b"", b"x" * (size - 1), b"x" * (size + 1), b"x" * 1000):
        with pytest.raises(BadParameter, match=f"must have {size} bytes"):
            algorithms.sign(key, algorithm, digest)
        with pytest.raises(BadParameter, match=f"must have {size} bytes"):
            algorithms.verify(key.public_key(), algorithm, digest, b"")


def test_value_without_digest_info_is_bounded_by_the_key() -> None:
    assert len(algorithms.sign(RSA_KEYS[2048], "RSNULL", b"x" * 245)) == 256
    for value in (b"", b"x" * 246):
        with pytest.raises(BadParameter, match="1 to 245 bytes"):
            algorithms.sign(RSA_KEYS[2048], "RSNULL", value)


@pytest.mark.parametrize(
    ("algorithm", "key", "message"),
    [
        ("RS256", EC_KEYS["ES256"], "type 'EC', and 'RS256' needs a key of type 'RSA'"),
        ("ES256", RSA_KEYS[2048], "type 'RSA', and 'ES256' needs a key of type 'EC'"),
        ("ES256", KOBLITZ, "curve 'P-256K', and 'ES256' needs a key on curve 'P-256'"),
        ("ES256K", EC_KEYS["ES256"], "curve 'P-256', and 'ES256K' needs"),
        ("HS256", RSA_KEYS[2048], "'alg' must be one of RS256"),
        ("none", RSA_KEYS[2048], "'alg' must be one of RS256"),
        ("RSA-OAEP", RSA_KEYS[2048], "'alg' must be one of RS256"),
    ],
)
def test_algorithm_for_another_key_is_refused(
    algorithm: str, key: PrivateKey, message: str
) -> None:
    for call in (
        lambda: algorithms.sign(key, algorithm, b"x" * 32),
        lambda: algorithms.verify(key.public_key(), algorithm, b"x" * 32, b""),
    ):
        with pytest.raises(BadParameter, match=message):
            call()


def test_encryption_needs_an_rsa_key_and_a_known_algorithm() -> None:
    key = EC_KEYS["ES256"]
    with pytest.raises(BadParameter, match="needs a key of type 'RSA'"):
        algorithms.encrypt(key.public_key(), "RSA-OAEP", b"x")
    with pytest.raises(BadParameter, match="needs a key of type 'RSA'"):
        algorithms.decrypt(key, "RSA-OAEP", b"x")
    for name in ("A256GCM", "RS256", "A128KW"):
        with pytest.raises(BadParameter, match="'alg' must be one of RSA1_5"):
            algorithms.encrypt(RSA_KEYS[2048].public_key(), name, b"x")


@pytest.mark.parametrize(
    ("algorithm", "most"), [("RSA1_5", 245), ("RSA-OAEP", 214), ("RSA-OAEP-256", 190)]
)
def test_value_that_is_too_long_for_the_key_is_refused(algorithm: str, most: int) -> None:
    public = RSA_KEYS[2048].public_key()
    assert len(algorithms.encrypt(public, algorithm, b"x" * most)) == 256
    with pytest.raises(BadParameter, match="too long"):
        algorithms.encrypt(public, algorithm, b"x" * (most + 1))


@pytest.mark.parametrize("algorithm", sorted(algorithms.ENCRYPTION))
@pytest.mark.parametrize("size", [0, 1, 255, 257, 5000])
def test_ciphertext_of_another_length_is_refused(algorithm: str, size: int) -> None:
    with pytest.raises(BadParameter, match="cannot be decrypted"):
        algorithms.decrypt(RSA_KEYS[2048], algorithm, b"x" * size)


def test_wrong_padding_is_no_oracle() -> None:
    """A ciphertext with wrong PKCS #1 padding decrypts to bytes that depend on key and ciphertext only."""
    key = RSA_KEYS[2048]
    wrong = rsa_raw(key, b"\x00\x03" + b"x" * 254)
    assert algorithms.decrypt(key, "RSA1_5", wrong) == algorithms.decrypt(key, "RSA1_5", wrong)
    for algorithm in ("RSA-OAEP", "RSA-OAEP-256"):
        with pytest.raises(BadParameter, match="cannot be decrypted"):
            algorithms.decrypt(key, algorithm, wrong)


def rsa_raw(key: rsa.RSAPrivateKey, block: bytes) -> bytes:
    numbers = key.public_key().public_numbers()
    return pow(int.from_bytes(block, "big"), numbers.e, numbers.n).to_bytes(256, "big")


@pytest.mark.parametrize(
    "signature", [b"", b"\0" * 64, b"\xff" * 64, b"x" * 63, b"x" * 65, b"x" * 72]
)
def test_malformed_ec_signature_is_false(signature: bytes) -> None:
    key = EC_KEYS["ES256"].public_key()
    assert not algorithms.verify(key, "ES256", b"x" * 32, signature)


def test_der_signature_of_an_ec_key_is_false() -> None:
    key = EC_KEYS["ES256"]
    digest = b"x" * 32
    raw = algorithms.sign(key, "ES256", digest)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    assert algorithms.verify(key.public_key(), "ES256", digest, raw)
    assert not algorithms.verify(key.public_key(), "ES256", digest, der)
    # Another text of the same numbers: a signature must have one form only.
    padded = raw[:32] + b"\0" + raw[32:]
    assert not algorithms.verify(key.public_key(), "ES256", digest, padded)


@pytest.mark.parametrize("signature", [b"", b"x" * 255, b"x" * 256, b"\xff" * 256, b"x" * 257])
def test_malformed_rsa_signature_is_false(signature: bytes) -> None:
    key = RSA_KEYS[2048].public_key()
    for algorithm in ("RS256", "PS256", "RSNULL"):
        assert not algorithms.verify(key, algorithm, b"x" * 32, signature)
