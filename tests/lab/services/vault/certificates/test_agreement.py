"""Other libraries verify the certificates of the vault, and the vault imports theirs."""

import base64
import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from podpass.crypto import jose
from podpass.crypto.x509 import encode_pem
from podpass.lab.services.vault.certificates import decoding, issuance, views
from podpass.lab.services.vault.certificates.policy import PEM, PKCS12, parse
from podpass.lab.services.vault.key_types import encode_key
from podpass.lab.services.vault.keys import algorithms, jwk
from tests.suite_policy import examples

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RSA_KEY = issuance.generate_key(parse({"x509_props": {"subject": "CN=a"}}).key)
ALGORITHMS = {"RSA": "RS256", "P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
# As Windows wrote until 2019.
OLD = ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1")
CA_KEY = issuance.generate_key(parse({"x509_props": {"subject": "CN=a"}}).key)
CA = issuance.build_issuer("ca", CA_KEY, NOW)

labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20)
dns_names = st.lists(labels.map(lambda each: f"{each}.example.com"), min_size=1, max_size=5)
values = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=30
)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """Return the policy of a certificate for TLS."""
    kind = draw(st.sampled_from([*ALGORITHMS]))
    key: dict[str, Any] = {"kty": "RSA"} if kind == "RSA" else {"kty": "EC", "crv": kind}
    addresses = draw(st.lists(st.ip_addresses().map(str), max_size=3))
    return {
        "issuer": {"name": "Self"},
        "key_props": key,
        "secret_props": {"contentType": draw(st.sampled_from([PEM, PKCS12]))},
        "x509_props": {
            "subject": f'CN="{_quotable(draw(values))}", O=Contoso',
            "sans": {"dns_names": draw(dns_names), "ipAddresses": addresses},
            "validity_months": draw(st.integers(1, 24)),
        },
    }


def _quotable(text: str) -> str:
    return text.replace('"', "").replace("\\", "") or "x"


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_policy=policies(), signed=st.booleans())
def test_issued_certificate_is_verified_by_other_libraries(
    tmp_path: Path, given_policy: dict[str, Any], signed: bool
) -> None:
    policy = parse(given_policy)
    key = RSA_KEY if policy.key.kty == "RSA" else issuance.generate_key(policy.key)
    chain: tuple[x509.Certificate, ...]
    if signed:
        request = issuance.build_request(policy, key)
        chain = (issuance.sign_request(request, policy, (CA, CA_KEY), NOW), CA)
        _verify_for_tls(chain[0], policy.sans["dns_names"][0])
    else:
        chain = (issuance.build_self_signed(policy, key, NOW),)
    _verify_with_openssl(tmp_path, chain)
    # What the secret shows is an import that gives the same certificate and key.
    value = views.secret_value(chain, key, policy.content_type).reveal()
    found = decoding.decode(value, "", preserve_order=False)
    assert (found.certificates, encode_key(found.key)) == (chain, encode_key(key))
    if policy.content_type == PKCS12:
        loaded = pkcs12.load_pkcs12(base64.b64decode(value), b"")
        assert loaded.cert is not None
        assert loaded.cert.certificate == chain[0]
    _sign_and_verify(key, given_policy["key_props"])


def _verify_for_tls(leaf: x509.Certificate, name: str) -> None:
    """Verify as a TLS client does."""
    builder = PolicyBuilder().store(Store([CA])).time(NOW + timedelta(days=1))
    verified = builder.build_server_verifier(x509.DNSName(name)).verify(leaf, [])
    assert verified == [leaf, CA]


def _verify_with_openssl(folder: Path, chain: tuple[x509.Certificate, ...]) -> None:
    (folder / "leaf.pem").write_bytes(encode_pem(chain[0]))
    (folder / "root.pem").write_bytes(encode_pem(chain[-1]))
    moment = str(int((NOW + timedelta(days=1)).timestamp()))
    options = ("-attime", moment, "-x509_strict", "-check_ss_sig", "-CAfile", "root.pem")
    command = ["openssl", "verify", *options, "leaf.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "leaf.pem: OK", done.stderr


def _sign_and_verify(key: Any, properties: dict[str, Any]) -> None:
    """Sign with the key of the certificate as the vault does, and verify with joserfc; and the reverse."""
    algorithm = ALGORITHMS[properties.get("crv", "RSA")]
    exported = encode_key(key)
    other = (RSAKey if algorithm == "RS256" else ECKey).import_key(exported)
    header = {"alg": algorithm}
    signed = jws.serialize_compact(header, b"message", other, algorithms=[algorithm])
    protected, payload, signature = signed.split(".")
    digest = _digest(algorithm, f"{protected}.{payload}")
    assert algorithms.verify(key.public_key(), algorithm, digest, jose.b64decode(signature))
    ours = jose.b64encode(algorithms.sign(key, algorithm, digest))
    checked = jws.deserialize_compact(
        f"{protected}.{payload}.{ours}", other, algorithms=[algorithm]
    )
    assert checked.payload == b"message"
    assert jwk.describe(key, ("sign",))["jwk"]["kty"] == properties["kty"]


def _digest(algorithm: str, text: str) -> bytes:
    return hashlib.new(f"sha{algorithm[2:]}", text.encode()).digest()


@pytest.mark.parametrize("arguments", [(), OLD], ids=["modern", "old"])
def test_pfx_of_openssl_is_imported(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    policy = parse({"issuer": {"name": "Self"}, "x509_props": {"subject": "CN=a"}})
    leaf = issuance.build_self_signed(policy, RSA_KEY, NOW)
    (tmp_path / "all.pem").write_bytes(encode_key(RSA_KEY) + encode_pem(leaf))
    command = ["openssl", "pkcs12", "-export", "-in", "all.pem", "-out", "a.pfx", *arguments]
    subprocess.run(
        [*command, "-passout", "pass:secret"], cwd=tmp_path, capture_output=True, check=True
    )
    value = base64.b64encode((tmp_path / "a.pfx").read_bytes()).decode()
    found = decoding.decode(value, "secret", preserve_order=False)
    assert found.certificates == (leaf,)
    assert encode_key(found.key) == encode_key(RSA_KEY)
