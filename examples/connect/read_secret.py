"""Read a secret of the vault that Service Connector has connected; the argument is its name."""

import os
import sys

from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

vault = os.environ["AZURE_KEYVAULT_RESOURCEENDPOINT"]
client = SecretClient(vault, DefaultAzureCredential())
print("secret:", client.get_secret(sys.argv[1]).value)
