"""Encoding and decoding of the Secret and of bundles; the format of created certificates."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from podpass import names
from podpass.admission.certificates import RotationPolicy, secret_codec
from podpass.admission.certificates import x509 as make
from podpass.admission.certificates.model import (
    CertificateAuthority,
    LeafCertificate,
    StoredCertificates,
)
from podpass.admission.certificates.x509 import RsaCertificateIssuer
from tests.admission.certificates import reference
from tests.admission.certificates.lab import HOST

NOW = 1_800_000_000.0
ISSUER = RsaCertificateIssuer(host=HOST, now=NOW, policy=RotationPolicy())


@pytest.fixture(scope="module")
def stored() -> StoredCertificates:
    """Provide a Secret during a rotation."""
    current = ISSUER.create_ca()
    return StoredCertificates(
        current=current,
        leaf=ISSUER.sign_leaf(current),
        added=ISSUER.create_ca(),
        old=(replace(ISSUER.create_ca(), key=b""),),
    )


def _certificate(made: CertificateAuthority | LeafCertificate) -> x509.Certificate:
    pem = made.certificate if isinstance(made, CertificateAuthority) else made.chain
    return x509.load_pem_x509_certificate(pem)


def test_created_ca_has_the_format_of_the_reference(stored: StoredCertificates) -> None:
    assert stored.current is not None
    found = _certificate(stored.current)
    assert found.subject.rfc4514_string() == f"CN={names.CA_NAME},O={names.CA_ORGANIZATION}"
    assert isinstance(key := found.public_key(), rsa.RSAPublicKey)
    assert key.key_size == 2048
    assert found.not_valid_before_utc.timestamp() == NOW - 3600
    assert found.not_valid_after_utc.timestamp() == NOW + 3650 * 24 * 3600
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).critical
    assert found.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert stored.current.key.startswith(b"-----BEGIN RSA PRIVATE KEY-----")


def test_leaf_has_one_host_and_the_key_id_of_its_ca(stored: StoredCertificates) -> None:
    assert stored.leaf is not None
    assert stored.current is not None
    found = _certificate(stored.leaf)
    host = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert host.get_values_for_type(x509.DNSName) == [HOST]
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    points = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    signer = _certificate(stored.current)
    own = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert points.key_identifier == own.digest, (
        "all CAs have the same name: clients select by key id"
    )
    found.verify_directly_issued_by(signer)


def test_leaf_may_not_sign_certificates(stored: StoredCertificates) -> None:
    """Attack: the holder of the webhook's key signs certificates that API servers trust."""
    assert stored.leaf is not None
    found = _certificate(stored.leaf).extensions
    constraints = found.get_extension_for_class(x509.BasicConstraints)
    usage = found.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, False, False)


def test_leaf_expires_no_later_than_its_ca() -> None:
    short = RsaCertificateIssuer(
        host=HOST, now=NOW, policy=RotationPolicy(ca_seconds=100 * 24 * 3600)
    ).create_ca()
    assert ISSUER.sign_leaf(short).not_after == short.not_after


def test_host_longer_than_a_common_name_is_supported() -> None:
    host = f"{names.WEBHOOK_SERVICE}.{'n' * 63}.svc"
    leaf = RsaCertificateIssuer(host=host, now=NOW, policy=RotationPolicy()).sign_leaf(
        ISSUER.create_ca()
    )
    found = _certificate(leaf).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert found.value.get_values_for_type(x509.DNSName) == [host]


def test_secret_round_trip_is_unchanged(stored: StoredCertificates) -> None:
    data = secret_codec.encode_secret(stored)
    again = secret_codec.decode_secret(data, HOST)
    assert again == stored
    assert secret_codec.encode_secret(again) == data
    assert names.ADDED_CA_KEY in data
    assert secret_codec.decode_bundle(data[names.CA_CERTIFICATE])[0].id == stored.cas[0].id


def test_private_keys_are_not_in_repr(stored: StoredCertificates) -> None:
    assert "PRIVATE" not in repr(stored)


def test_empty_secret_is_decoded_without_faults() -> None:
    assert secret_codec.decode_secret({}, HOST) == StoredCertificates()
    assert (
        secret_codec.decode_secret({names.CA_CERTIFICATE: b"", "other": b"x"}, HOST)
        == StoredCertificates()
    )


def test_added_key_that_matches_no_ca_is_ignored(stored: StoredCertificates) -> None:
    data = secret_codec.encode_secret(stored) | {
        names.ADDED_CA_KEY: secret_codec.encode_secret(stored)[names.TLS_KEY]
    }
    found = secret_codec.decode_secret(data, HOST)
    assert found.added is None
    assert found.faults == ()
    assert len(found.old) == 2


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        (names.CA_CERTIFICATE, b"", "ca.crt does not begin with a certificate"),
        (names.CA_KEY, b"", "ca.key cannot be read"),
        (names.CA_KEY, b"\xff\x00", "ca.key cannot be read"),
        (names.TLS_CERTIFICATE, b"", "a certificate cannot be read"),
        (names.TLS_KEY, b"", "tls.key cannot be read"),
    ],
)
def test_unusable_member_of_the_secret_is_named_in_its_faults(
    stored: StoredCertificates, name: str, value: bytes, fault: str
) -> None:
    found = secret_codec.decode_secret(secret_codec.encode_secret(stored) | {name: value}, HOST)
    assert found.faults == (fault,)
    if name.startswith("ca"):
        assert found.current is None
    assert found.leaf is None


