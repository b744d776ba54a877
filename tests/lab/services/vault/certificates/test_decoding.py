"""Decoding of imported certificates, its bounds, and the secret that a version shows."""

import asyncio
import base64
import json
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

from podpass.crypto.x509 import (
    PrivateKey,
    build_certificate,
    build_name,
    encode_der,
    encode_pem,
)
from podpass.lab.services.vault import key_types
from podpass.lab.services.vault.certificates import decoder, decoding, issuance, views
from podpass.lab.services.vault.certificates.decoding import decode
from podpass.lab.services.vault.certificates.policy import (
    PEM,
    PKCS12,
    KeyProperties,
    Policy,
    default_action,
)
from podpass.lab.services.vault.errors import BadParameter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2027, 1, 1, tzinfo=UTC)
NO_PASSWORD = serialization.NoEncryption()


def _certificate(
    subject: str, key: PrivateKey, issuer: tuple[str, PrivateKey] | None = None
) -> x509.Certificate:
    named = build_name(issuer[0]) if issuer else None
    return build_certificate(
        subject=build_name(subject),
        key=key,
        validity=(NOW, LATER),
        issuer=named,
        signing_key=issuer[1] if issuer else None,
    )


ROOT_KEY, MIDDLE_KEY, KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
ROOT = _certificate("root", ROOT_KEY)
MIDDLE = _certificate("middle", MIDDLE_KEY, ("root", ROOT_KEY))
LEAF = _certificate("leaf", KEY, ("middle", MIDDLE_KEY))


def _pfx() -> str:
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(2000)
    made = pkcs12.serialize_key_and_certificates(
        b"leaf", KEY, LEAF, [ROOT, MIDDLE], builder.hmac_hash(hashes.SHA256()).build(b"secret")
    )
    return base64.b64encode(made).decode()


def _pem(*certificates: x509.Certificate, key: PrivateKey = KEY) -> str:
    return (key_types.encode_key(key) + b"".join(map(encode_pem, certificates))).decode()


def test_pfx_with_password_gives_key_leaf_and_sorted_chain() -> None:
    found = decode(_pfx(), "secret", preserve_order=False)
    assert found.key.public_key() == KEY.public_key()
    assert found.certificates == (LEAF, MIDDLE, ROOT)
    assert found.content_type == PKCS12


@pytest.mark.parametrize("password", ["", "wrong"])
def test_pfx_with_wrong_password_is_refused(password: str) -> None:
    with pytest.raises(BadParameter, match="password"):
        decode(_pfx(), password, preserve_order=False)


def test_pem_is_decoded_as_text_and_as_base64() -> None:
    text = _pem(LEAF, ROOT, MIDDLE)
    for value in (text, base64.b64encode(text.encode()).decode()):
        found = decode(value, "", preserve_order=False)
        assert found.certificates == (LEAF, MIDDLE, ROOT)
        assert found.content_type == PEM


def test_preserved_chain_keeps_its_order_after_the_leaf() -> None:
    found = decode(_pem(ROOT, LEAF, MIDDLE), "", preserve_order=True)
    assert found.certificates == (LEAF, ROOT, MIDDLE)


def test_certificate_outside_of_the_chain_stays_at_its_end() -> None:
    other = _certificate("other", ROOT_KEY)
    found = decode(_pem(other, LEAF, ROOT, MIDDLE), "", preserve_order=False)
    assert found.certificates == (LEAF, MIDDLE, ROOT, other)


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.OpenSSH])
def test_pem_key_that_is_not_pkcs8_is_refused(form: PrivateFormat) -> None:
    key = KEY.private_bytes(serialization.Encoding.PEM, form, NO_PASSWORD)
    with pytest.raises(BadParameter, match="PKCS #8"):
        decode((key + encode_pem(LEAF)).decode(), "", preserve_order=False)


def test_encrypted_pem_key_is_refused() -> None:
    locked = serialization.BestAvailableEncryption(b"x")
    key = KEY.private_bytes(serialization.Encoding.PEM, PrivateFormat.PKCS8, locked)
    with pytest.raises(BadParameter, match="PKCS #8"):
        decode((key + encode_pem(LEAF)).decode(), "", preserve_order=False)


def test_certificate_of_another_key_is_refused() -> None:
    with pytest.raises(BadParameter, match="belongs"):
        decode(_pem(ROOT, MIDDLE), "", preserve_order=False)


def test_value_without_key_is_refused() -> None:
    with pytest.raises(BadParameter, match="one private key"):
        decode(encode_pem(LEAF).decode(), "", preserve_order=False)
    made = pkcs12.serialize_key_and_certificates(None, None, None, [LEAF], NO_PASSWORD)
    with pytest.raises(BadParameter, match="no private key"):
        decode(base64.b64encode(made).decode(), "", preserve_order=False)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP224R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa-1024", "p-224", "ed25519"],
)
def test_key_of_an_unsupported_size_or_type_is_refused(key: PrivateKey) -> None:
    with pytest.raises(BadParameter, match="must be RSA of 2048"):
        decode(_pem(LEAF, key=key), "", preserve_order=False)


