"""Read a secret of the vault VAULT_URL and print the error: KIND is workload, default, managed or aio."""

import asyncio
import os
import sys
from typing import Any

from azure import identity
from azure.keyvault.secrets import SecretClient

# Of the chain, only credentials that send no request to the machine or to another program.
_EXCLUDED = ("managed_identity", "cli", "powershell", "developer_cli", "shared_token_cache")


def new_credential(kind: str) -> Any:
    if kind == "default":
        excluded = {f"exclude_{name}_credential": True for name in _EXCLUDED}
        return identity.DefaultAzureCredential(**excluded)
    if kind == "managed":
        return identity.ManagedIdentityCredential()
    return identity.WorkloadIdentityCredential()


def read_secret(kind: str) -> str | None:
    client = SecretClient(os.environ["VAULT_URL"], new_credential(kind), retry_total=0)
    return client.get_secret("greeting").value


async def read_secret_asynchronously() -> str | None:
    """Read it with the asynchronous chain, in which managed identity finds the token file, too."""
    from azure.identity import aio
    from azure.keyvault.secrets.aio import SecretClient

    excluded = {f"exclude_{name}_credential": True for name in _EXCLUDED[1:]}
    async with (
        aio.DefaultAzureCredential(**excluded) as credential,
        SecretClient(os.environ["VAULT_URL"], credential, retry_total=0) as client,
    ):
        return (await client.get_secret("greeting")).value


try:
    is_asynchronous = sys.argv[1] == "aio"
    print(
        asyncio.run(read_secret_asynchronously()) if is_asynchronous else read_secret(sys.argv[1])
    )
except Exception as exc:  # noqa: BLE001 the error is the output
    print(f"{type(exc).__name__}: {exc}")
