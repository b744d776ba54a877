"""The CA of the instance, its certificates and the trust stores for clients."""

import shutil
import ssl
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from podpass import clock
from podpass.crypto.x509 import build_certificate, build_name, encode_pem
from podpass.files import write_private
from podpass.lab.data import ca, trust
from podpass.lab.data.datadir import DataDir, DataDirError, initialise, prepare
from podpass.lab.data.environment import TRUSTSTORE_PASSWORD
from tests.run_program import run_text

DAY = 24 * 3600


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path / "instance")
    prepare(made)
    initialise(made)
    ca.ensure_certificates(made)
    return made


@pytest.fixture
def other(tmp_path: Path) -> DataDir:
    """Return the data directory of another instance."""
    made = DataDir(tmp_path / "other")
    prepare(made)
    initialise(made)
    ca.ensure_certificates(made)
    return made


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_ca_may_sign_leaf_certificates_and_one_ca_below_it(data_dir: DataDir) -> None:
    authority = _load(data_dir.ca_file)
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 1)
    lifetime = authority.not_valid_after_utc - datetime.now(UTC)
    assert 3649 <= lifetime.days <= 3650
    name = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert str(name).startswith(f"podpass local CA of {data_dir.id}")


def test_keys_are_readable_by_the_owner_only(data_dir: DataDir) -> None:
    keys = [data_dir.path("ca", "ca.key"), *data_dir.path("tls").glob("*.key")]
    assert len(keys) == 8
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_leaf_certificate_contains_the_names_of_azure_and_of_the_cluster(data_dir: DataDir) -> None:
    found = _load(data_dir.certificate("leaf")).extensions
    names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = names.get_values_for_type(x509.DNSName)
    assert {"login.microsoftonline.com", "*.vault.azure.net", "kubernetes.default.svc"} <= set(
        hosts
    )
    assert {"localhost", "*.vault.localhost", "*.oic.prod-aks.azure.com"} <= set(hosts)
    assert {f"*.{each}.core.windows.net" for each in ("blob", "queue", "table")} <= set(hosts)
    assert not [host for host in hosts if "servicebus" in host]
    assert len(names.get_values_for_type(x509.IPAddress)) == 2


def test_leaf_certificate_is_refused_as_client_certificate(data_dir: DataDir) -> None:
    """An attacker with the leaf's key could otherwise use it at the Kubernetes API."""
    for name, purpose in (("leaf", "serverAuth"), ("admin", "clientAuth")):
        usage = _load(data_dir.certificate(name)).extensions.get_extension_for_class(
            x509.ExtendedKeyUsage
        )
        assert [oid._name for oid in usage.value] == [purpose]


def test_signed_certificates_may_not_sign(data_dir: DataDir) -> None:
    """Attack: the key of a leaf signs certificates for Microsoft's host names."""
    for name in ("leaf", *ca.CLIENTS):
        found = _load(data_dir.certificate(name)).extensions
        constraints = found.get_extension_for_class(x509.BasicConstraints)
        usage = found.get_extension_for_class(x509.KeyUsage)
        assert (constraints.critical, constraints.value.ca) == (True, False)
        assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (
            True,
            False,
            False,
        )


@pytest.mark.parametrize(
    ("name", "user", "group"),
    [
        ("admin", "podpass-admin", "system:masters"),
        ("runtime", "system:node:podpass", "system:nodes"),
        ("webhook", "podpass-webhook", None),
        ("apiserver-kubelet", "kube-apiserver-kubelet-client", None),
    ],
)
def test_a_client_certificate_names_its_user_and_group(
    data_dir: DataDir, name: str, user: str, group: str | None
) -> None:
    subject = _load(data_dir.certificate(name)).subject
    groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == user
    assert [each.value for each in groups] == ([group] if group else [])


def test_valid_certificates_are_not_replaced(data_dir: DataDir) -> None:
    before = {path: path.read_bytes() for path in data_dir.path("tls").iterdir()}
    ca.ensure_certificates(data_dir, lambda: clock.system() + 300 * DAY)
    assert {path: path.read_bytes() for path in data_dir.path("tls").iterdir()} == before


def test_certificates_are_renewed_thirty_days_before_expiry(data_dir: DataDir) -> None:
    authority = data_dir.ca_file.read_bytes()
    before = {name: _load(data_dir.certificate(name)) for name in ("leaf", *ca.CLIENTS)}
    ca.ensure_certificates(data_dir, lambda: clock.system() + (397 - 29) * DAY)
    for name, certificate in before.items():
        assert _load(data_dir.certificate(name)).serial_number != certificate.serial_number
    assert data_dir.ca_file.read_bytes() == authority


def test_the_leaf_is_renewed_when_it_lacks_a_name(data_dir: DataDir) -> None:
    ca.ensure_certificates(data_dir, hosts=ca.SERVER_NAMES[:-1])
    before = _load(data_dir.certificate("leaf")).serial_number
    ca.ensure_certificates(data_dir, hosts=ca.SERVER_NAMES)
    assert _load(data_dir.certificate("leaf")).serial_number != before


