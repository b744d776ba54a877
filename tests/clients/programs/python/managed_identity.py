"""Read a secret with each managed identity credential of Python: CHECK... prints one result for each.

CHECK is managed, default or msrestazure, and may have `=CLIENT_ID`: then the secret is that of the second
vault.
"""

import importlib
import os
import sys
from importlib.metadata import version
from typing import Any

import requests
from answer import emit

FIRST, SECOND = (f"https://{name}.vault.azure.net" for name in ("journey-vault", "second-vault"))


def read_with_identity(style: str, client_id: str) -> str:
    from azure import identity
    from azure.keyvault.secrets import SecretClient

    option = "managed_identity_client_id" if style == "default" else "client_id"
    options: dict[str, Any] = {option: client_id} if client_id else {}
    kind: Any = (
        identity.DefaultAzureCredential
        if style == "default"
        else identity.ManagedIdentityCredential
    )
    credential = kind(**options)
    with credential, SecretClient(SECOND if client_id else FIRST, credential) as client:
        return str(client.get_secret("greeting").value)


def read_with_msrestazure(client_id: str) -> str:
    """Read the secret as applications did before Azure Identity: adal has no managed identity."""
    adal_era = importlib.import_module("msrestazure.azure_active_directory")
    options = {"client_id": client_id} if client_id else {}
    credential = adal_era.MSIAuthentication(resource="https://vault.azure.net", **options)
    with credential.signed_session() as session:
        answer: requests.Response = session.get(
            f"{SECOND if client_id else FIRST}/secrets/greeting?api-version=7.4", timeout=30
        )
    return str(answer.json()["value"])


def run(check: str) -> None:
    style, _, client_id = check.partition("=")
    try:
        if style == "msrestazure":
            emit(**{check: read_with_msrestazure(client_id)})
        else:
            emit(**{check: read_with_identity(style, client_id)})
    except Exception as exc:  # noqa: BLE001 any failure is the result
        # An error of requests may have no text.
        url = getattr(getattr(exc, "request", None), "url", "")
        emit(**{check: f"{type(exc).__name__}: {exc} {url}"})


if __name__ == "__main__":
    package = "msrestazure" if sys.argv[1].startswith("msrestazure") else "azure-identity"
    emit(version=version(package))
    for each in sys.argv[1:]:
        run(each)
    # A library's thread must not keep a pod running.
    sys.stdout.flush()
    os._exit(0)
