"""Helpers for tests in which a managed identity's token authenticates an application."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from podpass.crypto import jose
from podpass.directory.model import FederatedCredential
from podpass.names import EXCHANGE_AUDIENCE
from tests.exchange.world import Answer, World

SCOPE = f"{EXCHANGE_AUDIENCE}/.default"
CREDENTIAL = FederatedCredential(name="identity", issuer="", subject="", audiences=())


async def trust(world: World, client_id: str = "", **changes: Any) -> None:
    """Add a federated credential for the managed identity to an application, with changes."""
    usual = {
        "issuer": f"{world.url}/{world.TENANT}/v2.0",
        "subject": world.OBJECT,
        "audiences": (EXCHANGE_AUDIENCE,),
    }
    credential = replace(CREDENTIAL, **{**usual, **changes})
    await world.change(client_id or world.APPLICATION, credentials=(credential,))


async def get_token(world: World, scope: str = SCOPE) -> str:
    """Get a token of this service as the managed identity, from the managed identity endpoint."""
    resource = scope.removesuffix("/.default")
    issued = await world.app.managed_identities.issue(world.TENANT, world.CLIENT, resource)
    return issued.token


async def present(world: World, assertion: str, **changes: str | None) -> Answer:
    """Request a token as the application, with a token of this service as its credential."""
    fields = {"client_id": world.APPLICATION, "client_assertion": assertion, **changes}
    return await world.request_token(None, **fields)


async def present_with_claims(world: World, claims: Mapping[str, Any], **credential: Any) -> Answer:
    """Send a token of this service with other claims, to an application whose credential matches them."""
    await trust(world, **credential)
    changed = {**jose.parse(await get_token(world)).claims, **claims}
    return await present(world, world.keys.active.sign(changed, {"typ": "JWT"}))


def cause(claims: Mapping[str, Any], **credential: Any) -> Callable[[World], Awaitable[Answer]]:
    """Return a case for the table of all errors; `{url}` is replaced by the service's origin."""

    async def provoke(world: World) -> Answer:
        def written(values: Mapping[str, Any]) -> dict[str, Any]:
            url = world.url
            return {
                name: value.replace("{url}", url) if isinstance(value, str) else value
                for name, value in values.items()
            }

        return await present_with_claims(world, written(claims), **written(credential))

    return provoke
