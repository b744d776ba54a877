"""Read the secret `greeting` with azure-identity: STYLE (default|chained|workload), sync or async."""

import asyncio
import sys
from typing import Any

VAULT = "https://journey-vault.vault.azure.net"


def read(style: str) -> str:
    from azure import identity
    from azure.keyvault.secrets import SecretClient

    with _credential(identity, style) as credential, SecretClient(VAULT, credential) as client:
        return str(client.get_secret("greeting").value)


async def read_async(style: str) -> str:
    from azure.identity import aio
    from azure.keyvault.secrets.aio import SecretClient

    async with _credential(aio, style) as credential, SecretClient(VAULT, credential) as client:
        return str((await client.get_secret("greeting")).value)


def _credential(module: Any, style: str) -> Any:
    if style == "default":
        return module.DefaultAzureCredential()
    if style == "chained":
        return module.ChainedTokenCredential(
            module.EnvironmentCredential(), module.WorkloadIdentityCredential()
        )
    return module.WorkloadIdentityCredential()


if __name__ == "__main__":
    chosen, mode = sys.argv[1:]
    print(asyncio.run(read_async(chosen)) if mode == "async" else read(chosen))
