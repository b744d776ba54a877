"""The application as an asynchronous web service: GET /greeting."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from azure.core.exceptions import AzureError
from azure.identity.aio import DefaultAzureCredential
from azure.keyvault.secrets.aio import SecretClient
from fastapi import FastAPI, HTTPException, Request

VAULT = "https://greetings.vault.azure.net"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Create the clients when the service starts: they belong to its event loop."""
    async with DefaultAzureCredential() as credential, SecretClient(VAULT, credential) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/greeting")
async def greeting(request: Request) -> str:
    """Return the greeting, or status 503."""
    try:
        secret = await request.app.state.client.get_secret("greeting")
    except AzureError as exc:
        raise HTTPException(503, "the greeting is unavailable") from exc
    return str(secret.value)
