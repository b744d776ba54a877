"""`az keyvault key`: all operations on a key, and the required roles."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from podpass.crypto.jose import generate_rsa, private_key_pem
from tests.az.az_cli import AzCli

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

VAULT, ROLE = "keys-vault", "Key Vault Crypto Officer"
DIGEST = base64.b64encode(hashlib.sha256(b"message").digest()).decode()


def _at(vault: str, name: str) -> str:
    return f"--vault-name {vault} -n {name}"


def test_a_key_is_created_shown_and_listed(az: AzCli, vault: str) -> None:
    at = _at(vault, f"plain-{az.version}")
    made = az(f"keyvault key create {at} --kty RSA --size 3072 --tags a=b --ops sign verify")
    assert (made["key"]["kty"], made["key"]["keyOps"]) == ("RSA", ["sign", "verify"])
    assert made["tags"] == {"a": "b"}
    kid = made["key"]["kid"]
    by_name, by_id, listed, versions = az.each(
        f"keyvault key show {at}",
        f"keyvault key show --id {kid}",
        f"keyvault key list --vault-name {vault}",
        f"keyvault key list-versions {at}",
    )
    assert by_name["key"]["kid"] == by_id["key"]["kid"] == kid
    assert kid.rpartition("/")[0] in [each["kid"] for each in listed]
    assert [each["kid"] for each in versions] == [kid]


@pytest.mark.parametrize(
    ("curve", "algorithm", "name"),
    [
        ("P-256", "ES256", "sha256"),
        ("P-384", "ES384", "sha384"),
        ("P-521", "ES512", "sha512"),
        ("P-256K", "ES256K", "sha256"),
    ],
)
def test_an_ec_key_signs_and_verifies(
    newest: AzCli, vault: str, curve: str, algorithm: str, name: str
) -> None:
    at = _at(vault, curve)
    assert newest(f"keyvault key create {at} --kty EC --curve {curve}")["key"]["crv"] == curve
    digest = base64.b64encode(hashlib.new(name, b"message").digest()).decode()
    signed = newest(f"keyvault key sign {at} -a {algorithm} --digest {digest}")
    verify = f"keyvault key verify {at} -a {algorithm} --digest {digest} --signature"
    assert newest(f"{verify} {signed['signature']}")["isValid"] is True


def test_an_imported_key_signs_and_decrypts(newest: AzCli, vault: str, tmp_path: Path) -> None:
    file, at = tmp_path / "key.pem", _at(vault, "imported")
    key = generate_rsa()
    file.write_bytes(private_key_pem(key))
    newest(f"keyvault key import {at} --pem-file {file}")
    signed = newest(f"keyvault key sign {at} -a RS256 --digest {DIGEST}")
    public = key.public_key()
    public.verify(
        base64.b64decode(signed["signature"]),
        base64.b64decode(DIGEST),
        padding.PKCS1v15(),
        Prehashed(hashes.SHA256()),
    )
    plain = base64.b64encode(b"plain").decode()
    made = newest(f"keyvault key encrypt {at} -a RSA-OAEP-256 --value {plain} --data-type base64")
    opened = newest(
        f"keyvault key decrypt {at} -a RSA-OAEP-256 --value {made['result']} --data-type base64"
    )
    assert base64.b64decode(opened["result"]) == b"plain"
    taken = tmp_path / "public.pem"
    newest(f"keyvault key download {at} -f {taken} -e PEM")
    downloaded = serialization.load_pem_public_key(taken.read_bytes())
    assert isinstance(downloaded, rsa.RSAPublicKey)
    assert downloaded.public_numbers() == public.public_numbers()


def test_key_attributes_are_updated(newest: AzCli, vault: str) -> None:
    at = _at(vault, "dated")
    newest(f"keyvault key create {at} --kty EC")
    changed = newest(
        f"keyvault key set-attributes {at} --expires 2041-01-01T00:00:00Z --enabled false"
        " --ops verify --tags c=d"
    )
    assert changed["attributes"]["expires"] == "2041-01-01T00:00:00+00:00"
    assert (changed["attributes"]["enabled"], changed["tags"]) == (False, {"c": "d"})
    said = newest.refused(f"keyvault key sign {at} -a ES256 --digest {DIGEST}")
    assert "disabled key" in said


def test_deleted_key_is_recovered_or_purged(az: AzCli, vault: str) -> None:
    name = f"deleted-{az.version}"
    at = _at(vault, name)
    az(f"keyvault key create {at} --kty EC")
    deleted = az(f"keyvault key delete {at}")
    assert deleted["recoveryId"] == f"https://{vault}.vault.azure.net/deletedkeys/{name}"
    assert "KeyNotFound" in az.refused(f"keyvault key show {at}")
    shown, listed = az.each(
        f"keyvault key show-deleted {at}", f"keyvault key list-deleted --vault-name {vault}"
    )
    assert shown["recoveryId"] == deleted["recoveryId"]
    assert deleted["recoveryId"] in [each["recoveryId"] for each in listed]
    assert "deleted" in az.refused(f"keyvault key create {at} --kty EC")
    az(f"keyvault key recover {at}")
    az(f"keyvault key delete {at}")
    assert az(f"keyvault key purge {at}") is None
    assert "was not found" in az.refused(f"keyvault key show-deleted {at}")


def test_a_key_is_rotated_by_command_and_has_a_policy(
    newest: AzCli, vault: str, tmp_path: Path
) -> None:
    at, file = _at(vault, "rotated"), tmp_path / "policy.json"
    first = newest(f"keyvault key create {at} --kty EC")
    rotate = {"trigger": {"timeAfterCreate": "P90D"}, "action": {"type": "Rotate"}}
    policy = {"lifetimeActions": [rotate], "attributes": {"expiryTime": "P2Y"}}
    file.write_text(json.dumps(policy))
    written = newest(f"keyvault key rotation-policy update {at} --value {file}")
    assert written == newest(f"keyvault key rotation-policy show {at}")
    assert written["expiresIn"] == "P2Y"
    second = newest(f"keyvault key rotate {at}")
    assert second["key"]["kid"] != first["key"]["kid"]
    assert second["attributes"]["expires"] is not None


def test_a_key_backup_is_restored(newest: AzCli, vault: str, tmp_path: Path) -> None:
    at, file = _at(vault, "backed-up"), tmp_path / "backup"
    made = newest(f"keyvault key create {at} --kty EC")
    newest(f"keyvault key backup {at} --file {file}")
    newest(f"keyvault key delete {at}")
    newest(f"keyvault key purge {at}")
    restored = newest(f"keyvault key restore --vault-name {vault} --file {file}")
    assert restored["key"]["kid"] == made["key"]["kid"]


def test_random_bytes_are_returned(newest: AzCli, vault: str) -> None:
    found = newest(f"keyvault key random --id https://{vault}.vault.azure.net --count 8")
    assert len(base64.b64decode(found["value"])) == 8


def test_key_types_that_need_an_hsm_are_refused(newest: AzCli, vault: str) -> None:
    assert "HSM" in newest.refused(f"keyvault key create {_at(vault, 'hsm')} --kty RSA-HSM")
