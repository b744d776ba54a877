"""Read a secret and print the error: KIND, which is workload, default or managed. VAULT_URL is the vault."""

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


try:
    client = SecretClient(os.environ["VAULT_URL"], new_credential(sys.argv[1]), retry_total=0)
    print(client.get_secret("greeting").value)
except Exception as exc:  # noqa: BLE001 the error is the output
    print(f"{type(exc).__name__}: {exc}")
