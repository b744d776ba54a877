"""Bytes of the Secret and of bundles, read and written; certificates as they are made."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from podpass import names
from podpass.admission.certificates import Plan, secret_codec
from podpass.admission.certificates import x509 as make
from podpass.admission.certificates.model import Authority, Held, Leaf
from podpass.admission.certificates.x509 import RsaMaker
from tests.admission.certificates import reference
from tests.admission.certificates.lab import HOST

NOW = 1_800_000_000.0
MAKER = RsaMaker(host=HOST, now=NOW, plan=Plan())


@pytest.fixture(scope="module")
def whole() -> Held:
    """A Secret in the middle of a rotation."""
    current = MAKER.authority()
    return Held(
        current=current,
        leaf=MAKER.leaf(current),
        coming=MAKER.authority(),
        old=(replace(MAKER.authority(), key=b""),),
    )


def _certificate(made: Authority | Leaf) -> x509.Certificate:
    pem = made.certificate if isinstance(made, Authority) else made.chain
    return x509.load_pem_x509_certificate(pem)


def test_an_authority_is_made_as_the_reference_makes_it(whole: Held) -> None:
    assert whole.current is not None
    found = _certificate(whole.current)
    assert found.subject.rfc4514_string() == f"CN={names.CA_NAME},O={names.CA_ORGANIZATION}"
    assert isinstance(key := found.public_key(), rsa.RSAPublicKey)
    assert key.key_size == 2048
    assert found.not_valid_before_utc.timestamp() == NOW - 3600
    assert found.not_valid_after_utc.timestamp() == NOW + 3650 * 24 * 3600
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).critical
    assert found.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert whole.current.key.startswith(b"-----BEGIN RSA PRIVATE KEY-----")


def test_a_leaf_is_for_one_host_and_points_at_its_authority(whole: Held) -> None:
    assert whole.leaf is not None
    assert whole.current is not None
    found = _certificate(whole.leaf)
    host = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert host.get_values_for_type(x509.DNSName) == [HOST]
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    points = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    signer = _certificate(whole.current)
    own = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert points.key_identifier == own.digest, "authorities have one name: clients look at this"
    found.verify_directly_issued_by(signer)


def test_a_leaf_ends_no_later_than_its_authority() -> None:
    short = RsaMaker(host=HOST, now=NOW, plan=Plan(ca_seconds=100 * 24 * 3600)).authority()
    assert MAKER.leaf(short).not_after == short.not_after


def test_a_host_that_is_too_long_for_a_common_name_is_no_obstacle() -> None:
    host = f"{names.WEBHOOK_SERVICE}.{'n' * 63}.svc"
    leaf = RsaMaker(host=host, now=NOW, plan=Plan()).leaf(MAKER.authority())
    found = _certificate(leaf).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert found.value.get_values_for_type(x509.DNSName) == [host]


def test_what_was_written_is_read_again(whole: Held) -> None:
    data = secret_codec.written(whole)
    again = secret_codec.read(data, HOST)
    assert again == whole
    assert secret_codec.written(again) == data
    assert names.COMING_CA_KEY in data
    assert secret_codec.authorities(data[names.CA_CERTIFICATE])[0].id == whole.authorities[0].id


def test_no_key_is_shown(whole: Held) -> None:
    assert "PRIVATE" not in repr(whole)


def test_an_empty_secret_is_no_fault() -> None:
    assert secret_codec.read({}, HOST) == Held()
    assert secret_codec.read({names.CA_CERTIFICATE: b"", "other": b"x"}, HOST) == Held()


def test_a_key_of_no_authority_is_left_over(whole: Held) -> None:
    data = secret_codec.written(whole) | {
        names.COMING_CA_KEY: secret_codec.written(whole)[names.TLS_KEY]
    }
    found = secret_codec.read(data, HOST)
    assert found.coming is None
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
def test_what_cannot_be_used_is_named(whole: Held, name: str, value: bytes, fault: str) -> None:
    found = secret_codec.read(secret_codec.written(whole) | {name: value}, HOST)
    assert found.faults == (fault,)
    if name.startswith("ca"):
        assert found.current is None
    assert found.leaf is None


def test_a_key_in_front_of_the_certificates_is_a_fault(whole: Held) -> None:
    """The reference reads the first block, whatever it is."""
    data = secret_codec.written(whole)
    data[names.CA_CERTIFICATE] = data[names.CA_KEY] + data[names.CA_CERTIFICATE]
    assert secret_codec.read(data, HOST).faults == ("ca.crt does not begin with a certificate",)


def test_a_leaf_cannot_stand_for_an_authority() -> None:
    data = reference.secret(NOW)
    swapped = {
        names.CA_CERTIFICATE: data[names.TLS_CERTIFICATE],
        names.CA_KEY: data[names.TLS_KEY],
        names.TLS_CERTIFICATE: data[names.TLS_CERTIFICATE],
        names.TLS_KEY: data[names.TLS_KEY],
    }
    assert secret_codec.read(swapped, HOST).faults == ("ca.crt is not an authority's certificate",)


def test_a_leaf_for_another_name_is_not_served(whole: Held) -> None:
    found = secret_codec.read(secret_codec.written(whole), "other.svc")
    assert (found.leaf, found.faults) == (None, ("tls.crt is not for other.svc",))


def test_a_leaf_of_another_authority_is_not_served(whole: Held) -> None:
    strange = replace(whole, leaf=MAKER.leaf(MAKER.authority()))
    found = secret_codec.read(secret_codec.written(strange), HOST)
    assert (found.leaf, found.faults) == (None, ("tls.crt is not signed by the first of ca.crt",))


def test_a_clients_certificate_is_not_served(monkeypatch: pytest.MonkeyPatch, whole: Held) -> None:
    assert whole.current is not None
    for_clients = SimpleNamespace(SERVER_AUTH=ExtendedKeyUsageOID.CLIENT_AUTH)
    monkeypatch.setattr(make, "ExtendedKeyUsageOID", for_clients)
    strange = replace(whole, leaf=MAKER.leaf(whole.current))
    monkeypatch.undo()
    found = secret_codec.read(secret_codec.written(strange), HOST)
    assert (found.leaf, found.faults) == (None, ("tls.crt is not a server's certificate",))


def test_a_strangers_authority_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would sign, and never leave a `caBundle` again: those of strangers stay."""
    monkeypatch.setattr(names, "CA_NAME", "somebody-elses-ca")
    strange = secret_codec.written(Held(current=MAKER.authority()))
    monkeypatch.undo()
    assert secret_codec.read(strange, HOST).faults == (f"ca.crt is not for {names.CA_NAME}",)


def test_a_bundle_in_another_order_is_left_alone(whole: Held) -> None:
    assert secret_codec.wanted(whole, whole.authorities) is None
    assert secret_codec.wanted(whole, whole.authorities[::-1]) is None


def test_a_bundle_gets_what_it_lacks_and_keeps_what_a_stranger_put_there(whole: Held) -> None:
    made = MAKER.authority()
    stranger = Authority(
        id=made.id, certificate=made.certificate, not_before=0, not_after=1, ours=False
    )
    pem = secret_codec.wanted(whole, (stranger, *whole.authorities[1:], MAKER.authority()))
    assert pem is not None
    found = [each.id for each in secret_codec.authorities(pem)]
    assert found == [*(each.id for each in whole.authorities), stranger.id]


def test_what_is_no_certificate_in_a_bundle_is_passed_over(whole: Held) -> None:
    pem = (
        b"text\n"
        + secret_codec.written(whole)[names.TLS_KEY]
        + secret_codec.bundle(whole.authorities)
    )
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert secret_codec.authorities(broken + pem + pem) == secret_codec.authorities(
        secret_codec.bundle(whole.authorities)
    )
