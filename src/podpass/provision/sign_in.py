"""Access tokens of the account that sets up identities, by each way to sign in.

Source:  https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from podpass import files, names
from podpass.clock import Clock, system
from podpass.crypto.jose import BadKey, SigningKey, b64encode, load_private_pem
from podpass.crypto.secret import Secret
from podpass.errors import UsageError
from podpass.provision.connection import AzureConnection
from podpass.provision.errors import ApiError, SignInFailed, sanitize

# The client id of the Azure CLI: a public client, so a password alone signs a user in.
_AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
_AADSTS = re.compile(r"AADSTS[0-9]{4,8}: ?[^\r\n]{0,500}")
_AZ_SECONDS = 120.0
_EARLY_SECONDS = 300.0
_ASSERTION_SECONDS = 300
_MAX_PEM_BYTES = 1024 * 1024
_JWT_BEARER = names.JWT_BEARER


class TokenSource(Protocol):
    """A sign-in: it returns access tokens for resources such as https://graph.microsoft.com."""

    async def get_token(self, resource: str) -> Secret:
        """Return an access token. Raises SignInFailed."""

    def forget(self, resource: str) -> None:
        """Discard a token that an API refused."""


@dataclass(kw_only=True)
class CachedTokens:
    """Tokens that are stored until shortly before they expire; subclasses request them."""

    clock: Clock = system
    _stored: dict[str, tuple[Secret, float]] = field(default_factory=dict, repr=False)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict, repr=False)

    async def get_token(self, resource: str) -> Secret:
        """Return a stored token, or request one; concurrent calls share one request. Raises SignInFailed."""
        async with self._locks.setdefault(resource, asyncio.Lock()):
            token, expires = self._stored.get(resource, (None, 0.0))
            now = self.clock()
            if token is None or now >= expires - _EARLY_SECONDS:
                token, seconds = await self.request(resource)
                self._stored[resource] = token, now + seconds
            return token

    def forget(self, resource: str) -> None:
        """Discard a token that an API refused."""
        self._stored.pop(resource, None)

    async def request(self, resource: str) -> tuple[Secret, float]:
        """Request a token; return it and its lifetime in seconds."""
        raise NotImplementedError


