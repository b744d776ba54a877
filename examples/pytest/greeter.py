"""An application that greets with a secret of its key vault, and says so when it cannot."""

import sys

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient


def greet(vault_url: str, **options: object) -> str:
    """Return the greeting, or why there is none."""
    with DefaultAzureCredential(**options) as credential:
        client = SecretClient(vault_url, credential, **options)
        try:
            return str(client.get_secret("greeting").value)
        except ClientAuthenticationError as exc:
            return f"signed out: {exc.message.partition('AADSTS')[2][:7].strip(':') or 'no answer'}"
        except HttpResponseError as exc:
            return f"refused: {exc.status_code}"
        except AzureError:
            return "unreachable"


if __name__ == "__main__":
    print(greet(sys.argv[1]))
