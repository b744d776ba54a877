"""Request tokens with one credential: azure, aio or msal.

Each input line is a scope; each output line is a JSON object with the result.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any


def emit(**members: str) -> None:
    print(json.dumps(members), flush=True)


def assertion() -> str:
    return Path(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read_text()


def run_azure() -> None:
    from azure.identity import WorkloadIdentityCredential

    with WorkloadIdentityCredential() as credential:
        for line in sys.stdin:
            try:
                emit(token=credential.get_token(line.strip()).token)
            except Exception as exc:  # noqa: BLE001 every error is a result
                emit(error=f"{type(exc).__name__}: {exc}")


async def run_aio() -> None:
    from azure.identity.aio import WorkloadIdentityCredential

    async with WorkloadIdentityCredential() as credential:
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                emit(token=(await credential.get_token(line.strip())).token)
            except Exception as exc:  # noqa: BLE001 every error is a result
                emit(error=f"{type(exc).__name__}: {exc}")


def run_msal() -> None:
    import msal

    app = msal.ConfidentialClientApplication(
        os.environ["AZURE_CLIENT_ID"],
        client_credential={"client_assertion": assertion},
        authority=os.environ["AZURE_AUTHORITY_HOST"] + os.environ["AZURE_TENANT_ID"],
        instance_discovery=False,
    )
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = app.acquire_token_for_client([line.strip()])
        except Exception as exc:  # noqa: BLE001 every error is a result
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        token = answer.get("access_token")
        emit(token=token) if token else emit(error=str(answer))


if __name__ == "__main__":
    {"azure": run_azure, "aio": lambda: asyncio.run(run_aio()), "msal": run_msal}[sys.argv[1]]()
