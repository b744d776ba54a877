"""The asynchronous service works under pytest-asyncio and under anyio."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from service import VAULT, app, lifespan

from podpass.pytest.environment import TestEnvironment
from podpass.pytest.instance import Podpass

pytestmark = pytest.mark.usefixtures("greeter")


@asynccontextmanager
async def running_service() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    client = httpx.AsyncClient(transport=transport, base_url="http://greeter")
    async with lifespan(app), client:
        yield client


@pytest.fixture
def anyio_backend() -> str:
    """Use asyncio only: the transport of Azure's SDK needs it."""
    return "asyncio"


@pytest.mark.asyncio
async def test_greeting_is_read_under_pytest_asyncio() -> None:
    async with running_service() as client:
        assert (await client.get("/greeting")).json() == "hello"


@pytest.mark.anyio
async def test_greeting_is_read_under_anyio() -> None:
    async with running_service() as client:
        assert (await client.get("/greeting")).json() == "hello"


@pytest.mark.asyncio
async def test_identity_without_a_role_gets_status_503(
    podpass: Podpass, podpass_env: TestEnvironment
) -> None:
    podpass_env.sign_in(podpass.create_identity("newcomer", accounts=["default/newcomer"]))
    async with running_service() as client:
        assert (await client.get("/greeting")).status_code == 503


@pytest.mark.asyncio
async def test_running_service_recovers_after_an_error_of_the_vault(podpass: Podpass) -> None:
    async with running_service() as client:
        with podpass.faults.status(403, "vault"):
            assert (await client.get("/greeting")).status_code == 503
        assert (await client.get("/greeting")).json() == "hello"


@pytest.mark.asyncio
async def test_httpx_reaches_the_vault_of_the_instance() -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{VAULT}/secrets/greeting")
    assert answer.status_code == 401
    assert "login.microsoftonline.com" in answer.headers["WWW-Authenticate"]
