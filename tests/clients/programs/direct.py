"""Get a token with azure-identity, sync or async, and print its audience."""

import asyncio
import base64
import json
import sys

SCOPE = "https://vault.azure.net/.default"


def ask() -> str:
    from azure.identity import WorkloadIdentityCredential

    return str(WorkloadIdentityCredential().get_token(SCOPE).token)


async def ask_async() -> str:
    from azure.identity.aio import WorkloadIdentityCredential

    async with WorkloadIdentityCredential() as credential:
        return str((await credential.get_token(SCOPE)).token)


if __name__ == "__main__":
    token = asyncio.run(ask_async()) if sys.argv[1] == "async" else ask()
    body = token.split(".")[1]
    print(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["aud"])
