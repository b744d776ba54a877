"""The released azure-identity in a separate process, in direct mode."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from podpass import clock, names
from tests.exchange.world import Start, World

SCOPE = "https://vault.azure.net/.default"
Run = Callable[..., Awaitable[str]]

SYNC = """
import sys
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import WorkloadIdentityCredential
try:
    print(WorkloadIdentityCredential(client_id=sys.argv[1]).get_token(sys.argv[2]).expires_on)
except ClientAuthenticationError as exc:
    print(exc.message)
"""

ASYNC = """
import asyncio, sys
from azure.identity.aio import WorkloadIdentityCredential
async def main():
    async with WorkloadIdentityCredential(client_id=sys.argv[1]) as credential:
        print((await credential.get_token(sys.argv[2])).expires_on)
asyncio.run(main())
"""


@pytest.fixture
async def live(start: Start) -> World:
    """Start the test service with the real clock."""
    world = await start(clock.system)
    world.now = clock.system()
    return world


@pytest.fixture
def run(live: World, tmp_path: Path) -> Run:
    """Run a program with the environment of a pod that trusts the test CA."""

    async def start(program: str, *arguments: str, **claims: Any) -> str:
        (tmp_path / "token").write_text(live.mint(**claims) + "\n")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            env={
                "REQUESTS_CA_BUNDLE": str(live.ca_file),
                "SSL_CERT_FILE": str(live.ca_file),
                names.ENV_AUTHORITY_HOST: live.url + "/",
                names.ENV_TENANT_ID: live.TENANT,
                names.ENV_TOKEN_FILE: str(tmp_path / "token"),
            },
        )
        out, _ = await process.communicate()
        return out.decode()

    return start


@pytest.mark.parametrize("program", [SYNC, ASYNC])
async def test_credential_gets_token_valid_for_a_day(live: World, run: Run, program: str) -> None:
    assert int(await run(program, live.CLIENT, SCOPE)) - clock.system() > 86_000
    own_api = f"api://{live.APPLICATION}/.default"
    assert int(await run(program, live.APPLICATION, own_api)) - clock.system() > 86_000


async def test_credential_error_has_number_and_cause(live: World, run: Run) -> None:
    shown = await run(SYNC, live.CLIENT, SCOPE, sub="system:serviceaccount:default:other")
    assert "AADSTS700213" in shown
    assert "'system:serviceaccount:default:other'" in shown
