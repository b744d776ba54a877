"""Read the secret and get tokens with MSAL: STYLE SCOPE [LATER].

STYLE is how MSAL gets the assertion: as a string or from a callback. MSAL has no vault client; `App` adapts
it to the credential interface of Azure's vault client.
"""

import os
import sys
import time
import warnings
from typing import Any

import msal
from answer import DIRECT, VAULT, assertion, audience, emit, wait_for_another
from azure.core.credentials import AccessToken
from azure.keyvault.secrets import SecretClient

# A string assertion is deprecated; it must still work.
warnings.simplefilter("ignore")


class App:
    """Adapts an MSAL application to the credential interface of Azure's clients."""

    def __init__(self, style: str) -> None:
        self.app = msal.ConfidentialClientApplication(
            os.environ["AZURE_CLIENT_ID"],
            client_credential={
                "client_assertion": assertion if style == "callback" else assertion()
            },
            authority=os.environ["AZURE_AUTHORITY_HOST"] + os.environ["AZURE_TENANT_ID"],
            # Otherwise MSAL asks the real service whether this authority is known.
            instance_discovery=not DIRECT,
        )

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        answer = self.app.acquire_token_for_client([*scopes])
        if "access_token" not in answer:
            sys.exit(str(answer))
        return AccessToken(answer["access_token"], int(time.time()) + answer["expires_in"])


if __name__ == "__main__":
    chosen, wanted, *rest = sys.argv[1:]
    first = assertion()
    credential = App(chosen)
    with SecretClient(VAULT, credential) as client:  # type: ignore[arg-type, unused-ignore]
        secret = "" if DIRECT else client.get_secret("greeting").value
    token = credential.get_token(wanted).token
    emit(secret=secret, audience=audience(token), version=msal.__version__)
    if rest:
        wait_for_another(first)
        emit(later=audience(credential.get_token(rest[0]).token))
