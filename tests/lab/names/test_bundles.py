"""The bundle, read by OpenSSL; `tests/clients/test_trust.py` reads it with every language."""

import re
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from podpass.crypto.x509 import encode_pem
from podpass.lab.names import bundles
from podpass.lab.names.bundles import BUNDLE, CA, BadBundle

_PUBLIC, _OWN = trustme.CA(organization_name="Public"), trustme.CA(organization_name="Own")
PUBLIC, OWN = _PUBLIC.cert_pem.bytes(), _OWN.cert_pem.bytes()


def _certificate(subject: x509.Name, number: int = 1) -> bytes:
    """Return a certificate with a subject, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(number)
    builder = builder.not_valid_before(begin).not_valid_after(begin.replace(year=2036))
    return encode_pem(builder.sign(key, hashes.SHA256()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    for name, content in bundles.build(PUBLIC, OWN).items():
        (folder / name).write_bytes(content)
    return folder


def test_pem_has_the_ca_and_the_public_roots_without_repetition() -> None:
    files = bundles.build(PUBLIC + OWN + PUBLIC, OWN)
    assert x509.load_pem_x509_certificates(files[BUNDLE]) == x509.load_pem_x509_certificates(
        OWN + PUBLIC
    )
    assert x509.load_pem_x509_certificates(files[CA]) == x509.load_pem_x509_certificates(OWN)


def test_same_input_gives_the_same_bytes() -> None:
    first, second = bundles.build(PUBLIC, OWN), bundles.build(PUBLIC, OWN)
    assert first == second
    assert bundles.fingerprint(first) == bundles.fingerprint(second)
    assert bundles.fingerprint(first) != bundles.fingerprint(bundles.build(OWN, PUBLIC))


def test_text_around_certificates_and_damaged_ones_are_left_out() -> None:
    damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    files = bundles.build(b"# a comment\n" + damaged + PUBLIC, OWN)
    assert files == bundles.build(PUBLIC, OWN)


def test_file_names_are_valid_keys_of_a_config_map() -> None:
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", name) for name in bundles.build(PUBLIC, OWN))


@pytest.mark.parametrize(
    "names",
    [
        [(NameOID.ORGANIZATION_NAME, "  Two   SPACES "), (NameOID.COMMON_NAME, "ÄÖ é É")],
        [(NameOID.DOMAIN_COMPONENT, "Example"), (NameOID.COMMON_NAME, "x" * 64)],
        [(NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "long " * 40)],
        [(NameOID.COMMON_NAME, "多语言 根证书")],
    ],
    ids=["spaces", "domain", "long", "chinese"],
)
def test_hash_is_that_of_openssl(names: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    pem = _certificate(x509.Name([x509.NameAttribute(*each, _validate=False) for each in names]))
    command = ["openssl", "x509", "-noout", "-subject_hash"]
    expected = subprocess.run(command, input=pem, capture_output=True, check=True).stdout.decode()
    assert f"{expected.strip()}.0" in bundles.build(PUBLIC, pem)


def test_equal_hashes_are_numbered() -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "twice")])
    first, second = _certificate(subject, 1), _certificate(subject, 2)
    files = bundles.build(first, second)
    numbers = sorted(name.partition(".")[2] for name in files if files[name] in (first, second))
    assert numbers == ["0", "1", "crt"]


def test_folder_is_read_by_its_hash_names(folder: Path) -> None:
    for authority in (_OWN, _PUBLIC):
        context = ssl.create_default_context(capath=str(folder))
        context.load_verify_locations(capath=str(folder))
        _handshake(context, authority)


def test_each_form_has_the_public_roots_but_not_other_authorities(folder: Path) -> None:
    context = ssl.create_default_context(cafile=str(folder / BUNDLE))
    for authority in (_OWN, _PUBLIC):
        _handshake(context, authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(context, trustme.CA())


def _handshake(context: ssl.SSLContext, authority: trustme.CA) -> None:
    """Complete a handshake in memory with a server of an authority."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("vault.azure.net").configure_cert(server_context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="vault.azure.net")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.getpeercert()


@pytest.mark.parametrize(
    ("public", "own", "missing"), [(b"", OWN, "public roots"), (PUBLIC, b"x", "CA")]
)
def test_input_without_a_certificate_is_refused(public: bytes, own: bytes, missing: str) -> None:
    with pytest.raises(BadBundle, match=f"the {missing} have no certificate"):
        bundles.build(public, own)


def test_bundle_larger_than_a_config_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MAX_BYTES", bundles.measure(bundles.build(PUBLIC, OWN)) - 1)
    with pytest.raises(BadBundle, match="a ConfigMap stores"):
        bundles.build(PUBLIC, OWN)


def test_public_roots_of_the_system_fit_into_a_config_map() -> None:
    path = Path("/etc/ssl/certs/ca-certificates.crt")
    if not path.exists():
        pytest.skip("the system has no bundle of public roots")
    files = bundles.build(path.read_bytes(), OWN)
    assert bundles.measure(files) < bundles.MAX_BYTES * 3 // 4
