"""The bundle, read by OpenSSL, and the folder with the CA that containers without a cluster mount."""

import re
import ssl
import stat
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
from podpass.lab.data.datadir import DataDir
from podpass.lab.instance import run_cloud as process
from podpass.lab.names import bundles
from podpass.lab.names.bundles import BUNDLE, CA, BadBundle
from podpass.lab.names.trust_folder import TrustFolderRefused, write_folder
from podpass.settings import CloudSettings

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


FIRST, SECOND = (trustme.CA().cert_pem.bytes() for _ in range(2))


def test_folder_has_every_form_and_is_readable_for_other_users(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "trust"
    write_folder(folder, PUBLIC, FIRST)
    assert (folder / "ca.crt").read_bytes() == FIRST
    assert (folder / "ca-certificates.crt").read_bytes() == FIRST + PUBLIC
    assert (folder / "truststore.jks").read_bytes() == (folder / "truststore.p12").read_bytes()
    assert len(list(folder.glob("????????.0"))) == 2
    assert not [each for each in folder.iterdir() if b"PRIVATE KEY" in each.read_bytes()]
    for each in folder.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o644


def test_variables_name_files_of_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, PUBLIC, FIRST)
    lines = dict(line.split("=", 1) for line in (tmp_path / "trust.env").read_text().splitlines())
    assert {"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "JAVA_TOOL_OPTIONS"} <= lines.keys()
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        file = Path(lines[name])
        assert file.parent == Path("/etc/podpass/trust")
        assert (tmp_path / file.name).exists()


def test_files_of_an_earlier_ca_are_replaced(tmp_path: Path) -> None:
    write_folder(tmp_path, PUBLIC, FIRST)
    write_folder(tmp_path, PUBLIC, SECOND)
    assert (tmp_path / "ca.crt").read_bytes() == SECOND
    assert FIRST not in {each.read_bytes() for each in tmp_path.iterdir()}
    assert len(list(tmp_path.glob("????????.0"))) == 2


def test_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    """A folder such as /etc/ssl/certs must not be replaced by mistake."""
    (tmp_path / "Other_Root.pem").write_text("x")
    with pytest.raises(TrustFolderRefused, match=r"has other files, such as 'Other_Root\.pem'"):
        write_folder(tmp_path, PUBLIC, FIRST)
    assert [each.name for each in tmp_path.iterdir()] == ["Other_Root.pem"]


def test_cloud_refuses_a_folder_with_other_files_before_it_writes_anything(tmp_path: Path) -> None:
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "openssl.cnf").write_text("")
    data_dir = DataDir(tmp_path / "cloud")
    settings = CloudSettings(data_dir=data_dir.root, trust_dir=str(tmp_path / "trust"))
    with pytest.raises(TrustFolderRefused, match=r"has other files, such as 'openssl\.cnf'"):
        process.run(
            data_dir,
            settings=settings,
            seed=None,
            environ={},
            progress=lambda _part, _detail: None,
            ready=lambda _status: None,
        )
    assert not data_dir.root.exists()


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text("x")
    with pytest.raises(TrustFolderRefused, match="cannot write"):
        write_folder(file, PUBLIC, FIRST)


def test_link_that_a_container_left_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    key, folder = tmp_path / "ca.key", tmp_path / "trust"
    key.write_text("secret")
    key.chmod(0o600)
    write_folder(folder, PUBLIC, FIRST)
    for name in (".podpass.part", "ca.crt"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(key)
    write_folder(folder, PUBLIC, FIRST)
    assert (key.read_text(), stat.S_IMODE(key.stat().st_mode)) == ("secret", 0o600)
    assert (folder / "ca.crt").read_bytes() == FIRST
    assert not [each for each in folder.iterdir() if each.is_symlink()]
