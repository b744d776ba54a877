"""`podpass jwks`: keys of all kinds of PEM blocks, and the form of the output."""

import base64
import hashlib
import json
import stat
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.cli.azure_world import run_here
from tests.provision.test_sign_in import write_certificate

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVES: dict[str, ec.EllipticCurvePrivateKey] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}


def _private(key: PrivateKey, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def _public(key: PrivateKey, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, form)


def _kid(key: PrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


@pytest.mark.parametrize(
    "data",
    [
        _public(RSA),
        _public(RSA, PublicFormat.PKCS1),
        _private(RSA),
        _private(RSA, PrivateFormat.TraditionalOpenSSL),
    ],
    ids=["public", "rsa-public", "private", "rsa-private"],
)
def test_rsa_key_of_every_block_is_published_without_its_private_part(
    tmp_path: Path, data: bytes
) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(b"text before\n" + data)
    done = run_here("jwks", "--public-keys", str(file))
    assert done.returncode == 0
    [jwk] = json.loads(done.stdout)["keys"]
    assert list(jwk) == ["use", "kty", "kid", "alg", "n", "e"]
    assert (jwk["use"], jwk["alg"], jwk["e"], jwk["kid"]) == ("sig", "RS256", "AQAB", _kid(RSA))
    token = jwt.encode({"a": 1}, _private(RSA), "RS256")
    assert jwt.decode(token, jwt.PyJWK(jwk).key, ["RS256"]) == {"a": 1}


@pytest.mark.parametrize("alg", list(CURVES))
def test_ec_key_has_the_algorithm_of_its_curve(tmp_path: Path, alg: str) -> None:
    key, file = CURVES[alg], tmp_path / "key.pem"
    file.write_bytes(_private(key, PrivateFormat.TraditionalOpenSSL))
    [jwk] = json.loads(run_here("jwks", "--public-keys", str(file)).stdout)["keys"]
    assert list(jwk) == ["use", "kty", "kid", "crv", "alg", "x", "y"]
    assert (jwk["alg"], jwk["kid"]) == (alg, _kid(key))
    token = jwt.encode({"a": 1}, _private(key), alg)
    assert jwt.decode(token, jwt.PyJWK(jwk).key, [alg]) == {"a": 1}


def test_order_and_duplicates_of_given_keys_are_preserved(tmp_path: Path) -> None:
    first, second = tmp_path / "1.pem", tmp_path / "2.pem"
    first.write_bytes(_public(RSA) + b"\n" + _public(CURVES["ES256"]))
    second.write_bytes(_public(CURVES["ES384"]))
    done = run_here("jwks", "--public-keys", f"{second},{first}", "--public-keys", str(second))
    kids = [each["kid"] for each in json.loads(done.stdout)["keys"]]
    expected: list[PrivateKey] = [CURVES["ES384"], RSA, CURVES["ES256"], CURVES["ES384"]]
    assert kids == [_kid(key) for key in expected]


def test_certificate_is_published_and_the_file_is_private(tmp_path: Path) -> None:
    certificate, _ = write_certificate(tmp_path, RSA)
    target = tmp_path / "jwks.json"
    done = run_here("jwks", "--public-keys", str(certificate), "--output-file", str(target))
    assert (done.returncode, done.stdout) == (0, "")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    text = target.read_text()
    assert json.loads(text)["keys"][0]["kid"] == _kid(RSA)
    assert text == json.dumps(json.loads(text), indent=2)


def test_jwks_error_messages_equal_those_of_the_reference(tmp_path: Path) -> None:
    none = run_here("jwks")
    assert (none.returncode, none.stderr.splitlines()[0]) == (2, "podpass: no public keys provided")
    missing = run_here("jwks", "--public-keys", str(tmp_path / "none"))
    assert missing.returncode == 1
    assert "failed to read public key file: cannot read" in missing.stderr
    other = tmp_path / "ed.pem"
    other.write_bytes(
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    assert (
        "does not contain any valid RSA or ECDSA"
        in run_here("jwks", "--public-keys", str(other)).stderr
    )
    curve = tmp_path / "k1.pem"
    curve.write_bytes(_public(ec.generate_private_key(ec.SECP256K1())))
    assert (
        "failed to construct JSONWebKeySet from a list of keys"
        in run_here("jwks", "--public-keys", str(curve)).stderr
    )
    key = tmp_path / "key.pem"
    key.write_bytes(_public(RSA))
    done = run_here(
        "jwks", "--public-keys", str(key), "--output-file", str(tmp_path / "no" / "x.json")
    )
    assert "failed to write JWKS to file" in done.stderr
