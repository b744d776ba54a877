"""Read the secret as a job of a pipeline, with azure-identity: TENANT CLIENT."""

import json
import os
import sys

import requests
from azure.identity import AzurePipelinesCredential, ClientAssertionCredential
from azure.keyvault.secrets import SecretClient

env = os.environ
tenant, client = sys.argv[1:]


def request_token() -> str:
    """Request a token of the job as azure/login does."""
    url = env["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=api%3A%2F%2FAzureADTokenExchange"
    headers = {"Authorization": "Bearer " + env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]}
    response = requests.get(url, headers=headers, timeout=10)
    response.raise_for_status()
    return str(response.json()["value"])


credential = (
    AzurePipelinesCredential(
        tenant_id=tenant,
        client_id=client,
        service_connection_id=env["AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"],
        system_access_token=env["SYSTEM_ACCESSTOKEN"],
    )
    if "SYSTEM_OIDCREQUESTURI" in env
    else ClientAssertionCredential(tenant, client, request_token)
)
vault = SecretClient("https://pipelines-vault.vault.azure.net", credential)
print(json.dumps({"secret": vault.get_secret("greeting").value}))
