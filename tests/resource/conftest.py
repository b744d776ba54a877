"""Fixtures of the guard: an authority that publishes keys, and a caller."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from podpass.crypto import jose
from podpass.directory.model import Identity
from podpass.http.server import server_tls
from tests.authority import TENANT, Authority, ManualClock


@dataclass
class World:
    """An authority, its clock, and the certificate of its host."""

    clock: ManualClock
    authority: Authority
    ca_file: Path


@pytest.fixture(scope="session")
def signing_keys() -> list[jose.SigningKey]:
    return [jose.SigningKey(kid=f"key-{n}", key=jose.generate_rsa()) for n in range(2)]


@pytest.fixture
def vault_tls(ca: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    leaf = tmp_path / "leaf.pem"
    certificate = ca.issue_cert("login.microsoftonline.com")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(leaf))
    return server_tls(str(leaf), str(leaf))


@pytest.fixture
def world(tmp_path: Path, signing_keys: list[jose.SigningKey], ca: trustme.CA) -> World:
    clock, ca_file = ManualClock(), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    authority = Authority(clock=clock, signing=list(signing_keys[:1]))
    return World(clock=clock, authority=authority, ca_file=ca_file)


@pytest.fixture
def officer() -> Identity:
    return Identity(
        tenant_id=TENANT,
        client_id="11111111-1111-4111-8111-111111111111",
        object_id="22222222-2222-4222-8222-222222222222",
        name="officer",
    )
