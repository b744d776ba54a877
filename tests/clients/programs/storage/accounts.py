"""Use the storage account ACCOUNT with the released libraries: SERVICE ACCOUNT. Prints a result or a refusal.

SERVICE is blob, read-blob, queue or table.
"""

import json
import sys

from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableServiceClient, UpdateMode
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

LARGE = bytes(range(256)) * 4096 * 40


def blob(url: str, credential: DefaultAzureCredential) -> str:
    container = BlobServiceClient(url, credential).get_container_client("python")
    if not container.exists():
        container.create_container()
    container.upload_blob("a b/ü.txt", b"hello", overwrite=True, metadata={"a_b": "1", "ab": "2"})
    # In blocks, two at a time.
    container.upload_blob("large", LARGE, overwrite=True, max_concurrency=2)
    assert container.download_blob("large").readall() == LARGE
    assert container.download_blob("large", offset=10, length=3).readall() == b"\n\x0b\x0c"
    assert [each.name for each in container.list_blobs()] == ["a b/ü.txt", "large"]
    copy = container.get_blob_client("copy")
    copy.start_copy_from_url(container.get_blob_client("a b/ü.txt").url)
    properties = copy.get_blob_properties()
    assert properties.metadata == {"a_b": "1", "ab": "2"}
    container.delete_blob("copy")
    return read_blob(url, credential)


def read_blob(url: str, credential: DefaultAzureCredential) -> str:
    container = BlobServiceClient(url, credential).get_container_client("python")
    return container.download_blob("a b/ü.txt").readall().decode()


def queue(url: str, credential: DefaultAzureCredential) -> str:
    client = QueueServiceClient(url, credential)
    jobs = client.create_queue("jobs")
    jobs.send_message("first <&>")
    assert [each.content for each in jobs.peek_messages()] == ["first <&>"]
    message = jobs.receive_message()
    assert message is not None
    jobs.update_message(message, content="second", visibility_timeout=0)
    received = jobs.receive_message()
    assert received is not None
    jobs.delete_message(received)
    jobs.clear_messages()
    assert [each.name for each in client.list_queues()] == ["jobs"]
    client.delete_queue("jobs")
    return str(received.content)


def table(url: str, credential: DefaultAzureCredential) -> str:
    client = TableServiceClient(url, credential=credential)
    people = client.create_table("people")
    people.create_entity({"PartitionKey": "p", "RowKey": "o'neil ü", "value": 1})
    people.update_entity(
        {"PartitionKey": "p", "RowKey": "o'neil ü", "value": 2}, mode=UpdateMode.REPLACE
    )
    people.submit_transaction(
        [("upsert", {"PartitionKey": "p", "RowKey": str(number)}) for number in range(3)]
    )
    assert len(list(people.query_entities("PartitionKey eq 'p'"))) == 4
    people.delete_entity("p", "0")
    found = people.get_entity("p", "o'neil ü")
    assert [each.name for each in client.list_tables()] == ["people"]
    client.delete_table("people")
    return str(found["value"])


def main(service: str, account: str) -> None:
    run = {"blob": blob, "read-blob": read_blob, "queue": queue, "table": table}[service]
    url = f"https://{account}.{service.removeprefix('read-')}.core.windows.net"
    try:
        print(json.dumps({"result": run(url, DefaultAzureCredential())}))
    except HttpResponseError as exc:
        code = getattr(exc, "error_code", None) or ""
        print(json.dumps({"refused": exc.status_code, "code": str(code), "text": exc.message}))


if __name__ == "__main__":
    main(*sys.argv[1:])