@pytest.mark.parametrize("value", ["", "%%%", "AAAA", base64.b64encode(b"\x30\x80" * 9).decode()])
def test_value_that_is_no_certificate_is_refused(value: str) -> None:
    with pytest.raises(BadParameter):
        decode(value, "", preserve_order=False)


def test_chain_that_is_too_long_is_refused() -> None:
    with pytest.raises(BadParameter, match="1 to 20"):
        decode(_pem(LEAF, *([ROOT] * decoding.MAX_CHAIN)), "", preserve_order=False)


def _openssl_pfx(folder: Path, *arguments: str) -> str:
    (folder / "all.pem").write_text(_pem(LEAF))
    command = ["openssl", "pkcs12", "-export", "-in", "all.pem", "-out", "a.pfx"]
    subprocess.run(
        [*command, "-passout", "pass:x", *arguments], check=True, cwd=folder, capture_output=True
    )
    return base64.b64encode((folder / "a.pfx").read_bytes()).decode()


def _endless_pfx() -> str:
    """Return a PFX whose MAC has the largest count of iterations. The MAC itself is not computed."""
    made = pkcs12.serialize_key_and_certificates(b"leaf", KEY, LEAF, None, NO_PASSWORD)
    _, (_, content), *_ = decoding.split(decoding.split(made)[0][1])
    algorithm = encode_der(0x30, bytes.fromhex("0609608648016503040201") + b"\x05\x00")
    digest = encode_der(0x30, algorithm + encode_der(0x04, bytes(32)))
    count = encode_der(0x02, (2**31 - 1).to_bytes(4, "big"))
    mac = encode_der(0x30, digest + encode_der(0x04, bytes(8)) + count)
    version = encode_der(0x02, b"\x03")
    pfx = encode_der(0x30, version + encode_der(0x30, content) + mac)
    return base64.b64encode(pfx).decode()


def _check(value: str) -> None:
    decoding.check_before_work(value, "")


