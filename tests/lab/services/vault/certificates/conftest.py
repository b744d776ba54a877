"""Requests on certificates over HTTP, and a CA outside of the vault."""

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.crypto.x509 import build_certificate, build_name

V = "?api-version=7.6"
BASE = "https://demo-vault.vault.azure.net"
POLICY = {"policy": {"issuer": {"name": "Self"}, "x509_props": {"subject": "CN=a"}}}
UNKNOWN = {"policy": {"issuer": {"name": "Unknown"}, "x509_props": {"subject": "CN=a"}}}
BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
CA_KEY = ec.generate_private_key(ec.SECP256R1())
CA = build_certificate(subject=build_name("ca"), key=CA_KEY, validity=(BEGIN, END))

Call = Callable[..., Awaitable[Any]]


@pytest.fixture
async def call(world: Any) -> Call:
    """Return a function that sends a request as a certificates officer."""
    officer = await world.identity("officer", "Key Vault Certificates Officer")

    async def send(method: str, path: str, body: Any = None) -> Any:
        query = "" if "?" in path else V
        # Tests move the clock by more than the lifetime of a token.
        token = world.authority.mint(officer)
        return await world.send(method, path + query, token=token, body=body)

    return send


@pytest.fixture
async def ask(world: Any) -> Call:
    """Return a function that sends a request as an administrator and returns the body of a response."""
    admin = await world.identity("admin", "Key Vault Administrator")

    async def send(method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        token = world.authority.mint(admin)
        query = "" if "?" in path else V
        found, answer, _ = await world.send(method, path + query, token=token, body=body)
        assert found == status, answer
        return answer

    return send


def code(answer: Any) -> str:
    return str(answer["error"]["code"])


def encode(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def sign(csr: str, **how: Any) -> x509.Certificate:
    """Sign a request as a CA outside of the vault."""
    request = x509.load_der_x509_csr(base64.b64decode(csr))
    return (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(CA.subject)
        .public_key(how.get("public_key") or request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(BEGIN + timedelta(days=how.get("days", 7000)))
        .sign(CA_KEY, hashes.SHA256())
    )
