"""The released azure-identity, unmodified, against a live service in direct mode."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import WorkloadIdentityCredential

from podpass import clock, names

if TYPE_CHECKING:
    from tests.exchange.conftest import Start, World

SCOPE = "https://vault.azure.net/.default"


@pytest.fixture
async def live(start: "Start", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """Start a world on the real clock, and set the environment of a pod that trusts its CA."""
    world = await start(clock.system)
    world.now = clock.system()
    token = tmp_path / "token"
    token.write_text(world.mint() + "\n")
    for name in (
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(world.ca_file))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv(names.ENV_AUTHORITY_HOST, world.url + "/")
    monkeypatch.setenv(names.ENV_CLIENT_ID, world.CLIENT)
    monkeypatch.setenv(names.ENV_TENANT_ID, world.TENANT)
    monkeypatch.setenv(names.ENV_TOKEN_FILE, str(token))
    return world


async def test_the_sync_credential_gets_a_token(live: "World") -> None:
    with WorkloadIdentityCredential() as credential:
        token = await asyncio.to_thread(credential.get_token, SCOPE)
    assert token.expires_on - clock.system() > 86_000
    with WorkloadIdentityCredential(client_id=live.APPLICATION) as credential:
        scope = f"api://{live.APPLICATION}/.default"
        info = await asyncio.to_thread(credential.get_token_info, scope)
    assert info.token_type == "Bearer"


ASYNC = """
import asyncio
from azure.identity.aio import WorkloadIdentityCredential
async def main():
    async with WorkloadIdentityCredential() as credential:
        print((await credential.get_token("https://vault.azure.net/.default")).expires_on)
asyncio.run(main())
"""


async def test_the_async_credential_gets_a_token(live: "World") -> None:
    """In a process of its own: aiohttp reads SSL_CERT_FILE when it is imported."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASYNC, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert int(out) - clock.system() > 86_000
    assert live.site.hits


async def test_the_credential_shows_number_and_cause(live: "World", tmp_path: Path) -> None:
    (tmp_path / "token").write_text(live.mint(sub="system:serviceaccount:default:other"))
    with (
        WorkloadIdentityCredential() as credential,
        pytest.raises(ClientAuthenticationError) as caught,
    ):
        await asyncio.to_thread(credential.get_token, SCOPE)
    assert "AADSTS700213" in caught.value.message
    assert "system:serviceaccount:default:other" in caught.value.message
