"""A program from before workload identity: it asks the metadata service for its token, as old SDKs do.

It reads the address from the variable that old SDKs read; the migration sidecar answers there.
"""

import json
import os
import time
import urllib.request


def get(url: str, **headers: str) -> dict[str, str]:
    """Return a JSON response."""
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return dict(json.load(response))


def read_secret() -> str:
    """Get a token from the metadata service, and read the secret with it."""
    host = os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"].rstrip("/")
    query = "api-version=2018-02-01&resource=https://vault.azure.net"
    token = get(f"{host}/metadata/identity/oauth2/token?{query}", Metadata="true")["access_token"]
    vault, name = os.environ["KEYVAULT_URL"].rstrip("/"), os.environ["SECRET_NAME"]
    url = f"{vault}/secrets/{name}?api-version=7.4"
    return get(url, Authorization=f"Bearer {token}")["value"]


while True:
    try:
        print(f"secret: {read_secret()}", flush=True)
    except (KeyError, OSError, ValueError) as exc:
        print(f"no secret: {type(exc).__name__}: {exc}", flush=True)
    time.sleep(2)
