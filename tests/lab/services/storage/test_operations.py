"""Which permission each operation needs, and which built-in roles have it."""

import pytest

from podpass.directory.model import RoleDefinition
from podpass.lab.services.storage import wire
from podpass.lab.services.storage.authorization import ROLES, _find_roles, least_role
from podpass.lab.services.storage.errors import InvalidUri, StorageNotSupported
from podpass.lab.services.storage.model import (
    StorageHost,
    StorageOperation,
    StorageRequest,
    StorageService,
)
from podpass.lab.services.storage.operations import find_operation


def operation(
    request: str,
    service: str,
    source: str = "",
    *,
    sets_tags: bool = False,
    copies_tags: bool = False,
) -> StorageOperation:
    method, _, target = request.partition(" ")
    path, _, query = target.partition("?")
    kind = StorageService(service)
    return find_operation(
        StorageRequest(
            host=StorageHost(account="orders", service=kind),
            method=method,
            target=wire.parse_target(kind, path),
            query=wire.parse_query(query.encode()),
            copy_source=source,
            sets_tags=sets_tags,
            copies_tags=copies_tags,
        )
    )


def allowed(found: StorageOperation) -> str:
    """Return the initial letters of the built-in roles that allow an operation alone."""
    names = [
        one.name.removeprefix("Storage ").replace("Data ", "")
        for one in ROLES
        if all(_find_roles((one,), each) is not None for each in found.requirements)
    ]
    return ", ".join(names)


READ = "Blob Reader, Blob Contributor, Blob Owner"
WRITE = "Blob Contributor, Blob Owner"
BLOBS = {
    "GET /?comp=list": READ,
    "GET /?restype=service&comp=properties": "",
    "PUT /?restype=service&comp=properties": "",
    "GET /?comp=blobs&where=x": "Blob Owner",
    "PUT /c01?restype=container": WRITE,
    "GET /c01?restype=container": READ,
    "HEAD /c01?restype=container&comp=metadata": READ,
    "PUT /c01?restype=container&comp=metadata": WRITE,
    "PUT /c01?restype=container&comp=lease": WRITE,
    "DELETE /c01?restype=container": WRITE,
    "GET /c01?restype=container&comp=list&prefix=a": READ,
    "GET /c01/a": READ,
    "HEAD /c01/a": READ,
    "GET /c01/a?comp=blocklist&blocklisttype=all": READ,
    "GET /c01/a?snapshot=1": READ,
    "GET /c01/a?comp=tags": "Blob Owner",
    "PUT /c01/a": WRITE,
    "PUT /c01/a?comp=block&blockid=1": WRITE,
    "PUT /c01/a?comp=blocklist": WRITE,
    "PUT /c01/a?comp=page": WRITE,
    "PUT /c01/a?comp=appendblock": WRITE,
    "PUT /c01/a?comp=metadata": WRITE,
    "PUT /c01/a?comp=lease": WRITE,
    "PUT /c01/a?comp=snapshot": WRITE,
    "PUT /c01/a?comp=tier": WRITE,
    "PUT /c01/a?comp=copy&copyid=1": WRITE,
    "PUT /c01/a?comp=tags": "Blob Owner",
    "DELETE /c01/a": WRITE,
}
READ_QUEUE = "Queue Reader, Queue Contributor"
QUEUES = {
    "GET /?comp=list": READ_QUEUE,
    "PUT /jobs": "Queue Contributor",
    "DELETE /jobs": "Queue Contributor",
    "GET /jobs?comp=metadata": READ_QUEUE,
    "PUT /jobs?comp=metadata": "Queue Contributor",
    "GET /jobs/messages?peekonly=true": "Queue Reader, Queue Contributor, Queue Message Processor",
    "GET /jobs/messages": "Queue Contributor, Queue Message Processor",
    "GET /jobs/messages?peekonly=True": "Queue Contributor, Queue Message Processor",
    "POST /jobs/messages": "Queue Contributor, Queue Message Sender",
    "DELETE /jobs/messages": "Queue Contributor",
    "PUT /jobs/messages/1?popreceipt=1": "Queue Contributor",
    "DELETE /jobs/messages/1?popreceipt=1": "Queue Contributor, Queue Message Processor",
}
READ_TABLE = "Table Reader, Table Contributor"
TABLES = {
    "GET /Tables": READ_TABLE,
    "POST /Tables": "Table Contributor",
    "DELETE /Tables('people')": "Table Contributor",
    "GET /people()": READ_TABLE,
    "GET /people": READ_TABLE,
    "GET /people(PartitionKey='a',RowKey='b')": READ_TABLE,
    "POST /people": "Table Contributor",
    "PUT /people(PartitionKey='a',RowKey='b')": "Table Contributor",
    "PATCH /people(PartitionKey='a',RowKey='b')": "Table Contributor",
    "MERGE /people(PartitionKey='a',RowKey='b')": "Table Contributor",
    "DELETE /people(PartitionKey='a',RowKey='b')": "Table Contributor",
    "POST /$batch": "Table Contributor",
}


