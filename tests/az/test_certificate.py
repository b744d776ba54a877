"""`az keyvault certificate`: every group of commands, with the key and the secret of a certificate."""

import base64
import json
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)

from podpass.crypto.x509 import PrivateKey, encode_pem
from podpass.lab.services.vault.key_types import encode_key
from tests.az.az_cli import AzCli

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]
VAULT, ROLE = "certificates-vault", "Key Vault Administrator"


def test_a_certificate_is_created_shown_changed_and_deleted(
    az: AzCli, vault: str, tmp_path: Path
) -> None:
    at = f"--vault-name {vault} -n www-{az.version.replace('.', '-')}"
    policy = tmp_path / "policy.json"
    policy.write_text(
        '{"issuerParameters": {"name": "Self"},'
        ' "x509CertificateProperties": {"subject": "CN=www", "validityInMonths": 6}}'
    )
    operation = az(f"keyvault certificate create {at} -p @{policy}")
    assert operation["status"] == "completed"
    shown = az(f"keyvault certificate show {at}")
    leaf = x509.load_der_x509_certificate(base64.b64decode(shown["cer"]))
    assert leaf.subject.rfc4514_string() == "CN=www"
    file = tmp_path / "www.pfx"
    az(f"keyvault secret download {at} --encoding base64 -f {file}")
    loaded = pkcs12.load_pkcs12(file.read_bytes(), b"")
    assert loaded.cert is not None
    assert loaded.cert.certificate == leaf
    listed, versions, key, pending = az.each(
        f"keyvault certificate list --vault-name {vault}",
        f"keyvault certificate list-versions {at}",
        f"keyvault key show {at}",
        f"keyvault certificate pending show {at}",
    )
    assert shown["id"].rpartition("/")[0] in [each["id"] for each in listed]
    assert [each["id"] for each in versions] == [shown["id"]]
    assert (key["key"]["kid"], key["managed"]) == (shown["kid"], True)
    assert pending["status"] == "completed"
    changed = az(f"keyvault certificate set-attributes {at} --enabled false --tags a=b")
    assert (changed["attributes"]["enabled"], changed["tags"]) == (False, {"a": "b"})
    backup = tmp_path / "backup"
    az(f"keyvault certificate backup {at} -f {backup}")
    az(f"keyvault certificate delete {at}")
    az(f"keyvault certificate recover {at}")
    az(f"keyvault certificate delete {at}")
    az(f"keyvault certificate purge {at}")
    restored = az(f"keyvault certificate restore --vault-name {vault} -f {backup}")
    assert restored["id"] == shown["id"]


def _at(az: AzCli, vault: str, name: str) -> str:
    return f"--vault-name {vault} -n {name}-{az.version.replace('.', '-')}"


def _policy(folder: Path, issuer: str, **secret: str) -> Path:
    path = folder / f"{issuer}.json"
    policy = {
        "issuerParameters": {"name": issuer},
        "x509CertificateProperties": {"subject": "CN=www"},
        "secretProperties": secret or {"contentType": "application/x-pkcs12"},
    }
    path.write_text(json.dumps(policy))
    return path


def test_an_issuer_with_administrators_signs(az: AzCli, vault: str, tmp_path: Path) -> None:
    name = f"ca-{az.version.replace('.', '-')}"
    group, at = "keyvault certificate issuer", f"--vault-name {vault} --issuer-name {name}"
    made = az(f"{group} create {at} --provider-name podpass --account-id me")
    assert (made["provider"], made["credentials"]["accountId"]) == ("podpass", "me")
    listed = az(f"{group} list --vault-name {vault}")
    assert made["id"] in [each["id"] for each in listed]
    for person in ("john", "jane"):
        az(f"{group} admin add {at} --email {person}@example.com --first-name {person}")
    people = az(f"{group} admin list {at}")
    assert [each["firstName"] for each in people] == ["john", "jane"]
    # `az` sends no list without members, so the last one stays.
    az(f"{group} admin delete {at} --email john@example.com")
    assert [each["firstName"] for each in az(f"{group} admin list {at}")] == ["jane"]
    az(f"{group} update {at} --organization-id 42")
    assert az(f"{group} show {at}")["organizationDetails"]["id"] == "42"
    certificate = _at(az, vault, "signed")
    policy = _policy(tmp_path, name, contentType="application/x-pem-file")
    operation = az(f"keyvault certificate create {certificate} -p @{policy}")
    assert operation["status"] == "completed"
    pem = tmp_path / "signed.pem"
    az(f"keyvault secret download {certificate} -f {pem}")
    leaf, root = x509.load_pem_x509_certificates(pem.read_bytes())
    leaf.verify_directly_issued_by(root)
    az(f"{group} delete {at}")
    assert "CertificateIssuerNotFound" in az.refused(f"{group} show {at}")


