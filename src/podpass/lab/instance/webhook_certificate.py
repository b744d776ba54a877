"""The certificate of the trust webhook: made at each start, and trusted by the API server alone."""

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from podpass.crypto.x509 import (
    basic_constraints,
    build_certificate,
    build_name,
    encode_pem,
    key_usage,
    subject_key_id,
)
from podpass.http.server import server_tls

_BACKDATE = timedelta(minutes=5)
_DAYS = 3650


@dataclass(frozen=True, slots=True)
class WebhookCertificate:
    """The TLS context of the webhook, and the PEM that the API server verifies it with."""

    tls: ssl.SSLContext
    pem: bytes


def create(host: str, now: float) -> WebhookCertificate:
    """Create a self-signed certificate for one host; its key is in this process alone.

    It is apart from the CA that pods trust: the API server accepts nothing else from it.
    """
    from podpass.lab.data.ca import encode_key

    key = ec.generate_private_key(ec.SECP256R1())
    begins = datetime.fromtimestamp(now, UTC) - _BACKDATE
    certificate = build_certificate(
        subject=build_name(host, "podpass"),
        key=key,
        validity=(begins, begins + timedelta(days=_DAYS)),
        extensions=(
            subject_key_id(key),
            basic_constraints(ca=True, path_length=0),
            key_usage(digital_signature=True, key_cert_sign=True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.SubjectAlternativeName([x509.DNSName(host)]), False),
        ),
    )
    pem = encode_pem(certificate)
    # The ssl module reads only files; this one has mode 0600 and is deleted at once.
    with tempfile.NamedTemporaryFile() as both:
        both.write(pem + encode_key(key))
        both.flush()
        return WebhookCertificate(server_tls(both.name, both.name), pem)
