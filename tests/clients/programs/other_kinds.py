"""Call vault operations that podpass does not implement with released clients; print their errors."""

import sys
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.certificates import CertificateClient

refused = 0


def count(response: Any) -> None:
    """Count refusals: a client that retries would get more than one."""
    global refused
    refused += response.http_response.status_code == 501


where: dict[str, Any] = {
    "vault_url": f"https://{sys.argv[1]}.vault.azure.net",
    "credential": DefaultAzureCredential(),
    "raw_response_hook": count,
}
certificates = CertificateClient(**where)
calls: dict[str, Callable[[], Any]] = {
    "get contacts": certificates.get_contacts,
    "import certificate": lambda: certificates.import_certificate("a", b"a PFX"),
}
for name, call in calls.items():
    refused = 0
    try:
        call()
    except HttpResponseError as exc:
        print(name, exc.status_code, exc.error and exc.error.code, refused, exc.message)
