"""Ask for a token with MSAL: the assertion as a `string` or from a `callback`; print its audience."""

import base64
import json
import os
import sys
import warnings
from pathlib import Path

import msal

# A string assertion is announced as a thing of the past; it still has to work.
warnings.simplefilter("ignore")


def assertion() -> str:
    return Path(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read_text()


if __name__ == "__main__":
    app = msal.ConfidentialClientApplication(
        os.environ["AZURE_CLIENT_ID"],
        client_credential={
            "client_assertion": assertion if sys.argv[1] == "callback" else assertion()
        },
        authority=os.environ["AZURE_AUTHORITY_HOST"] + os.environ["AZURE_TENANT_ID"],
    )
    answer = app.acquire_token_for_client(["https://vault.azure.net/.default"])
    if "access_token" not in answer:
        sys.exit(str(answer))
    body = answer["access_token"].split(".")[1]
    print(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["aud"])