def test_ca_that_may_not_sign_a_name_is_replaced(data_dir: DataDir) -> None:
    before = _load(data_dir.ca_file)
    ca.ensure_certificates(data_dir, hosts=(*ca.SERVER_NAMES, "new.example"))
    authority = _load(data_dir.ca_file)
    assert authority.subject != before.subject
    for name in ("leaf", *ca.CLIENTS):
        _load(data_dir.certificate(name)).verify_directly_issued_by(authority)


def test_killed_replacement_of_the_ca_leaves_no_damaged_ca(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the key of the new CA can remain with the certificate of the old one."""

    class Killed(BaseException):
        pass

    def write_only_the_key(path: Path, content: bytes) -> None:
        write_private(path, content)
        raise Killed

    hosts = (*ca.SERVER_NAMES, "new.example")
    with monkeypatch.context() as patched:
        patched.setattr(ca, "write_private", write_only_the_key)
        with pytest.raises(Killed):
            ca.ensure_certificates(data_dir, hosts=hosts)
    ca.ensure_certificates(data_dir, hosts=hosts)
    _load(data_dir.certificate("leaf")).verify_directly_issued_by(_load(data_dir.ca_file))


def _sign(data_dir: DataDir, folder: Path, name: x509.GeneralName) -> Path:
    """Sign a certificate with the key of the CA, as an attacker who has stolen it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    authority = load_pem_private_key(data_dir.path("ca", "ca.key").read_bytes(), None)
    assert isinstance(authority, ec.EllipticCurvePrivateKey)
    certificate = build_certificate(
        subject=build_name("stolen"),
        key=key,
        validity=(now - timedelta(hours=1), now + timedelta(days=1)),
        extensions=((x509.SubjectAlternativeName([name]), False),),
        issuer=_load(data_dir.ca_file).subject,
        signing_key=authority,
    )
    path = folder / "stolen.pem"
    path.write_bytes(encode_pem(certificate))
    return path


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        (x509.DNSName("a-vault.vault.azure.net"), True),
        (x509.DNSName("login.microsoftonline.com"), True),
        (x509.IPAddress(ip_address("127.0.0.7")), True),
        (x509.DNSName("example.com"), False),
        (x509.DNSName("portal.azure.com"), False),
        (x509.DNSName("evilvault.azure.net"), False),
        (x509.IPAddress(ip_address("10.0.0.1")), False),
    ],
    ids=str,
)
def test_stolen_ca_key_cannot_impersonate_another_host(
    data_dir: DataDir, tmp_path: Path, name: x509.GeneralName, valid: bool
) -> None:
    found = _sign(data_dir, tmp_path, name)
    done = run_text(["openssl", "verify", "-CAfile", data_dir.ca_file, found])
    assert (done.returncode == 0) == valid
    assert valid or "permitted subtree violation" in done.stderr


def test_a_damaged_leaf_is_replaced(data_dir: DataDir) -> None:
    data_dir.certificate("leaf").write_bytes(b"no certificate")
    ca.ensure_certificates(data_dir)
    assert _load(data_dir.certificate("leaf")).issuer == _load(data_dir.ca_file).subject


@pytest.mark.parametrize("name", ["leaf", "admin"])
def test_certificate_of_the_ca_of_another_instance_is_replaced(
    data_dir: DataDir, other: DataDir, name: str
) -> None:
    shutil.copy(other.certificate(name), data_dir.certificate(name))
    shutil.copy(other.key(name), data_dir.key(name))
    ca.ensure_certificates(data_dir)
    _load(data_dir.certificate(name)).verify_directly_issued_by(_load(data_dir.ca_file))


def test_certificate_with_the_key_of_another_certificate_is_replaced(data_dir: DataDir) -> None:
    shutil.copy(data_dir.key("admin"), data_dir.key("leaf"))
    ca.ensure_certificates(data_dir)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(data_dir.certificate("leaf"), data_dir.key("leaf"))


