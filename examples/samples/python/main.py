"""Read a secret from Key Vault again and again, with a token that MSAL got for this pod's own assertion.

Where to look: KEYVAULT_URL (or KEYVAULT_NAME) and SECRET_NAME. Who asks: AZURE_CLIENT_ID, AZURE_TENANT_ID,
AZURE_AUTHORITY_HOST and AZURE_FEDERATED_TOKEN_FILE, which the webhook of Workload ID puts into the pod.
CREDENTIAL=azure-identity takes Azure Identity instead of MSAL; INTERVAL_SECONDS is 60 where it is not set.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.keyvault.secrets import SecretClient


def setting(name: str) -> str:
    """Read a variable that has to be there."""
    value = os.environ.get(name, "")
    if not value:
        sys.exit(f'"{name} is not set"')
    return value


class MsalCredential:
    """What Key Vault's client asks for tokens: MSAL, with the token file as client assertion."""

    def __init__(self) -> None:
        from msal import ConfidentialClientApplication

        self._app = ConfidentialClientApplication(
            setting("AZURE_CLIENT_ID"),
            # A function, so that the file is read for each request: the kubelet writes a new token into it.
            client_credential={
                "client_assertion": Path(setting("AZURE_FEDERATED_TOKEN_FILE")).read_text
            },
            authority=f"{setting('AZURE_AUTHORITY_HOST').rstrip('/')}/{setting('AZURE_TENANT_ID')}",
        )

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Give a token from MSAL's cache, or a new one."""
        answer = self._app.acquire_token_for_client(list(scopes))
        if "access_token" not in answer:
            raise ClientAuthenticationError(answer.get("error_description") or answer.get("error"))
        return AccessToken(answer["access_token"], int(time.time()) + int(answer["expires_in"]))


def credential() -> Any:
    """Choose who gets the tokens."""
    if os.environ.get("CREDENTIAL") == "azure-identity":
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()
    return MsalCredential()


def vault() -> str:
    """Find the vault: by its URL, or by its name as older manifests give it."""
    name = os.environ.get("KEYVAULT_NAME", "")
    return os.environ.get("KEYVAULT_URL") or (
        f"https://{name}.vault.azure.net" if name else setting("KEYVAULT_URL")
    )


def main() -> None:
    """Read and print the secret until told to end."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    url, name = vault(), setting("SECRET_NAME")
    client = SecretClient(url, credential())
    while not ended.is_set():
        try:
            value = client.get_secret(name).value
        except AzureError as exc:
            sys.exit(
                f'"failed to get secret" keyvault="{url}" secretName="{name}" error={json.dumps(str(exc))}'
            )
        print(
            f'"successfully got secret" secret={json.dumps(value, ensure_ascii=False)}', flush=True
        )
        ended.wait(float(os.environ.get("INTERVAL_SECONDS") or 60))


if __name__ == "__main__":
    main()
