"""Read a secret from Key Vault in a loop, with an access token from MSAL.

MSAL sends the pod's ServiceAccount token as client assertion.

Secret: KEYVAULT_URL (or KEYVAULT_NAME) and SECRET_NAME. Identity: AZURE_CLIENT_ID, AZURE_TENANT_ID,
AZURE_AUTHORITY_HOST and AZURE_FEDERATED_TOKEN_FILE, which the Workload ID webhook adds to the pod.
CREDENTIAL=azure-identity uses Azure Identity instead of MSAL. INTERVAL_SECONDS sets the pause, 60 by default.
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
    """Return a required environment variable."""
    value = os.environ.get(name, "")
    if not value:
        sys.exit(f'"{name} is not set"')
    return value


class MsalCredential:
    """Credential for the Key Vault client: MSAL with the token file as client assertion."""

    def __init__(self) -> None:
        from msal import ConfidentialClientApplication

        self._app = ConfidentialClientApplication(
            setting("AZURE_CLIENT_ID"),
            # A function, so that each request reads the file again: the kubelet rotates the token in it.
            client_credential={
                "client_assertion": Path(setting("AZURE_FEDERATED_TOKEN_FILE")).read_text
            },
            authority=f"{setting('AZURE_AUTHORITY_HOST').rstrip('/')}/{setting('AZURE_TENANT_ID')}",
        )

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return a token from MSAL's cache, or a new one."""
        answer = self._app.acquire_token_for_client(list(scopes))
        if "access_token" not in answer:
            raise ClientAuthenticationError(answer.get("error_description") or answer.get("error"))
        return AccessToken(answer["access_token"], int(time.time()) + int(answer["expires_in"]))


def credential() -> Any:
    """Return the credential that CREDENTIAL selects."""
    if os.environ.get("CREDENTIAL") == "azure-identity":
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()
    return MsalCredential()


def vault() -> str:
    """Return the vault URL from KEYVAULT_URL, or from KEYVAULT_NAME, which older manifests set."""
    name = os.environ.get("KEYVAULT_NAME", "")
    return os.environ.get("KEYVAULT_URL") or (
        f"https://{name}.vault.azure.net" if name else setting("KEYVAULT_URL")
    )


def main() -> None:
    """Read and print the secret until SIGTERM."""
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