def test_key_without_its_type_in_the_label_is_replaced(data_dir: DataDir) -> None:
    """Earlier versions wrote such keys, which Fabric8's Java client reads as RSA keys."""
    file = data_dir.key(ca.ADMIN)
    assert file.read_bytes().startswith(b"-----BEGIN EC PRIVATE KEY-----\n")
    key = ca.parse_key(file.read_bytes())
    write_private(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    ca.ensure_certificates(data_dir)
    assert ca.parse_key(file.read_bytes()).public_key() != key.public_key()
    assert file.read_bytes().startswith(b"-----BEGIN EC PRIVATE KEY-----\n")


def test_damaged_ca_is_reported_with_a_hint(data_dir: DataDir) -> None:
    data_dir.path("ca", "ca.key").write_bytes(b"no key")
    with pytest.raises(DataDirError) as caught:
        ca.ensure_certificates(data_dir)
    assert caught.value.code == "data_dir"
    assert str(data_dir.path("ca")) in caught.value.hint


@pytest.mark.parametrize("days", [-400, 3700])
def test_ca_outside_its_validity_is_reported_as_such(data_dir: DataDir, days: int) -> None:
    with pytest.raises(DataDirError) as refused:
        ca.ensure_certificates(data_dir, lambda: clock.system() + days * DAY)
    assert "valid from" in refused.value.message
    assert "damaged" not in refused.value.message
    assert "correct the clock" in refused.value.hint
    assert "remove the folder" in refused.value.hint


def test_ca_with_the_key_of_another_ca_is_reported(data_dir: DataDir) -> None:
    shutil.copy(data_dir.key("leaf"), data_dir.path("ca", "ca.key"))
    with pytest.raises(DataDirError, match="another certificate"):
        ca.ensure_certificates(data_dir)


@pytest.fixture
def public(tmp_path: Path, other: DataDir) -> Path:
    """Return a public CA, such as that of a system or a company."""
    copied = tmp_path / "public.pem"
    shutil.copy(other.ca_file, copied)
    return copied


def test_bundle_contains_public_cas_and_the_instance_ca(data_dir: DataDir, public: Path) -> None:
    trust.write_stores(data_dir, {"SSL_CERT_FILE": str(public)})
    context = ssl.create_default_context(cafile=str(data_dir.bundle))
    assert sorted(context.get_ca_certs(binary_form=True)) == sorted(
        _load(path).public_bytes(Encoding.DER) for path in (data_dir.ca_file, public)
    )


def test_bundle_of_another_instance_is_skipped(tmp_path: Path, public: Path) -> None:
    """The environment of one instance must not make another instance trust its CA."""
    other = DataDir(tmp_path / "other")
    trust.write_stores(other, {"SSL_CERT_FILE": str(public)})
    assert trust.public_ca_files({"SSL_CERT_FILE": str(other.bundle)}) == trust.public_ca_files({})
    elsewhere = tmp_path / "moved.pem"
    shutil.copy(other.bundle, elsewhere)
    assert elsewhere not in trust.public_ca_files({"SSL_CERT_FILE": str(elsewhere)})


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"])
def test_ca_of_another_instance_is_not_trusted(
    data_dir: DataDir, other: DataDir, variable: str
) -> None:
    """Attack: the other instance could issue certificates for every host of this one."""
    environ = {variable: str(other.ca_file)}
    assert other.ca_file not in trust.public_ca_files(environ)
    trust.write_stores(data_dir, environ)
    context = ssl.create_default_context(cafile=str(data_dir.bundle))
    foreign = _load(other.ca_file).public_bytes(Encoding.DER)
    assert foreign not in context.get_ca_certs(binary_form=True)


def test_unchanged_trust_stores_are_not_written(data_dir: DataDir, public: Path) -> None:
    environ = {"SSL_CERT_FILE": str(public)}
    trust.write_stores(data_dir, environ)
    before = (data_dir.bundle.stat().st_mtime_ns, data_dir.truststore.stat().st_mtime_ns)
    trust.write_stores(data_dir, environ)
    after = (data_dir.bundle.stat().st_mtime_ns, data_dir.truststore.stat().st_mtime_ns)
    assert before == after


def test_openssl_finds_the_ca_in_the_hashed_folder(data_dir: DataDir, public: Path) -> None:
    trust.write_stores(data_dir, {"SSL_CERT_FILE": str(public)})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(capath=str(data_dir.certs))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(data_dir.certificate("leaf"), data_dir.key("leaf"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = context.wrap_bio(to_client, to_server, server_hostname="graph.microsoft.com")
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (client_side, server_side, client_side):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client_side.getpeercert()


def test_certificates_of_an_earlier_ca_are_removed_from_the_folder(data_dir: DataDir) -> None:
    data_dir.certs.mkdir(exist_ok=True)
    (data_dir.certs / "deadbeef.0").write_text("old")
    trust.write_stores(data_dir, {})
    assert not (data_dir.certs / "deadbeef.0").exists()
    assert len(list(data_dir.certs.iterdir())) == 2


def test_java_trusts_every_entry_of_the_trust_store(data_dir: DataDir, public: Path) -> None:
    trust.write_stores(data_dir, {"SSL_CERT_FILE": str(public)})
    password = TRUSTSTORE_PASSWORD.encode()
    loaded = pkcs12.load_pkcs12(data_dir.truststore.read_bytes(), password)
    assert {each.certificate for each in loaded.additional_certs} == {
        _load(public),
        _load(data_dir.ca_file),
    }
    keytool = shutil.which("keytool")
    if keytool is None:
        pytest.skip("keytool is not on this machine; the entries were read by the library alone")
    listed = run_text(
        [keytool, "-list", "-keystore", data_dir.truststore, "-storepass", TRUSTSTORE_PASSWORD],
        check=True,
        timeout=60,
    ).stdout
    assert listed.count("trustedCertEntry") == 2
