"""Call the API without a token, with a token for another resource, and with a token for the API."""

import os
import sys

import requests
from azure.identity import DefaultAzureCredential

ORDERS = f"http://orders:{os.environ['PORT']}"
API = sys.argv[1]  # client ID of the API

credential = DefaultAzureCredential()


def ask(method: str, path: str, scope: str | None = None) -> None:
    headers = {}
    if scope is not None:
        headers["Authorization"] = f"Bearer {credential.get_token(scope).token}"
    answer = requests.request(method, ORDERS + path, headers=headers, timeout=10)
    print(method, path, answer.status_code, answer.text, flush=True)


ask("GET", "/orders")
ask("GET", "/orders", "https://vault.azure.net/.default")
ask("GET", "/orders", f"api://{API}/.default")
ask("DELETE", "/orders/tea", f"api://{API}/.default")
