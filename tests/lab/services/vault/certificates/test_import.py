"""Imported certificates: their formats, their policies, and the bounds before work."""

import base64
import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from podpass.crypto.x509 import build_certificate, build_name, encode_der, encode_pem
from podpass.lab.services.vault.certificates import decoder, decoding
from podpass.lab.services.vault.key_types import encode_key
from podpass.lab.services.vault.request import MAX_BODY_BYTES
from tests.lab.services.vault.certificates.conftest import (
    BASE,
    BEGIN,
    CA,
    CA_KEY,
    END,
    POLICY,
    UNKNOWN,
    Call,
    code,
    encode,
)

KEY = rsa.generate_private_key(65537, 2048)
LEAF = build_certificate(
    subject=build_name("www"),
    key=KEY,
    validity=(BEGIN, END),
    issuer=CA.subject,
    signing_key=CA_KEY,
)
PEM = (encode_key(KEY) + encode_pem(CA) + encode_pem(LEAF)).decode()
PATH = "/certificates/c/import"


def pfx(password: bytes = b"1234") -> str:
    how = PrivateFormat.PKCS12.encryption_builder().hmac_hash(hashes.SHA256()).build(password)
    made = pkcs12.serialize_key_and_certificates(b"www", KEY, LEAF, [CA], how)
    return base64.b64encode(made).decode()


def loaded(secret: Any) -> pkcs12.PKCS12KeyAndCertificates:
    return pkcs12.load_pkcs12(base64.b64decode(secret["value"]), b"")


async def test_imported_pfx_is_shown_without_its_password_with_key_and_secret(ask: Call) -> None:
    made = await ask("POST", PATH, {"value": pfx(), "pwd": "1234", "tags": {"a": "b"}})
    assert (made["cer"], made["tags"]) == (encode(LEAF), {"a": "b"})
    assert await ask("GET", "/certificates/c") == made
    assert "pending" not in made
    policy = made["policy"]
    assert policy["x509_props"]["subject"] == "CN=www"
    assert policy["key_props"] == {
        "kty": "RSA",
        "key_size": 2048,
        "exportable": True,
        "reuse_key": False,
    }
    assert policy["issuer"] == {"name": "Unknown"}
    secret = await ask("GET", "/secrets/c")
    assert (secret["contentType"], secret["kid"]) == ("application/x-pkcs12", made["kid"])
    found = loaded(secret)
    assert found.cert is not None
    assert found.cert.certificate == LEAF
    assert [each.certificate for each in found.additional_certs] == [CA]
    key = await ask("GET", "/keys/c")
    assert key["managed"] is True
    assert key["key"]["n"] == _number(KEY.public_key().public_numbers().n)


def _number(value: int) -> str:
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def test_imported_pem_is_a_pem_again_and_keeps_its_order_at_request(ask: Call) -> None:
    for value in (PEM, base64.b64encode(PEM.encode()).decode()):
        await ask("POST", PATH, {"value": value})
        secret = await ask("GET", "/secrets/c")
        assert secret["contentType"] == "application/x-pem-file"
        assert secret["value"].encode() == encode_key(KEY) + encode_pem(LEAF) + encode_pem(CA)
    other = build_certificate(subject=build_name("other"), key=CA_KEY, validity=(BEGIN, END))
    chain = (encode_key(KEY) + b"".join(map(encode_pem, (other, LEAF, CA)))).decode()
    for ordered, last in ((False, other), (True, CA)):
        body = {"value": chain, "preserveCertOrder": ordered}
        made = await ask("POST", PATH, body)
        assert made["preserveCertOrder"] is ordered
        value = (await ask("GET", "/secrets/c"))["value"]
        assert value.encode().endswith(encode_pem(last))
    assert len((await ask("GET", "/certificates/c/versions"))["value"]) == 4


async def test_policy_of_the_request_applies_apart_from_the_key(ask: Call) -> None:
    policy = {
        **POLICY["policy"],
        "key_props": {"kty": "EC", "crv": "P-521", "exportable": False},
        "x509_props": {"validity_months": 3},
    }
    made = await ask("POST", PATH, {"value": pfx(), "pwd": "1234", "policy": policy})
    shown = made["policy"]
    assert (shown["issuer"], shown["x509_props"]["subject"]) == ({"name": "Self"}, "CN=www")
    assert (shown["key_props"]["kty"], shown["key_props"]["exportable"]) == ("RSA", False)
    assert shown["x509_props"]["validity_months"] == 3
    assert loaded(await ask("GET", "/secrets/c")).key is None


async def test_content_type_of_another_format_is_refused(ask: Call) -> None:
    policy = {**POLICY["policy"], "secret_props": {"contentType": "application/x-pkcs12"}}
    refused = await ask("POST", PATH, {"value": PEM, "policy": policy}, status=400)
    assert "contentType" in refused["error"]["message"]


