"""The same program with the Azure SDK, whose credential finds workload identity."""

import os
import time

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

# Pods have no sign-in of a developer, and this program does not ask the metadata service.
credential = DefaultAzureCredential(
    exclude_cli_credential=True,
    exclude_developer_cli_credential=True,
    exclude_powershell_credential=True,
    exclude_managed_identity_credential=True,
)
client = SecretClient(os.environ["KEYVAULT_URL"], credential)

while True:
    try:
        print(f"secret: {client.get_secret(os.environ['SECRET_NAME']).value}", flush=True)
    except AzureError as exc:
        print(f"no secret: {type(exc).__name__}", flush=True)
    time.sleep(2)
