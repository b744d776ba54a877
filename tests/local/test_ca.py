"""The authority's certificates, and trust stores that other programs can read."""

import shutil
import ssl
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.x509.oid import NameOID

from podpass import clock
from podpass.local import ca, trust
from podpass.local.datadir import DataDir, DataDirError, initialise, prepare
from podpass.local.environment import TRUSTSTORE_PASSWORD

DAY = 24 * 3600


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path / "instance")
    prepare(made)
    initialise(made)
    ca.ensure(made)
    return made


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_authority_may_sign_leaves_and_nothing_deeper(data_dir: DataDir) -> None:
    authority = _load(data_dir.ca_file)
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    lifetime = authority.not_valid_after_utc - datetime.now(UTC)
    assert 3649 <= lifetime.days <= 3650
    name = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert str(name).startswith(f"podpass local CA of {data_dir.id}")


def test_keys_are_for_the_owner_alone(data_dir: DataDir) -> None:
    keys = [data_dir.path("ca", "ca.key"), *data_dir.path("tls").glob("*.key")]
    assert len(keys) == 8
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_the_leaf_carries_the_names_of_azure_and_of_the_cluster(data_dir: DataDir) -> None:
    found = _load(data_dir.certificate("leaf")).extensions
    names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = names.get_values_for_type(x509.DNSName)
    assert {"login.microsoftonline.com", "*.vault.azure.net", "kubernetes.default.svc"} <= set(
        hosts
    )
    assert {"localhost", "*.vault.localhost", "*.oic.prod-aks.azure.com"} <= set(hosts)
    assert not [host for host in hosts if "blob" in host]
    assert len(names.get_values_for_type(x509.IPAddress)) == 2


def test_a_leaf_cannot_pose_as_a_client(data_dir: DataDir) -> None:
    """Whoever stole the leaf's key could otherwise try it on the Kubernetes API."""
    for name, purpose in (("leaf", "serverAuth"), ("admin", "clientAuth")):
        usage = _load(data_dir.certificate(name)).extensions.get_extension_for_class(
            x509.ExtendedKeyUsage
        )
        assert [oid._name for oid in usage.value] == [purpose]


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


def test_nothing_is_made_anew_while_it_is_fresh(data_dir: DataDir) -> None:
    before = {path: path.read_bytes() for path in data_dir.path("tls").iterdir()}
    ca.ensure(data_dir, lambda: clock.system() + 300 * DAY)
    assert {path: path.read_bytes() for path in data_dir.path("tls").iterdir()} == before


def test_certificates_are_renewed_within_thirty_days_of_their_end(data_dir: DataDir) -> None:
    authority = data_dir.ca_file.read_bytes()
    before = {name: _load(data_dir.certificate(name)) for name in ("leaf", *ca.CLIENTS)}
    ca.ensure(data_dir, lambda: clock.system() + (397 - 29) * DAY)
    for name, certificate in before.items():
        assert _load(data_dir.certificate(name)).serial_number != certificate.serial_number
    assert data_dir.ca_file.read_bytes() == authority


def test_the_leaf_is_renewed_when_it_lacks_a_name(data_dir: DataDir) -> None:
    before = _load(data_dir.certificate("leaf")).serial_number
    ca.ensure(data_dir, hosts=(*ca.SERVER_NAMES, "new.example"))
    assert _load(data_dir.certificate("leaf")).serial_number != before


def test_a_damaged_leaf_is_replaced(data_dir: DataDir) -> None:
    data_dir.certificate("leaf").write_bytes(b"no certificate")
    ca.ensure(data_dir)
    assert _load(data_dir.certificate("leaf")).issuer == _load(data_dir.ca_file).subject


def test_a_damaged_authority_is_reported_with_a_way_out(data_dir: DataDir) -> None:
    data_dir.path("ca", "ca.key").write_bytes(b"no key")
    with pytest.raises(DataDirError) as caught:
        ca.ensure(data_dir)
    assert caught.value.code == "data_dir"
    assert str(data_dir.path("ca")) in caught.value.hint


@pytest.mark.parametrize("days", [-400, 3700])
def test_an_authority_outside_its_days_is_reported_and_not_called_a_network_fault(
    data_dir: DataDir, days: int
) -> None:
    with pytest.raises(DataDirError) as refused:
        ca.ensure(data_dir, lambda: clock.system() + days * DAY)
    assert "valid from" in refused.value.message
    assert "damaged" not in refused.value.message
    assert "set the clock" in refused.value.hint
    assert "remove the folder" in refused.value.hint


def test_a_key_of_another_authority_is_noticed(data_dir: DataDir) -> None:
    shutil.copy(data_dir.key("leaf"), data_dir.path("ca", "ca.key"))
    with pytest.raises(DataDirError, match="another certificate"):
        ca.ensure(data_dir)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """Another authority, as a system or a company would have one."""
    other = DataDir(tmp_path / "other")
    prepare(other)
    initialise(other)
    ca.ensure(other)
    copied = tmp_path / "public.pem"
    shutil.copy(other.ca_file, copied)
    return copied


def test_the_bundle_holds_the_authorities_trusted_before_and_ours(
    data_dir: DataDir, public: Path
) -> None:
    trust.write_stores(data_dir, {"SSL_CERT_FILE": str(public)})
    context = ssl.create_default_context(cafile=str(data_dir.bundle))
    assert sorted(context.get_ca_certs(binary_form=True)) == sorted(
        _load(path).public_bytes(Encoding.DER) for path in (data_dir.ca_file, public)
    )


def test_the_bundle_of_another_instance_is_not_taken_over(tmp_path: Path, public: Path) -> None:
    """Shells that have `podpass env` of one instance must not make it trusted by the next."""
    other = DataDir(tmp_path / "other")
    trust.write_stores(other, {"SSL_CERT_FILE": str(public)})
    assert trust.public_sources({"SSL_CERT_FILE": str(other.bundle)}) == trust.public_sources({})
    elsewhere = tmp_path / "moved.pem"
    shutil.copy(other.bundle, elsewhere)
    assert elsewhere not in trust.public_sources({"SSL_CERT_FILE": str(elsewhere)})


def test_stores_are_left_alone_while_nothing_changed(data_dir: DataDir, public: Path) -> None:
    environ = {"SSL_CERT_FILE": str(public)}
    trust.write_stores(data_dir, environ)
    before = (data_dir.bundle.stat().st_mtime_ns, data_dir.truststore.stat().st_mtime_ns)
    trust.write_stores(data_dir, environ)
    after = (data_dir.bundle.stat().st_mtime_ns, data_dir.truststore.stat().st_mtime_ns)
    assert before == after


def test_the_hashed_folder_is_one_that_openssl_finds_the_authority_in(
    data_dir: DataDir, public: Path
) -> None:
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


def test_certificates_left_from_an_earlier_authority_leave_the_folder(data_dir: DataDir) -> None:
    data_dir.certs.mkdir(exist_ok=True)
    (data_dir.certs / "deadbeef.0").write_text("old")
    trust.write_stores(data_dir, {})
    assert not (data_dir.certs / "deadbeef.0").exists()
    assert len(list(data_dir.certs.iterdir())) == 2


def test_java_takes_every_entry_of_the_trust_store_for_trusted(
    data_dir: DataDir, public: Path
) -> None:
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
    listed = subprocess.run(
        [keytool, "-list", "-keystore", data_dir.truststore, "-storepass", TRUSTSTORE_PASSWORD],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert listed.count("trustedCertEntry") == 2
