"""Use every operation on certificates with the released client: VAULT."""

import base64
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.certificates import (
    AdministratorContact,
    CertificateClient,
    CertificateContact,
    CertificatePolicy,
)
from azure.keyvault.secrets import SecretClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    load_pem_private_key,
    pkcs12,
)

where: dict[str, Any] = {
    "vault_url": f"https://{sys.argv[1]}.vault.azure.net",
    "credential": DefaultAzureCredential(),
}
# The releases have different types.
client: Any = CertificateClient(**where)
secrets: Any = SecretClient(**where)
name = f"python-{version('azure-keyvault-certificates').replace('.', '-')}"
fast = {"_polling_interval": 0.1}


def create(name: str, issuer: str, **more: Any) -> Any:
    policy = CertificatePolicy(issuer, subject="CN=www", **more)
    return client.begin_create_certificate(name, policy, **fast).result()


def load(cer: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(bytes(cer))


def sign(subject: x509.Name, public_key: Any, issuer: x509.Name, key: Any) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .sign(key, hashes.SHA256())
    )


# Self-signed: the certificate, and its key in the secret.
made = create(
    name, "Self", san_dns_names=["www.example.com"], key_type="EC", key_curve_name="P-256"
)
found: Any = pkcs12.load_pkcs12(base64.b64decode(secrets.get_secret(name).value), b"")
assert found.cert.certificate == load(made.cer)
assert found.key.public_key() == load(made.cer).public_key()

# An issuer of the vault signs; its CA is in the chain of the secret.
contact = AdministratorContact(first_name="John", last_name="Doe", email="a@example.com", phone="1")
issuer = client.create_issuer(f"{name}-ca", "podpass", account_id="me", admin_contacts=[contact])
assert issuer.admin_contacts[0].first_name == "John"
assert client.get_issuer(f"{name}-ca").provider == "podpass"
assert f"{name}-ca" in [each.name for each in client.list_properties_of_issuers()]
create(f"{name}-signed", f"{name}-ca", content_type="application/x-pem-file")
pem = secrets.get_secret(f"{name}-signed").value.encode()
leaf, root = x509.load_pem_x509_certificates(pem)
leaf.verify_directly_issued_by(root)
assert load_pem_private_key(pem, None).public_key() == leaf.public_key()
client.delete_issuer(f"{name}-ca")

# A CA outside of the vault signs the request, and the caller merges its certificate.
ca_key = ec.generate_private_key(ec.SECP256R1())
ca_name = x509.Name.from_rfc4514_string("CN=ca")
ca = sign(ca_name, ca_key.public_key(), ca_name, ca_key)
create(f"{name}-merged", "Unknown")
request = x509.load_der_x509_csr(bytes(client.get_certificate_operation(f"{name}-merged").csr))
assert request.is_signature_valid
signed = sign(request.subject, request.public_key(), ca.subject, ca_key)
chain = [each.public_bytes(Encoding.DER) for each in (signed, ca)]
assert load(client.merge_certificate(f"{name}-merged", chain).cer) == signed

# A cancelled and deleted operation.
create(f"{name}-cancelled", "Unknown")
assert client.cancel_certificate_operation(f"{name}-cancelled").cancellation_requested
assert client.get_certificate_operation(f"{name}-cancelled").status == "cancelled"
client.delete_certificate_operation(f"{name}-cancelled")
client.begin_delete_certificate(f"{name}-cancelled", **fast).wait()

# Imports: PFX with a password, PEM.
own = sign(ca_name, ca_key.public_key(), ca_name, ca_key)
pfx = pkcs12.serialize_key_and_certificates(
    b"own", ca_key, own, None, BestAvailableEncryption(b"1234")
)
policy = CertificatePolicy("Self", subject="CN=www")
imported = client.import_certificate(f"{name}-pfx", pfx, policy=policy, password="1234")
assert load(imported.cer) == own
policy = CertificatePolicy("Self", subject="CN=www", content_type="application/x-pem-file")
assert load(client.import_certificate(f"{name}-pem", pem, policy=policy).cer) == leaf

# Contacts, policy, properties, backup.
client.set_contacts([CertificateContact(email="a@example.com", name="John", phone="1")])
assert [each.email for each in client.get_contacts()] == ["a@example.com"]
client.delete_contacts()
changed = CertificatePolicy("Self", subject="CN=other", validity_in_months=6)
assert client.update_certificate_policy(name, changed).validity_in_months == 6
assert create(name, "Self").properties.version != made.properties.version
assert len(list(client.list_properties_of_certificate_versions(name))) == 2
blob = client.backup_certificate(name)
assert client.begin_delete_certificate(name, **fast).result().recovery_id
client.begin_recover_deleted_certificate(name, **fast).wait()
client.begin_delete_certificate(name, **fast).wait()
client.purge_deleted_certificate(name)
assert client.restore_certificate_backup(blob).name == name
tags = client.update_certificate_properties(name, enabled=False, tags={"a": "b"}).properties.tags
assert tags == {"a": "b"}
try:
    secrets.get_secret(name)
except HttpResponseError as exc:
    assert exc.status_code == 403, exc
else:
    raise AssertionError("a disabled certificate gave its secret")
print("passed")
