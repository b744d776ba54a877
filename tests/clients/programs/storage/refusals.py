"""Use a storage account in a way that is refused, and print the library's error: FAILURE ACCOUNT."""

import sys
from typing import Any

from azure.core.exceptions import AzureError
from azure.data.tables import TableServiceClient
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

KEY = "bm90IHRoZSBrZXkgb2YgdGhlIGFjY291bnQ="


class OtherAudience:
    """A credential that requests tokens for the vault."""

    def get_token(self, *_: str, **__: Any) -> Any:
        return DefaultAzureCredential().get_token("https://vault.azure.net/.default")


def main(failure: str, account: str) -> None:
    def url(service: str) -> str:
        return f"https://{account}.{service}.core.windows.net"

    credentials = {
        "storage-account-key": {"account_name": account, "account_key": KEY},
        "storage-no-credential": None,
        "storage-other-audience": OtherAudience(),
    }
    credential: Any = credentials.get(failure, DefaultAzureCredential())
    try:
        if failure == "storage-no-role-queue":
            list(QueueServiceClient(url("queue"), credential).list_queues())
        elif failure == "storage-no-role-table":
            list(TableServiceClient(url("table"), credential=credential).list_tables())
        else:
            client = BlobServiceClient(url("blob"), credential, retry_total=0)
            print(client.get_blob_client("python", "no-such-blob").download_blob().readall())
    except AzureError as exc:
        print(f"{type(exc).__name__}: {exc}")


if __name__ == "__main__":
    main(*sys.argv[1:])
