"""What every program here prints: one JSON object a line, the last of them when it is done."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

VAULT = "https://journey-vault.vault.azure.net"
# Without the gateway there is a token service and no vault of this name.
DIRECT = "DIRECT" in os.environ
PATIENCE_SECONDS = 300


def say(**members: Any) -> None:
    print(json.dumps(members), flush=True)


def audience(token: str) -> str:
    body = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["aud"])


def assertion() -> str:
    return Path(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read_text()


def wait_for_another(first: str) -> None:
    """Wait until the projected token is not the first one any more."""
    for _ in range(PATIENCE_SECONDS * 10):
        if assertion() != first:
            return
        time.sleep(0.1)
    raise SystemExit("the projected token stayed as it was")
