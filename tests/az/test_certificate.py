"""`az keyvault certificate`: a self-signed certificate, its key and its secret."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.az.az_cli import AzCli

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def vault(newest: AzCli) -> Iterator[str]:
    """Create a vault with RBAC, whose certificates, keys and secrets the administrator may manage."""
    name = "certificates-vault"
    newest(f"group create -n {name} -l westeurope")
    scope = newest(f"keyvault create -n {name} -g {name} -l westeurope")["id"]
    me = newest("ad signed-in-user show")["id"]
    role = '"Key Vault Administrator"'
    newest(f"role assignment create --assignee {me} --role {role} --scope {scope}")
    yield name
    newest(f"group delete -n {name} --yes")
    newest(f"keyvault purge -n {name}")


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
