"""Each way to sign in: what is sent, what is returned, and how a failure reads."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from podpass.crypto.secret import Secret
from podpass.errors import UsageError
from podpass.provision.errors import SignInFailed
from podpass.provision.sign_in import (
    AzureCliSignIn,
    CachedTokens,
    CertificateSignIn,
    PasswordSignIn,
    SecretSignIn,
    load_certificate,
)
from tests.provision.api_server import ScriptedApi, ScriptedResponse, in_order, scripted_api

TENANT = "11111111-2222-4333-8444-555555555555"
CLIENT = "22222222-aaaa-4bbb-8ccc-000000000001"
GRAPH = "https://graph.microsoft.com"
GRANTED = ScriptedResponse(body={"access_token": "t", "expires_in": 3600})


def _form(api: ScriptedApi) -> dict[str, str]:
    [(method, target, _, body)] = api.requests
    assert (method, target) == ("POST", f"/{TENANT}/oauth2/v2.0/token")
    return {key: value for key, [value] in parse_qs(body.decode()).items()}


def _secret(api: ScriptedApi) -> SecretSignIn:
    return SecretSignIn(
        connection=api.connection,
        login=api.origin,
        tenant_id=TENANT,
        client_id=CLIENT,
        client_secret=Secret("p&w"),
    )


async def test_secret_and_password_are_sent_in_the_body_only(tmp_path: Path) -> None:
    async with scripted_api(tmp_path, in_order(GRANTED)) as api:
        token = await _secret(api).get_token(GRAPH)
        assert token.reveal() == "t"
        assert _form(api) == {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "client_secret": "p&w",
            "scope": f"{GRAPH}/.default",
        }
        assert "p&w" not in repr(_secret(api))
    async with scripted_api(tmp_path, in_order(GRANTED)) as api:
        user = PasswordSignIn(
            connection=api.connection,
            login=api.origin,
            tenant_id=TENANT,
            username="admin",
            password=Secret("pw"),
        )
        await user.get_token(GRAPH)
        assert _form(api)["grant_type"] == "password"
        assert (_form(api)["username"], _form(api)["password"]) == ("admin", "pw")


def write_certificate(folder: Path, key: Any = None) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key; return both files."""
    key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    folder.mkdir(exist_ok=True)
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return paths


async def test_assertion_of_a_certificate_is_valid_for_the_token_endpoint_only(
    tmp_path: Path,
) -> None:
    certificate, key = load_certificate(*write_certificate(tmp_path / "a"))
    async with scripted_api(tmp_path, in_order(GRANTED)) as api:
        signing_in = CertificateSignIn(
            connection=api.connection,
            login=api.origin,
            tenant_id=TENANT,
            client_id=CLIENT,
            certificate=certificate,
            key=key,
            clock=lambda: 1_700_000_000.0,
        )
        await signing_in.get_token(GRAPH)
        assertion = _form(api)["client_assertion"]
        url = f"{api.origin}/{TENANT}/oauth2/v2.0/token"
    claims = jwt.decode(
        assertion,
        key.key.public_key(),
        ["RS256"],
        audience=url,
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert (claims["iss"], claims["sub"]) == (CLIENT, CLIENT)
    assert claims["exp"] - claims["nbf"] == 300
    header = jwt.get_unverified_header(assertion)
    thumbprint = certificate.fingerprint(SHA1())
    assert jwt.utils.base64url_decode(header["x5t"]) == thumbprint


def test_unusable_certificate_or_key_is_named_by_its_flag(tmp_path: Path) -> None:
    one, other = write_certificate(tmp_path / "a"), write_certificate(tmp_path / "b")
    curve = write_certificate(tmp_path / "c", ec.generate_private_key(ec.SECP256R1()))
    for paths, words in (
        ((tmp_path / "none", one[1]), "--certificate-path: cannot read"),
        ((one[0], tmp_path), "--private-key-path: cannot read"),
        ((one[1], one[1]), "contains no certificate"),
        ((one[0], one[0]), "is not a PEM private key"),
        ((one[0], other[1]), "is not the key of the certificate"),
        (curve, "is not an RSA private key"),
    ):
        with pytest.raises(UsageError) as caught:
            load_certificate(*paths)
        assert words in caught.value.message


async def test_refused_sign_in_has_the_sentence_of_its_aadsts_code(tmp_path: Path) -> None:
    body = {"error": "invalid_client", "error_description": "x AADSTS7000215: bad secret\r\nTrace"}
    async with scripted_api(tmp_path, in_order(ScriptedResponse(status=401, body=body))) as api:
        with pytest.raises(SignInFailed) as caught:
            await _secret(api).get_token(GRAPH)
    assert caught.value.message == "cannot sign in: AADSTS7000215: bad secret"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "is not JSON"),
        ({}, "contains no access token"),
        ({"access_token": 1}, "contains no access token"),
        ({"access_token": "ä"}, "contains no access token"),
    ],
    ids=["html", "empty", "number", "not-ascii"],
)
async def test_response_without_a_token_is_a_failure(tmp_path: Path, body: Any, words: str) -> None:
    async with scripted_api(tmp_path, in_order(ScriptedResponse(body=body))) as api:
        with pytest.raises(SignInFailed, match=words):
            await _secret(api).get_token(GRAPH)