@pytest.mark.parametrize("arguments", [("-iter", "1000001", "-nomac"), ("-iter", "1000001")])
def test_pfx_with_too_many_iterations_is_refused_before_work(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with pytest.raises(BadParameter, match="iterations"):
        _check(_openssl_pfx(tmp_path, *arguments))


async def test_pfx_with_too_many_mac_iterations_is_refused_before_work() -> None:
    with pytest.raises(BadParameter, match="more than 1000000 iterations"):
        await decoder.decode(_endless_pfx(), "", preserve_order=False)


def test_pfx_with_usual_iterations_is_accepted(tmp_path: Path) -> None:
    _check(_openssl_pfx(tmp_path, "-iter", "600000", "-nomaciter"))


def test_deeply_nested_pfx_is_refused() -> None:
    data = b""
    for _ in range(40):
        data = encode_der(0x30, data)
    with pytest.raises(BadParameter, match="nested"):
        _check(base64.b64encode(data).decode())


def test_pfx_with_very_many_parts_is_refused() -> None:
    with pytest.raises(BadParameter, match="parts"):
        _check(base64.b64encode(encode_der(0x30, b"\x05\x00" * 30_000)).decode())


@pytest.mark.parametrize("value", ["", "Z3JlZXRpbmc="])
def test_value_that_is_no_certificate_is_refused_before_a_process_starts(value: str) -> None:
    with pytest.raises(BadParameter, match="neither PFX nor PEM"):
        _check(value)


def test_password_with_nul_is_refused() -> None:
    with pytest.raises(BadParameter, match="NUL"):
        decoding.check_before_work(_pfx(), "a\0b")


def test_value_that_is_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(BadParameter, match="larger"):
        _check("A" * (decoding.MAX_VALUE_CHARS + 1))


async def test_decoder_process_returns_the_same_certificate() -> None:
    found = await decoder.decode(_pfx(), "secret", preserve_order=False)
    assert found.certificates == (LEAF, MIDDLE, ROOT)
    assert key_types.encode_key(found.key) == key_types.encode_key(KEY)


async def test_decoder_process_returns_the_reason_of_a_refusal() -> None:
    with pytest.raises(BadParameter, match="password"):
        await decoder.decode(_pfx(), "wrong", preserve_order=False)


def test_decoder_process_has_limits_of_time_and_memory_and_writes_no_core() -> None:
    """An attack: a PFX that takes hours or all memory; a core dump would contain its key."""
    script = (
        "import resource as r; from podpass.lab.services.vault.certificates import decoder\n"
        "decoder.main()\n"
        "print('', *map(r.getrlimit, (r.RLIMIT_CPU, r.RLIMIT_CORE, r.RLIMIT_AS)), sep=';')"
    )
    request = json.dumps({"value": "", "password": "", "preserve_order": False})
    done = subprocess.run(
        [sys.executable, "-c", script, "7"],
        input=request,
        check=True,
        capture_output=True,
        text=True,
    )
    answer, *limits = done.stdout.strip().split(";")
    assert "error" in json.loads(answer)
    assert limits == ["(7, 8)", "(0, 0)", f"({1 << 30}, {1 << 30})"]


async def test_decoder_process_that_fails_writes_no_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It could contain the value or the password."""
    with pytest.raises(BadParameter, match="cannot be decoded"):
        # This is no limit that the process can set.
        await decoder.decode_in_process(_pfx(), "secret", preserve_order=False, cpu_seconds=-1)
    assert capfd.readouterr() == ("", "")


async def test_decoder_process_ends_after_a_time_without_use_of_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder, "_WALL_SECONDS", 0.5)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with pytest.raises(BadParameter, match="too long"):
        await decoder.decode_in_process(_endless_pfx(), "", preserve_order=False, cpu_seconds=5)
    # The limit of processor time would have ended it too, but later.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 4


async def test_decoder_process_that_takes_too_long_ends_and_does_not_block_the_loop() -> None:
    # Iterations inside of encrypted content are invisible; here, nothing checks the visible ones.
    rounds = 0

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0.01)

    counting = asyncio.create_task(count_rounds())
    with pytest.raises(BadParameter, match="too long"):
        await decoder.decode_in_process(_endless_pfx(), "", preserve_order=False, cpu_seconds=1)
    counting.cancel()
    assert rounds > 1


@pytest.mark.parametrize("key", [KEY, rsa.generate_private_key(65537, 2048)], ids=["ec", "rsa"])
@pytest.mark.parametrize("content_type", [PEM, PKCS12])
def test_secret_of_a_version_is_an_import_without_password(
    key: PrivateKey, content_type: str
) -> None:
    leaf = _certificate("leaf", key, ("root", ROOT_KEY))
    value = views.secret_value((leaf, ROOT), key, content_type).reveal()
    found = decode(value, "", preserve_order=True)
    assert found.certificates == (leaf, ROOT)
    assert key_types.encode_key(found.key) == key_types.encode_key(key)
    assert found.content_type == content_type


def test_openssl_opens_the_pfx_of_a_secret_with_the_empty_password(tmp_path: Path) -> None:
    value = views.secret_value((LEAF, MIDDLE), KEY, PKCS12).reveal()
    (tmp_path / "a.pfx").write_bytes(base64.b64decode(value))
    command = ["openssl", "pkcs12", "-in", "a.pfx", "-nodes", "-passin", "pass:"]
    done = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    found = decode(done.stdout, "", preserve_order=False)
    assert found.certificates == (LEAF, MIDDLE)


@pytest.mark.parametrize("content_type", [PEM, PKCS12])
def test_secret_of_a_key_that_is_not_exportable_has_no_private_key(content_type: str) -> None:
    value = views.secret_value((LEAF, MIDDLE), None, content_type).reveal()
    if content_type == PEM:
        assert "PRIVATE KEY" not in value
        assert value.encode() == encode_pem(LEAF) + encode_pem(MIDDLE)
        return
    found = pkcs12.load_pkcs12(base64.b64decode(value), None)
    assert found.key is None
    assert [each.certificate for each in found.additional_certs] == [LEAF, MIDDLE]


def test_policy_of_an_import_is_made_from_the_certificate() -> None:
    key = issuance.generate_key(KeyProperties(kty="EC", size=None, curve="P-384"))
    given = Policy(
        subject="CN=web, O=Contoso",
        key=KeyProperties(kty="EC", size=None, curve="P-384"),
        content_type=PEM,
        sans={"dns_names": ("web.example",), "ipAddresses": ("10.0.0.1",)},
        months=24,
        ekus=("1.3.6.1.5.5.7.3.1",),
        key_usage=("digitalSignature", "keyAgreement", "encipherOnly"),
        actions=(default_action("Unknown"),),
    )
    made = issuance.build_self_signed(given, key, NOW)
    assert views.derive_policy(made, PEM) == given


def test_merge_needs_a_certificate_of_the_pending_key() -> None:
    given = [_der(ROOT), _der(LEAF), _der(MIDDLE)]
    assert decoding.decode_merged(given, KEY.public_key()) == (LEAF, MIDDLE, ROOT)
    with pytest.raises(BadParameter, match="public key of the pending request"):
        decoding.decode_merged([_der(ROOT)], KEY.public_key())


@pytest.mark.parametrize("given", [[], ["AAAA"], [""], ["A"] * 21])
def test_merge_of_something_else_is_refused(given: list[str]) -> None:
    with pytest.raises(BadParameter):
        decoding.decode_merged(given, KEY.public_key())


def test_stored_key_is_decoded() -> None:
    assert views.decode_sealed(views.encode_sealed(KEY)).public_key() == KEY.public_key()


def _der(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