def test_ca_crt_that_begins_with_a_private_key_is_a_fault(stored: StoredCertificates) -> None:
    """The reference reads the first PEM block, of any type."""
    data = secret_codec.encode_secret(stored)
    data[names.CA_CERTIFICATE] = data[names.CA_KEY] + data[names.CA_CERTIFICATE]
    assert secret_codec.decode_secret(data, HOST).faults == (
        "ca.crt does not begin with a certificate",
    )


def test_leaf_is_not_accepted_as_ca() -> None:
    data = reference.create_secret(NOW)
    swapped = {
        names.CA_CERTIFICATE: data[names.TLS_CERTIFICATE],
        names.CA_KEY: data[names.TLS_KEY],
        names.TLS_CERTIFICATE: data[names.TLS_CERTIFICATE],
        names.TLS_KEY: data[names.TLS_KEY],
    }
    assert secret_codec.decode_secret(swapped, HOST).faults == ("ca.crt is not a CA certificate",)


def test_leaf_for_another_host_is_not_used(stored: StoredCertificates) -> None:
    found = secret_codec.decode_secret(secret_codec.encode_secret(stored), "other.svc")
    assert (found.leaf, found.faults) == (None, ("tls.crt is not for other.svc",))


def test_leaf_of_another_ca_is_not_used(stored: StoredCertificates) -> None:
    foreign = replace(stored, leaf=ISSUER.sign_leaf(ISSUER.create_ca()))
    found = secret_codec.decode_secret(secret_codec.encode_secret(foreign), HOST)
    assert (found.leaf, found.faults) == (
        None,
        ("tls.crt is not signed by the first CA of ca.crt",),
    )


def test_leaf_of_an_older_ca_in_the_secret_is_not_used(stored: StoredCertificates) -> None:
    """API servers may remove the older CA at any time."""
    older = ISSUER.create_ca()
    outdated = replace(
        stored, leaf=ISSUER.sign_leaf(older), old=(replace(older, key=b""), *stored.old)
    )
    found = secret_codec.decode_secret(secret_codec.encode_secret(outdated), HOST)
    assert older.id in {each.id for each in found.old}
    assert (found.leaf, found.faults) == (
        None,
        ("tls.crt is not signed by the first CA of ca.crt",),
    )


def test_client_certificate_is_not_used_as_leaf(
    monkeypatch: pytest.MonkeyPatch, stored: StoredCertificates
) -> None:
    assert stored.current is not None
    for_clients = SimpleNamespace(SERVER_AUTH=ExtendedKeyUsageOID.CLIENT_AUTH)
    monkeypatch.setattr(make, "ExtendedKeyUsageOID", for_clients)
    foreign = replace(stored, leaf=ISSUER.sign_leaf(stored.current))
    monkeypatch.undo()
    found = secret_codec.decode_secret(secret_codec.encode_secret(foreign), HOST)
    assert (found.leaf, found.faults) == (None, ("tls.crt is not a server certificate",))


def test_foreign_ca_is_not_used_as_own_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would sign, and never be removed from a `caBundle`, because foreign CAs stay."""
    monkeypatch.setattr(names, "CA_NAME", "other-ca")
    foreign = secret_codec.encode_secret(StoredCertificates(current=ISSUER.create_ca()))
    monkeypatch.undo()
    assert secret_codec.decode_secret(foreign, HOST).faults == (
        f"ca.crt is not for {names.CA_NAME}",
    )


def test_bundle_in_another_order_is_unchanged(stored: StoredCertificates) -> None:
    assert secret_codec.build_desired_bundle(stored, stored.cas) is None
    assert secret_codec.build_desired_bundle(stored, stored.cas[::-1]) is None


def test_bundle_gets_missing_cas_and_keeps_foreign_cas(stored: StoredCertificates) -> None:
    made = ISSUER.create_ca()
    foreign_ca = CertificateAuthority(
        id=made.id, certificate=made.certificate, not_before=0, not_after=1, is_own=False
    )
    pem = secret_codec.build_desired_bundle(
        stored, (foreign_ca, *stored.cas[1:], ISSUER.create_ca())
    )
    assert pem is not None
    found = [each.id for each in secret_codec.decode_bundle(pem)]
    assert found == [*(each.id for each in stored.cas), foreign_ca.id]


def test_invalid_blocks_in_a_bundle_are_skipped(stored: StoredCertificates) -> None:
    pem = (
        b"text\n"
        + secret_codec.encode_secret(stored)[names.TLS_KEY]
        + secret_codec.encode_bundle(stored.cas)
    )
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert secret_codec.decode_bundle(broken + pem + pem) == secret_codec.decode_bundle(
        secret_codec.encode_bundle(stored.cas)
    )