def test_a_pending_request_is_merged_or_deleted(az: AzCli, vault: str, tmp_path: Path) -> None:
    policy = _policy(tmp_path, "Unknown")
    at = _at(az, vault, "merged")
    operation = az(f"keyvault certificate create {at} -p @{policy}")
    assert operation["status"] == "inProgress"
    assert "Perform Merge" in operation["statusDetails"]
    request = x509.load_der_x509_csr(base64.b64decode(operation["csr"]))
    ca = trustme.CA()
    ca_key = load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(ca_key, PrivateKey)
    root = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    leaf = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(root.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(root.not_valid_before_utc)
        .not_valid_after(root.not_valid_after_utc)
        .sign(ca_key, hashes.SHA256())
    )
    file = tmp_path / "signed.pem"
    file.write_bytes(encode_pem(leaf))
    merged = az(f"keyvault certificate pending merge {at} -f {file}")
    assert x509.load_der_x509_certificate(base64.b64decode(merged["cer"])) == leaf
    downloaded = tmp_path / "downloaded.pem"
    az(f"keyvault certificate download {at} -f {downloaded}")
    assert x509.load_pem_x509_certificate(downloaded.read_bytes()) == leaf
    at = _at(az, vault, "dropped")
    az(f"keyvault certificate create {at} -p @{policy}")
    listed = az(f"keyvault certificate list --vault-name {vault} --include-pending")
    assert any("/dropped-" in each["id"] for each in listed)
    az(f"keyvault certificate pending delete {at}")
    refused = az.refused(f"keyvault certificate pending show {at}")
    assert "PendingCertificateNotFound" in refused


def test_a_pfx_and_a_pem_are_imported(az: AzCli, vault: str, tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("www.example.com")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    assert isinstance(key, PrivateKey)
    leaf = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
    pfx, pem = tmp_path / "www.pfx", tmp_path / "www.pem"
    locked = BestAvailableEncryption(b"1234")
    pfx.write_bytes(pkcs12.serialize_key_and_certificates(b"www", key, leaf, None, locked))
    pem.write_bytes(encode_key(key) + encode_pem(leaf))
    for name, arguments in (("pfx", f"-f {pfx} --password 1234"), ("pem", f"-f {pem}")):
        made = az(f"keyvault certificate import {_at(az, vault, name)} {arguments}")
        assert x509.load_der_x509_certificate(base64.b64decode(made["cer"])) == leaf
    refused = az.refused(f"keyvault certificate import {_at(az, vault, 'no')} -f {pfx}")
    # The newest `az` opens the file itself.
    assert "could not parse" in refused or "password is wrong" in refused


def test_contacts_are_added_and_deleted(az: AzCli, vault: str) -> None:
    group, at = "keyvault certificate contact", f"--vault-name {vault}"
    for email in ("a@example.com", "b@example.com"):
        az(f"{group} add {at} --email {email} --name John --phone 1")
    listed = az(f"{group} list {at}")
    contacts = listed if isinstance(listed, list) else listed["contactList"]
    emails = [each.get("email") or each.get("emailAddress") for each in contacts]
    assert emails == ["a@example.com", "b@example.com"]
    for email in ("a@example.com", "b@example.com"):
        az(f"{group} delete {at} --email {email}")