@dataclass(kw_only=True)
class _EndpointSignIn(CachedTokens):
    """Tokens from the token endpoint of a tenant."""

    connection: AzureConnection
    login: str
    tenant_id: str
    hint: str = SignInFailed.hint

    @property
    def token_url(self) -> str:
        return f"{self.login}/{self.tenant_id}/oauth2/v2.0/token"

    def build_form(self) -> Mapping[str, str]:
        """Return the members of the request that prove who signs in."""
        raise NotImplementedError

    async def request(self, resource: str) -> tuple[Secret, float]:
        form = {"scope": f"{resource}/.default", **self.build_form()}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            response = await self.connection.send(
                "POST", self.token_url, headers=headers, body=urlencode(form).encode()
            )
        except ApiError as exc:
            raise SignInFailed(f"cannot sign in: {exc.message}", hint=self.hint) from exc
        try:
            answer = json.loads(response.body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise SignInFailed(f"the response of {self.login} is not JSON")
        if response.status != 200:
            found = _AADSTS.search(str(answer.get("error_description", "")))
            reason = found[0] if found else answer.get("error", f"status {response.status}")
            raise SignInFailed(f"cannot sign in: {sanitize(reason)}", hint=self.hint)
        return _parse_token(answer, "access_token", self.login)


@dataclass(kw_only=True)
class PasswordSignIn(_EndpointSignIn):
    """Sign in as a user with a password, as the administrator of a local instance."""

    username: str
    password: Secret
    hint: str = "`podpass status` shows whether the instance is ready, and the path of its log"

    def build_form(self) -> Mapping[str, str]:
        return {
            "grant_type": "password",
            "client_id": _AZURE_CLI,
            "username": self.username,
            "password": self.password.reveal(),
        }


@dataclass(kw_only=True)
class SecretSignIn(_EndpointSignIn):
    """Sign in as an application with a client secret."""

    client_id: str
    client_secret: Secret

    def build_form(self) -> Mapping[str, str]:
        return {
            "grant_type": names.CLIENT_CREDENTIALS,
            "client_id": self.client_id,
            "client_secret": self.client_secret.reveal(),
        }


@dataclass(kw_only=True)
class CertificateSignIn(_EndpointSignIn):
    """Sign in as an application with a certificate and its RSA key."""

    client_id: str
    certificate: x509.Certificate
    key: SigningKey

    def build_form(self) -> Mapping[str, str]:
        now = int(self.clock())
        claims = {
            "aud": self.token_url,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": str(uuid.uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        # Entra still finds a certificate by its SHA-1 thumbprint.
        thumbprint = b64encode(self.certificate.fingerprint(hashes.SHA1()))  # noqa: S303
        return {
            "grant_type": names.CLIENT_CREDENTIALS,
            "client_id": self.client_id,
            "client_assertion_type": _JWT_BEARER,
            "client_assertion": self.key.sign(claims, {"typ": "JWT", "x5t": thumbprint}),
        }


def load_certificate(certificate_path: Path, key_path: Path) -> tuple[x509.Certificate, SigningKey]:
    """Read a client certificate and its RSA key, both in PEM format. Raises UsageError, naming the flag."""
    found = []
    for flag, path in (("--certificate-path", certificate_path), ("--private-key-path", key_path)):
        try:
            found.append(files.read_regular(path, _MAX_PEM_BYTES))
        except OSError as exc:
            raise UsageError(f"{flag}: cannot read {path}: {exc.strerror}") from exc
    try:
        certificate = x509.load_pem_x509_certificate(found[0])
    except ValueError as exc:
        raise UsageError(f"--certificate-path: {certificate_path} contains no certificate") from exc
    try:
        key = load_private_pem(found[1])
    except BadKey as exc:
        raise UsageError(f"--private-key-path: {key_path} is {exc.message}") from exc
    if certificate.public_key() != key.public_key():
        raise UsageError(f"--private-key-path: {key_path} is not the key of the certificate")
    thumbprint = certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303
    return certificate, SigningKey(kid=thumbprint, key=key)


@dataclass(kw_only=True)
class AzureCliSignIn(CachedTokens):
    """Use the account that is signed in to `az`."""

    tenant_id: str
    environ: Mapping[str, str] = field(repr=False)

    async def request(self, resource: str) -> tuple[Secret, float]:
        program = shutil.which("az", path=self.environ.get("PATH"))
        if program is None:
            raise SignInFailed(
                "the Azure CLI is not installed: there is no `az` on the PATH",
                hint="install it and run `az login`, or use another --auth-method",
            )
        arguments = ("account", "get-access-token", "--output", "json", "--resource", resource)
        status, out, error = await self._run(program, *arguments, "--tenant", self.tenant_id)
        if status != 0:
            lines = error.decode("utf-8", "replace").strip().splitlines()
            found = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
            raise SignInFailed(
                f"az returned no token: {sanitize(found[0] if found else f'status {status}')}",
                hint=f"run `az login --tenant {self.tenant_id}`, or use another --auth-method",
            )
        try:
            answer = json.loads(out)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise SignInFailed("the output of az is not JSON")
        return _parse_token(answer, "accessToken", "az", now=self.clock())

    async def _run(self, *words: str) -> tuple[int, bytes, bytes]:
        """Run a program in a process group of its own, which ends with this call."""
        process = await asyncio.create_subprocess_exec(
            *words,
            env=dict(self.environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_AZ_SECONDS):
                out, error = await process.communicate()
        except TimeoutError as exc:
            raise SignInFailed(f"az returned no token within {_AZ_SECONDS:.0f} seconds") from exc
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return process.returncode or 0, out, error


@dataclass(kw_only=True)
class AzureIdentitySignIn(CachedTokens):
    """Use DefaultAzureCredential of azure-identity: environment, workload or managed identity, tools."""

    tenant_id: str
    login: str
    _credential: Any = field(default=None, repr=False)

    async def request(self, resource: str) -> tuple[Secret, float]:
        try:
            from azure.core.exceptions import ClientAuthenticationError
            from azure.identity import DefaultAzureCredential
        except ImportError as exc:
            raise SignInFailed(
                "the package azure-identity is not installed",
                hint="install it with podpass: pip install 'podpass[azure]'",
            ) from exc
        if self._credential is None:
            self._credential = DefaultAzureCredential(authority=self.login)
        try:
            found = await asyncio.to_thread(
                self._credential.get_token, f"{resource}/.default", tenant_id=self.tenant_id
            )
        except ClientAuthenticationError as exc:
            raise SignInFailed(
                f"azure-identity returned no token: {sanitize(exc.message)}"
            ) from exc
        return Secret(found.token), found.expires_on - self.clock()


def _parse_token(
    answer: Mapping[str, Any], member: str, source: str, *, now: float = 0.0
) -> tuple[Secret, float]:
    """Return token and lifetime; `az` returns the time of expiry, a token endpoint the lifetime."""
    token = answer.get(member)
    if not isinstance(token, str) or not token or not token.isascii():
        raise SignInFailed(f"the response of {source} contains no access token")
    try:
        if "expires_in" in answer:
            return Secret(token), float(answer["expires_in"])
        return Secret(token), float(answer["expires_on"]) - now
    except (KeyError, TypeError, ValueError):
        # Releases of az before 2.54 return only a local time; the token is then used for this request only.
        return Secret(token), 0.0