@pytest.mark.parametrize(
    ("service", "request_", "expected"),
    [
        (service, request, expected)
        for service, table in (("blob", BLOBS), ("queue", QUEUES), ("table", TABLES))
        for request, expected in table.items()
    ],
)
def test_storage_operation_is_allowed_by_exactly_its_built_in_roles(
    service: str, request_: str, expected: str
) -> None:
    assert allowed(operation(request_, service)) == expected


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("blob", "POST /?restype=service&comp=userdelegationkey"),
        ("blob", "POST /?comp=batch"),
        ("blob", "POST /c01?restype=container&comp=batch"),
        ("blob", "GET /c01?restype=container&comp=acl"),
        ("blob", "PUT /c01?restype=container&comp=acl"),
        ("blob", "GET /c01"),
        ("blob", "PUT /c01"),
        ("blob", "GET /c01?restype=Container"),
        ("blob", "GET /c01/a?restype=container&comp=list"),
        ("blob", "GET /c01/a?comp=Tags"),
        ("blob", "PUT /c01/a?comp=expiry"),
        ("blob", "DELETE /c01/a?deletetype=permanent"),
        ("blob", "DELETE /c01/a?DeleteType=permanent"),
        ("blob", "OPTIONS /c01/a"),
        ("queue", "GET /jobs?comp=acl"),
        ("queue", "GET /jobs/other"),
        ("queue", "GET /jobs/messages/1/2"),
        ("table", "GET /people?comp=acl"),
        ("table", "HEAD /people"),
        ("table", "GET /$batch"),
    ],
)
def test_operation_without_a_known_permission_is_refused(service: str, request_: str) -> None:
    with pytest.raises(StorageNotSupported):
        operation(request_, service)


def test_copy_needs_two_permissions() -> None:
    found = operation("PUT /c02/a", "blob", source="c01")
    assert [one.container for one in found.requirements] == ["c02", "c01"]
    assert [least_role(one) for one in found.requirements] == [
        "Storage Blob Data Contributor",
        "Storage Blob Data Reader",
    ]


@pytest.mark.parametrize("request_", ["PUT /c01/a", "PUT /c01/a?comp=blocklist"])
def test_tags_of_an_upload_need_the_permission_for_tags(request_: str) -> None:
    """As in Azure, Storage Blob Data Contributor is not enough."""
    assert allowed(operation(request_, "blob", sets_tags=True)) == "Blob Owner"
    assert allowed(operation(request_, "blob")) == WRITE


def test_copied_tags_need_the_permission_for_tags() -> None:
    found = operation("PUT /c02/a", "blob", source="c01", copies_tags=True)
    owner = "Storage Blob Data Owner"
    assert [(one.container, least_role(one)) for one in found.requirements] == [
        ("c02", "Storage Blob Data Contributor"),
        ("c01", "Storage Blob Data Reader"),
        ("c01", owner),
        ("c02", owner),
    ]


@pytest.mark.parametrize(
    "include", ["include=tags", "include=metadata,tags", "Include=Tags", "include=metadata%2Ctags"]
)
def test_tags_of_a_listing_need_the_permission_for_tags(include: str) -> None:
    listing = "GET /c01?restype=container&comp=list"
    assert allowed(operation(f"{listing}&{include}", "blob")) == "Blob Owner"
    assert allowed(operation(f"{listing}&include=metadata", "blob")) == READ


@pytest.mark.parametrize(
    ("request_", "service", "limit"),
    [
        ("PUT /c01/a", "blob", None),
        ("PUT /c01/a?comp=block&blockid=1", "blob", None),
        ("PUT /c01/a?comp=page", "blob", None),
        ("PUT /c01/a?comp=appendblock", "blob", None),
        ("PUT /c01/a?comp=blocklist", "blob", 6_400_000),
        ("PUT /c01/a?comp=tags", "blob", 4 * 1024 * 1024),
        ("POST /people", "table", 4 * 1024 * 1024),
        ("POST /jobs/messages", "queue", 4 * 1024 * 1024),
        ("GET /c01/a", "blob", 0),
    ],
)
def test_only_the_content_of_blobs_has_no_limit(
    request_: str, service: str, limit: int | None
) -> None:
    assert operation(request_, service).max_body_bytes == limit


def test_container_creation_with_a_copy_source_is_refused() -> None:
    with pytest.raises(InvalidUri):
        operation("PUT /c02?restype=container", "blob", source="c01")


def test_batch_needs_its_permissions_in_the_whole_account() -> None:
    [requirement] = operation("POST /$batch", "table").requirements
    assert requirement.container == ""
    names = {action.name.rpartition("/")[2] for action in requirement.alternatives[0]}
    assert names == {"read", "write", "delete"}


def test_two_roles_together_allow_an_operation() -> None:
    custom = [
        RoleDefinition(id=part, name=part, description="", data_actions=(action,))
        for part, action in (
            ("read", "Microsoft.Storage/storageAccounts/queueServices/queues/messages/read"),
            ("delete", "Microsoft.Storage/storageAccounts/queueServices/queues/messages/delete"),
        )
    ]
    [requirement] = operation("GET /jobs/messages", "queue").requirements
    assert _find_roles(custom, requirement) == ["delete", "read"]
    assert _find_roles(custom[:1], requirement) is None
