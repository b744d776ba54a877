"""Hosts, paths and queries: one reading only, and the one that Azurite has."""

import pytest

from podpass.lab.services.storage import wire
from podpass.lab.services.storage.errors import CannotVerifySource, InvalidUri, KeyNotPermitted
from podpass.lab.services.storage.model import StorageHost, StorageService, StorageTarget

BLOB, QUEUE, TABLE = StorageService.BLOB, StorageService.QUEUE, StorageService.TABLE
HOST = StorageHost(account="orders", service=BLOB)


@pytest.mark.parametrize(
    ("host", "account"),
    [
        ("orders.blob.core.windows.net", "orders"),
        ("ORDERS.Blob.Core.Windows.Net:443", "orders"),
        ("orders1.queue.core.windows.net", "orders1"),
        ("or.blob.core.windows.net", None),
        ("orders-secondary.blob.core.windows.net", None),
        ("orders.dfs.core.windows.net", None),
        ("a.orders.blob.core.windows.net", None),
        ("orders.blob.core.windows.net.example.com", None),
        ("orders.blob.core.windows.net@x", None),
        ("", None),
        (None, None),
    ],
)
def test_host_names_the_account(host: str | None, account: str | None) -> None:
    found = wire.parse_host(host)
    assert (found and found.account) == account


@pytest.mark.parametrize(
    ("service", "path", "target"),
    [
        (BLOB, "/", StorageTarget()),
        (BLOB, "/invoices", StorageTarget(container="invoices")),
        (BLOB, "/invoices/", StorageTarget(container="invoices")),
        (BLOB, "/invoices/a/b", StorageTarget(container="invoices", item="a/b")),
        (BLOB, "/invoices%2Fa", StorageTarget(container="invoices", item="a")),
        (BLOB, "/invoices/a%252e", StorageTarget(container="invoices", item="a%2e")),
        (BLOB, "/%24web/index.html", StorageTarget(container="$web", item="index.html")),
        (QUEUE, "/jobs/messages/1", StorageTarget(container="jobs", item="messages/1")),
        (TABLE, "/", StorageTarget()),
        (TABLE, "/Tables", StorageTarget(item="Tables")),
        (TABLE, "/Tables()", StorageTarget(item="Tables")),
        (TABLE, "/Tables('people')", StorageTarget(container="people", item="Tables")),
        (TABLE, "/$batch", StorageTarget(item="$batch")),
        (TABLE, "/people", StorageTarget(container="people")),
        (TABLE, "/people()", StorageTarget(container="people")),
        (
            TABLE,
            "/people(PartitionKey='a%2Fb',RowKey='c')",
            StorageTarget(container="people", item="PartitionKey='a/b',RowKey='c'"),
        ),
    ],
)
def test_path_names_container_and_item(
    service: StorageService, path: str, target: StorageTarget
) -> None:
    assert wire.parse_target(service, path) == target


@pytest.mark.parametrize(
    ("service", "path"),
    [
        (BLOB, "/public/../secret/a"),
        (BLOB, "/public/%2e%2e/secret/a"),
        (BLOB, "/public/..%2Fsecret"),
        (BLOB, "/public/..\\secret"),
        (BLOB, "/public/./a"),
        (BLOB, "//secret/a"),
        (BLOB, "/Public/a"),
        (BLOB, "/pub%00lic/a"),
        (BLOB, "/public/a%0d%0ab"),
        (BLOB, "/a--b/c"),
        (BLOB, "/%ff/a"),
        (BLOB, "/" + "a" * 9000),
        (BLOB, "relative"),
        (TABLE, "/tables"),
        (TABLE, "/TABLES('people')"),
        (TABLE, "/people/Tables('other')"),
        (TABLE, "/people()/other"),
        (TABLE, "/Tables(PartitionKey='a',RowKey='b')"),
        (TABLE, "/$batch/people"),
        (TABLE, "/1people"),
    ],
)
def test_path_that_azurite_could_parse_differently_is_refused(
    service: StorageService, path: str
) -> None:
    with pytest.raises(InvalidUri):
        wire.parse_target(service, path)


def test_query_is_decoded() -> None:
    query = wire.parse_query(
        b"restype=container&comp=list&prefix=a%2Fb&$filter=x%20eq%201&delimiter="
    )
    assert query == {
        "restype": "container",
        "comp": "list",
        "prefix": "a/b",
        "$filter": "x eq 1",
        "delimiter": "",
    }


@pytest.mark.parametrize(
    "query",
    [
        b"comp=list&comp=metadata",
        b"comp=list&Comp=metadata",
        b"comp[]=list",
        b"comp%5B%5D=list",
        b"comp.a=list",
        b"=x",
        b"a=%ff",
        b"a=\xff",
        b"&".join(b"p%d=1" % number for number in range(60)),
    ],
)
def test_query_that_azurite_could_parse_differently_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidUri):
        wire.parse_query(query)


@pytest.mark.parametrize("name", ["sig", "SIG", "sv", "se", "sp", "skoid", "si", "%73ig"])
def test_shared_access_signature_is_refused(name: str) -> None:
    with pytest.raises(KeyNotPermitted):
        wire.parse_query(f"{name}=1".encode())


def test_source_of_a_copy_is_a_blob_of_the_account() -> None:
    url = "https://orders.blob.core.windows.net/invoices/a%20b?snapshot=1"
    assert wire.parse_source(HOST, [url]) == "invoices"


@pytest.mark.parametrize(
    "values",
    [
        ["https://other.blob.core.windows.net/invoices/a"],
        ["http://orders.blob.core.windows.net/invoices/a"],
        ["https://orders.blob.core.windows.net@169.254.169.254/invoices/a"],
        ["https://orders.blob.core.windows.net:8443/invoices/a"],
        ["https://orders.blob.core.windows.net\\@evil.example/invoices/a"],
        ["https://169.254.169.254/metadata"],
        ["https://orders.blob.core.windows.net/invoices"],
        ["https://orders.blob.core.windows.net/invoices/a b"],
        ["https://orders.blob.core.windows.net/invoices/a", "https://example.com/a"],
        ["/invoices/a"],
        [""],
    ],
)
def test_other_source_of_a_copy_is_refused(values: list[str]) -> None:
    with pytest.raises(CannotVerifySource):
        wire.parse_source(HOST, values)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("https://orders.blob.core.windows.net/invoices/../secret/a", InvalidUri),
        ("https://orders.blob.core.windows.net/invoices/%2e%2e/secret/a", InvalidUri),
        ("https://orders.blob.core.windows.net/invoices/a?sig=abc", KeyNotPermitted),
    ],
)
def test_ambiguous_source_of_a_copy_is_refused(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        wire.parse_source(HOST, [url])


def test_only_request_lines_of_a_batch_change() -> None:
    host = StorageHost(account="orders", service=TABLE)
    url = "https://orders.table.core.windows.net/people"
    batch = f'PATCH {url}(a) HTTP/1.1\r\n\r\n{{"x": "POST {url}"}}\r\nGET {url}() HTTP/1.1\r\n'
    changed = wire.rewrite_batch(batch.encode(), host).decode()
    assert changed.count("windows.net/orders/people") == 2
    assert f'"POST {url}"' in changed


def test_errors_escape_their_text() -> None:
    error = InvalidUri("a <b> & c")
    assert b"a &lt;b&gt; &amp; c" in wire.error_body(error, BLOB, "id", 0)
    assert b'"value":"a <b> & c\\nRequestId:id' in wire.error_body(error, TABLE, "id", 0)
