"""Output of all programs here: one JSON object per line; the last line is printed at the end."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

VAULT = os.environ.get("VAULT_URL", "https://journey-vault.vault.azure.net")
# Without the gateway the program can reach the token service but no vault.
DIRECT = "DIRECT" in os.environ
PATIENCE_SECONDS = 300


def emit(**members: Any) -> None:
    print(json.dumps(members), flush=True)


def audience(token: str) -> str:
    body = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["aud"])


def assertion() -> str:
    return Path(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read_text()


def wait_for_another(first: str) -> None:
    """Wait until the projected token has been replaced."""
    for _ in range(PATIENCE_SECONDS * 10):
        if assertion() != first:
            return
        time.sleep(0.1)
    raise SystemExit("the projected token was not replaced")