class _Counting(CachedTokens):
    number = 0

    async def request(self, resource: str) -> tuple[Secret, float]:
        self.number += 1
        return Secret(f"{resource}-{self.number}"), 3600.0


class _Slow(_Counting):
    async def request(self, resource: str) -> tuple[Secret, float]:
        await asyncio.sleep(0)  # lets the other calls begin
        return await super().request(resource)


async def test_concurrent_calls_share_one_request() -> None:
    tokens = _Slow()
    found = await asyncio.gather(*(tokens.get_token(GRAPH) for _ in range(3)))
    assert {each.reveal() for each in found} == {found[0].reveal()}
    other = await tokens.get_token("https://other")
    assert other.reveal() != found[0].reveal()


async def test_token_is_used_until_five_minutes_before_it_expires() -> None:
    now = [0.0]
    tokens = _Counting(clock=lambda: now[0])

    async def current() -> str:
        return (await tokens.get_token("r")).reveal()

    assert [await current(), await current()] == ["r-1", "r-1"]
    now[0] = 3299.0
    assert await current() == "r-1"
    now[0] = 3300.0
    assert await current() == "r-2"
    tokens.forget("r")
    assert await current() == "r-3"


def _az(folder: Path, script: str) -> Mapping[str, str]:
    program = folder / "az"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "MARK": "x"}


def _azure_cli(environ: Mapping[str, str]) -> AzureCliSignIn:
    return AzureCliSignIn(tenant_id=TENANT, environ=environ, clock=lambda: 1000.0)


@pytest.mark.parametrize(
    ("lifetime", "runs"),
    [({"expires_on": 9000}, 1), ({"expiresOn": "2030-01-01 00:00:00.000000"}, 2)],
    ids=["new", "old"],
)
async def test_azure_cli_returns_a_token_for_tenant_and_resource(
    tmp_path: Path, lifetime: dict[str, Any], runs: int
) -> None:
    answer = json.dumps({"accessToken": "t", **lifetime})
    signing_in = _azure_cli(_az(tmp_path, f"echo \"$MARK $@\" >> {tmp_path}/log; echo '{answer}'"))
    for _ in range(2):
        assert (await signing_in.get_token(GRAPH)).reveal() == "t"
    lines = (tmp_path / "log").read_text().splitlines()
    assert (
        lines
        == [f"x account get-access-token --output json --resource {GRAPH} --tenant {TENANT}"] * runs
    )


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo WARNING: a >&2; echo ERROR: Please run az login >&2; exit 1", "ERROR: Please run"),
        ("exit 3", "status 3"),
        ("echo no", "is not JSON"),
        ("echo '{}'", "contains no access token"),
    ],
    ids=["signed-out", "silent", "text", "empty"],
)
async def test_failure_of_the_azure_cli_is_reported(
    tmp_path: Path, script: str, words: str
) -> None:
    with pytest.raises(SignInFailed, match=words):
        await _azure_cli(_az(tmp_path, script)).get_token(GRAPH)


async def test_missing_azure_cli_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SignInFailed, match="the Azure CLI is not installed") as caught:
        await _azure_cli({"PATH": str(tmp_path)}).get_token(GRAPH)
    assert "--auth-method" in caught.value.hint
