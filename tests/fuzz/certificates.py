"""Fuzz targets of the certificates of a vault: imports and policies."""

import base64
import contextlib
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.crypto import jose
from podpass.lab.services.vault.certificates import decoding, issuance, policy, views
from podpass.lab.services.vault.errors import BadParameter

_KEY = ec.generate_private_key(ec.SECP256R1())
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _encode(one: x509.Certificate) -> str:
    return base64.b64encode(one.public_bytes(Encoding.DER)).decode()


def certificate(data: bytes) -> None:
    """An accepted import has a certificate of its key, and its secret is an import that gives the same."""
    is_text = data.startswith(b"-----BEGIN")
    value = data.decode("latin-1") if is_text else base64.b64encode(data).decode()
    try:
        decoding.check_before_work(value, "")
        found = decoding.decode(value, "", preserve_order=True)
    except BadParameter:
        return
    assert found.certificates[0].public_key() == found.key.public_key()
    assert decoding.decode_merged([*map(_encode, found.certificates)], found.key.public_key())
    views.list_operations(found.certificates[0])
    with contextlib.suppress(BadParameter):
        derived = views.derive_policy(found.certificates[0], found.content_type)
        assert policy.from_json(policy.to_json(derived)) == derived
    shown = views.secret_value(found.certificates, found.key, found.content_type).reveal()
    assert decoding.decode(shown, "", preserve_order=True).certificates == found.certificates


def certificate_policy(data: bytes) -> None:
    """An accepted policy is stored and read without a change, and can be issued or is refused."""
    with contextlib.suppress(BadParameter, jose.MalformedToken):
        parsed = policy.parse(jose.loads_object(data))
        assert policy.from_json(policy.to_json(parsed)) == parsed
        issuance.build_request(parsed, _KEY)
        issuance.build_self_signed(parsed, _KEY, _NOW)
