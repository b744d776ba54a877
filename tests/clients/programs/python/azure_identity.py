"""Read the secret and get tokens with azure-identity: STYLE SCOPE [LATER].

STYLE is default, chained or workload, with the prefix `aio-` for the async API. With LATER the program
continues with the same credential after its assertion was replaced.
"""

import asyncio
import importlib
import sys
from importlib.metadata import version
from typing import Any

from answer import DIRECT, VAULT, assertion, audience, emit, wait_for_another


def new_credential(module: Any, style: str) -> Any:
    if style == "default":
        return module.DefaultAzureCredential()
    if style == "chained":
        return module.ChainedTokenCredential(
            module.EnvironmentCredential(), module.WorkloadIdentityCredential()
        )
    return module.WorkloadIdentityCredential()


def run(style: str, scope: str, later: str) -> None:
    from azure import identity
    from azure.keyvault.secrets import SecretClient

    first = assertion()
    with new_credential(identity, style) as credential, SecretClient(VAULT, credential) as client:
        secret = "" if DIRECT else client.get_secret("greeting").value
        emit(secret=secret, audience=audience(credential.get_token(scope).token), **versions())
        if later:
            wait_for_another(first)
            emit(later=audience(credential.get_token(later).token))


async def run_async(style: str, scope: str, later: str) -> None:
    from azure.identity import aio
    from azure.keyvault.secrets.aio import SecretClient

    first = assertion()
    async with new_credential(aio, style) as credential, SecretClient(VAULT, credential) as client:
        secret = "" if DIRECT else (await client.get_secret("greeting")).value
        token = (await credential.get_token(scope)).token
        emit(secret=secret, audience=audience(token), **versions())
        if later:
            await asyncio.to_thread(wait_for_another, first)
            emit(later=audience((await credential.get_token(later)).token))


def versions() -> dict[str, str]:
    """Return the library's User-Agent and the installed version."""
    own = importlib.import_module("azure.identity._version").VERSION
    assert own == version("azure-identity")
    return {"version": own}


if __name__ == "__main__":
    chosen, wanted, *rest = sys.argv[1:]
    then = rest[0] if rest else ""
    if chosen.startswith("aio-"):
        asyncio.run(run_async(chosen.removeprefix("aio-"), wanted, then))
    else:
        run(chosen, wanted, then)