def _other_key(key: Any) -> str:
    return (encode_key(key) + encode_pem(LEAF)).decode()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"value": pfx(), "pwd": "wrong"}, "password"),
        ({"value": pfx()}, "password"),
        ({"value": "%"}, "neither"),
        ({"value": 5}, "'value'"),
        ({}, "'value'"),
        ({"value": PEM, "pwd": 5}, "pwd"),
        ({"value": PEM, "preserveCertOrder": "yes"}, "preserveCertOrder"),
        ({"value": PEM, "policy": []}, "policy"),
        ({"value": _other_key(ec.generate_private_key(ec.SECP256R1()))}, "belongs"),
    ],
)
async def test_invalid_import_is_refused_and_writes_nothing(
    ask: Call, body: Any, text: str
) -> None:
    refused = await ask("POST", PATH, body, status=400)
    assert code(refused) == "BadParameter"
    assert text in refused["error"]["message"]
    await ask("GET", "/certificates/c", status=404)
    await ask("PUT", "/secrets/c", {"value": "free"})


async def test_import_takes_over_no_secret_of_the_caller(ask: Call) -> None:
    await ask("PUT", "/secrets/c", {"value": "v"})
    assert code(await ask("POST", PATH, {"value": PEM}, status=409)) == "Conflict"
    assert (await ask("GET", "/secrets/c"))["value"] == "v"


async def test_import_is_the_next_version_of_a_created_certificate(ask: Call) -> None:
    await ask("POST", "/certificates/c/create", POLICY, status=202)
    made = await ask("POST", PATH, {"value": PEM, "policy": POLICY["policy"]})
    assert made["id"] == (await ask("GET", "/certificates/c"))["id"]
    assert len((await ask("GET", "/keys/c/versions"))["value"]) == 2
    missing = await ask("GET", "/certificates/c/pending", status=404)
    assert code(missing) == "PendingCertificateNotFound"
    assert made["sid"].startswith(f"{BASE}/secrets/c/")


async def test_secret_of_a_certificate_is_imported_as_another_certificate(ask: Call) -> None:
    """The samples of the SDKs do this."""
    for name, content in (("a", "application/x-pkcs12"), ("b", "application/x-pem-file")):
        policy = {**POLICY["policy"], "secret_props": {"contentType": content}}
        await ask("POST", f"/certificates/{name}/create", {"policy": policy}, status=202)
        value = (await ask("GET", f"/secrets/{name}"))["value"]
        made = await ask("POST", f"/certificates/copy-{name}/import", {"value": value})
        assert made["cer"] == (await ask("GET", f"/certificates/{name}"))["cer"]
        again = x509.load_der_x509_certificate(base64.b64decode(made["cer"]))
        assert again.subject.rfc4514_string() == "CN=a"


def _iterated(count: int) -> str:
    """Return a PFX whose MAC has this count of iterations. The MAC itself is not computed."""
    made = pkcs12.serialize_key_and_certificates(b"www", KEY, LEAF, None, NoEncryption())
    _, (_, content), *_ = decoding.split(decoding.split(made)[0][1])
    algorithm = encode_der(0x30, bytes.fromhex("0609608648016503040201") + b"\x05\x00")
    digest = encode_der(0x30, algorithm + encode_der(0x04, bytes(32)))
    rounds = encode_der(0x02, count.to_bytes(4, "big"))
    mac = encode_der(0x30, digest + encode_der(0x04, bytes(8)) + rounds)
    version = encode_der(0x02, b"\x03")
    return base64.b64encode(encode_der(0x30, version + encode_der(0x30, content) + mac)).decode()


def _large_der(bits: int) -> bytes:
    """Return PKCS #8 with numbers that are no RSA key: to generate one of this size takes a minute."""
    number = encode_der(0x02, b"\x7f" + b"\xff" * (bits // 8 - 1))
    rsa_key = encode_der(0x30, encode_der(0x02, b"\0") + number * 8)
    oid = bytes.fromhex("06092a864886f70d010101") + b"\x05\x00"
    content = encode_der(0x02, b"\0") + encode_der(0x30, oid) + encode_der(0x04, rsa_key)
    return encode_der(0x30, content)


def _large_pem(bits: int) -> bytes:
    text = base64.encodebytes(_large_der(bits))
    return b"-----BEGIN PRIVATE KEY-----\n" + text + b"-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (_iterated(10_000_000), "more than 1000000 iterations"),
        ((encode_key(KEY) + b"-----BEGIN CERTIFICATE-----\n" * 1000).decode(), "24 blocks"),
        ((encode_key(KEY) + encode_pem(CA) * 21).decode(), "1 to 20"),
        (PEM + encode_pem(LEAF).decode() * 1000, "larger than"),
        ((_large_pem(16 * 1024) + encode_pem(LEAF)).decode(), "at most 4096 bits"),
        (base64.b64encode(_large_der(16 * 1024)).decode(), "at most 4096 bits"),
    ],
    ids=["rounds", "beginnings", "chain", "long-chain", "pem-16k", "base64-16k"],
)
async def test_expensive_import_is_refused_before_the_work(
    ask: Call, monkeypatch: pytest.MonkeyPatch, value: str, text: str
) -> None:
    monkeypatch.setattr(decoder, "decode_in_process", None)  # no process is started
    started = time.process_time()
    status = 413 if len(value) > MAX_BODY_BYTES else 400
    refused = await ask("POST", PATH, {"value": value}, status=status)
    assert text in refused["error"]["message"] or status == 413
    assert time.process_time() - started < 5


