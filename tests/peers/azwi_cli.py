"""The reference's command line `azwi`, run as after `eval "$(podpass env)"`, with each of its sign-ins."""

import base64
import hashlib
import json
import os
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.az.az_cli import VERSIONS, AzCli, signed_in_cli
from tests.journey.instance import Instance
from tests.peers.rest import RestClient
from tests.peers.roles import grant_roles
from tests.run_program import run_text


@dataclass(frozen=True, kw_only=True)
class Azwi:
    """The program, its environment, and the options of its sign-in."""

    program: Path
    environ: dict[str, str]
    options: tuple[str, ...]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run_text(
            [str(self.program), "serviceaccount", *words, *self.options],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def __call__(self, *words: str) -> str:
        """Run a command that must succeed; return its log."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stderr


@dataclass(kw_only=True)
class SignIns:
    """The ways to sign in: as the user of `az`, and as an application with a secret or a certificate."""

    program: Path
    instance: Instance
    rest: RestClient
    folder: Path
    _application: dict[str, Any] = field(default_factory=dict)

    def sign_in(self, method: str) -> Azwi:
        """Return `azwi` with a sign-in: `cli`, `client_secret` or `client_certificate`."""
        options = getattr(self, f"_{method}")()
        subscription = self.instance.status["subscription_id"]
        return Azwi(
            program=self.program,
            environ=self._environ(),
            options=("--subscription-id", subscription, "--auth-method", method, *options),
        )

    def _environ(self) -> dict[str, str]:
        az = signed_in_cli(VERSIONS[0], self.instance, self.folder)
        tools = self.folder / "bin"
        if not tools.exists():
            tools.mkdir()
            _write_az(tools / "az", az)
        return {**az.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    def _cli(self) -> tuple[str, ...]:
        return ()

    def _client_secret(self) -> tuple[str, ...]:
        path = f"/v1.0/applications/{self._registration()['id']}/addPassword"
        status, made = self.rest("POST", path, {"passwordCredential": {"displayName": "azwi"}})
        assert status == 200, made
        return ("--client-id", self._application["appId"], "--client-secret", made["secretText"])

    def _client_certificate(self) -> tuple[str, ...]:
        path = f"/v1.0/applications/{self._registration()['id']}"
        key, certificate = create_certificate()
        der = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        body = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": der}
        status, answer = self.rest("PATCH", path, {"keyCredentials": [body]})
        assert status == 204, answer
        files = self.folder / "certificate.pem", self.folder / "key.pem"
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files[1].write_bytes(pkcs8)
        named = ("--certificate-path", str(files[0]), "--private-key-path", str(files[1]))
        return ("--client-id", self._application["appId"], *named)

    def _registration(self) -> dict[str, Any]:
        """Return the application that azwi signs in as, with the permissions that it needs."""
        if not self._application:
            status, made = self.rest("POST", "/v1.0/applications", {"displayName": "azwi"})
            assert status == 201, made
            self._application.update(made)
            body = {"appId": made["appId"]}
            status, principal = self.rest("POST", "/v1.0/servicePrincipals", body)
            assert status == 201, principal
            grant_roles(self.rest, principal["id"])
        return self._application


def create_certificate() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """Create a certificate whose thumbprint differs between base64 and base64url.

    MSAL for Go sends the thumbprint in base64.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azwi")])
    now = datetime.now(UTC)
    while True:
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .sign(key, hashes.SHA256())
        )
        digest = hashlib.sha256(made.public_bytes(Encoding.DER)).digest()
        if {"+", "/"} <= set(base64.b64encode(digest).decode()):
            return key, made


def _write_az(path: Path, az: AzCli) -> None:
    path.write_text(f'#!/bin/sh\nexec {json.dumps(str(az.python))} -m azure.cli "$@"\n')
    path.chmod(0o755)
