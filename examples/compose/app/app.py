"""Read a secret, write a blob and read it again. Nothing here knows podpass."""

from contextlib import suppress

from azure.core.exceptions import ResourceExistsError
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
from azure.storage.blob import BlobServiceClient

credential = DefaultAzureCredential()
vault = SecretClient("https://demo-vault.vault.azure.net", credential)
greeting = vault.get_secret("greeting").value

storage = BlobServiceClient("https://orders.blob.core.windows.net", credential)
container = storage.get_container_client("greetings")
with suppress(ResourceExistsError):
    container.create_container()
container.upload_blob("greeting.txt", greeting, overwrite=True)
print(container.download_blob("greeting.txt").readall().decode())