def test_key_of_4096_bits_is_accepted() -> None:
    decoding.check_before_work((_large_pem(4096) + encode_pem(LEAF)).decode(), "")


def _certificate(key: Any, *extensions: bytes, version: int = 2, name: bytes = b"") -> bytes:
    """Return a certificate in DER that no library writes, with a signature that nothing checks."""
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    subject = encode_der(0x30, name)
    times = encode_der(0x17, b"260101000000Z") + encode_der(0x17, b"270101000000Z")
    parts = [
        encode_der(0xA0, encode_der(2, bytes([version]))),
        encode_der(2, b"\5"),
        algorithm,
        subject,
        encode_der(0x30, times),
        subject,
        spki,
        encode_der(0xA3, encode_der(0x30, b"".join(extensions))) if extensions else b"",
    ]
    signature = encode_der(3, bytes.fromhex("003006020101020101"))
    return encode_der(0x30, encode_der(0x30, b"".join(parts)) + algorithm + signature)


_CONSTRAINTS = encode_der(0x30, bytes.fromhex("0603551d13") + encode_der(4, bytes.fromhex("3000")))
_X400_NAME = encode_der(
    0x30, bytes.fromhex("0603551d11") + encode_der(4, encode_der(0x30, bytes.fromhex("a3023000")))
)
_NO_UTF8 = encode_der(
    0x31, encode_der(0x30, bytes.fromhex("0603550403") + encode_der(0x0C, b"\xff\xff"))
)
_MALFORMED: list[tuple[Any, int]] = [
    ({"extensions": (_CONSTRAINTS, _CONSTRAINTS)}, 200),
    ({"extensions": (_X400_NAME,)}, 200),
    ({"version": 9}, 400),
    ({"name": _NO_UTF8}, 400),
]


@pytest.mark.parametrize(("how", "status"), _MALFORMED)
async def test_malformed_certificate_is_shown_or_refused(ask: Call, how: Any, status: int) -> None:
    """A malformed extension does not matter; the vault needs the names and the version."""
    made = dict(how)
    key = ec.generate_private_key(ec.SECP256R1())
    body = _certificate(key, *made.pop("extensions", ()), **made)
    text = encode_key(key).decode() + _to_pem(body)
    answer = await ask("POST", PATH, {"value": text}, status=status)
    if status == 400:
        assert "cannot be decoded" in answer["error"]["message"]
    for path in ("/certificates/c", "/certificates/c/policy"):
        await ask("GET", path, status=200 if status == 200 else 404)


@pytest.mark.parametrize(("how", "status"), _MALFORMED)
async def test_malformed_certificate_is_merged_or_refused(ask: Call, how: Any, status: int) -> None:
    made = dict(how)
    started = await ask("POST", "/certificates/c/create", UNKNOWN, status=202)
    key = x509.load_der_x509_csr(base64.b64decode(started["csr"]))
    body = _certificate(key, *made.pop("extensions", ()), **made)
    merged = {"x5c": [base64.b64encode(body).decode()]}
    status = 201 if status == 200 else status
    await ask("POST", "/certificates/c/pending/merge", merged, status=status)
    await ask("GET", "/certificates/c/policy")


def _to_pem(der: bytes) -> str:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


async def test_chain_may_have_a_key_of_an_unknown_type(ask: Call) -> None:
    class Unknown:
        def public_key(self) -> Any:
            return self

        def public_bytes(self, *_: object) -> bytes:
            algorithm = encode_der(0x30, bytes.fromhex("06032a0304"))
            return encode_der(0x30, algorithm + encode_der(3, b"\0abcd"))

    key = ec.generate_private_key(ec.SECP256R1())
    chain = _to_pem(_certificate(Unknown())) + _to_pem(_certificate(key))
    await ask("POST", PATH, {"value": encode_key(key).decode() + chain})


async def test_certificate_beyond_the_bounds_of_a_policy_is_refused(ask: Call) -> None:
    """The store could not read the policy of such a certificate again."""
    usages = [x509.ObjectIdentifier(f"1.3.6.1.{each}") for each in range(60)]
    key = ec.generate_private_key(ec.SECP256R1())
    made = build_certificate(
        subject=build_name("www"),
        key=key,
        validity=(BEGIN, END),
        extensions=[(x509.ExtendedKeyUsage(usages), False)],
    )
    body = {"value": (encode_key(key) + encode_pem(made)).decode()}
    assert "ekus" in (await ask("POST", PATH, body, status=400))["error"]["message"]
    await ask("GET", "/certificates/c", status=404)
