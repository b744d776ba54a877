from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

vault = SecretClient("https://demo-vault.vault.azure.net/", DefaultAzureCredential())
print(vault.get_secret("greeting").value)
