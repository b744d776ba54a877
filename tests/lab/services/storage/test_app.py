"""The application: who is refused and in which form, and what Azurite and the client receive and sign."""

import asyncio
import contextlib
import io
import logging
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import orjson
import pytest
from azure.storage.blob._shared.shared_access_signature import SharedAccessSignature

from podpass.crypto.secret import Secret
from podpass.directory.model import ResourceGroup
from podpass.lab.services.storage import app as storage_app
from podpass.lab.services.storage import azurite
from tests.authority import TENANT
from tests.lab.services.storage.conftest import (
    ACCOUNT_KEY,
    BLOBS,
    GROUP,
    QUEUES,
    SUBSCRIPTION,
    TABLES,
    World,
    account,
    account_id,
)
from tests.ports import free_port
from tests.waiting import eventually

READER, CONTRIBUTOR = "Storage Blob Data Reader", "Storage Blob Data Contributor"
INVOICES = f"{account_id()}/blobServices/default/containers/invoices"


def code(body: bytes) -> str:
    found = re.search(rb"<Code>(\w+)</Code>", body)
    return found[1].decode() if found else str(orjson.loads(body)["odata.error"]["code"])


async def test_request_without_token_gets_the_challenge(world: World) -> None:
    status, body, headers = await world.send("GET", "/invoices/a", None)
    assert (status, code(body)) == (401, "NoAuthenticationInformation")
    assert headers["www-authenticate"] == (
        f"Bearer authorization_uri=https://login.microsoftonline.com/{TENANT}/oauth2/authorize"
        " resource_id=https://storage.azure.com"
    )
    assert headers["x-ms-error-code"] == "NoAuthenticationInformation"
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-ms-request-id"])
    assert not world.server.requests


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://vault.azure.net"},
        {"aud": "https://other.blob.core.windows.net"},
        {"aud": "https://orders.queue.core.windows.net"},
        {"aud": ["https://storage.azure.com"]},
        {"tid": "11111111-0c35-4fd1-9f0e-1f6a54a3a1d0"},
        {"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0"},
        {"exp": 1000},
        {"nbf": 2**40},
        {"oid": None},
        {"scp": "other", "idtyp": "user"},
    ],
    ids=["vault", "account", "service", "list", "tenant", "v2", "expired", "early", "oid", "scope"],
)
async def test_invalid_token_is_refused(world: World, changes: dict[str, Any]) -> None:
    await world.caller(CONTRIBUTOR)
    [identity] = await world.directory.list_identities(TENANT)
    token = world.authority.mint(identity, **{"aud": "https://storage.azure.com", **changes})
    status, body, headers = await world.send("GET", "/invoices/a", token)
    assert (status, code(body)) == (401, "InvalidAuthenticationInfo")
    assert headers["www-authenticate"].startswith("Bearer authorization_uri=")
    assert not world.server.requests


async def test_token_with_a_wrong_signature_is_refused(world: World) -> None:
    token = await world.caller(CONTRIBUTOR)
    head, claims, signature = token.split(".")
    forged = f"{head}.{claims}.{signature[:-8]}AAAAAAAA"
    status, body, _ = await world.send("GET", "/invoices/a", forged)
    assert (status, code(body)) == (401, "InvalidAuthenticationInfo")


@pytest.mark.parametrize(
    "audience",
    [
        "https://storage.azure.com",
        "https://storage.azure.com/",
        "https://orders.blob.core.windows.net",
        "e406a681-f3d4-42a8-90b6-c2b029497af1",
    ],
)
async def test_audiences_of_storage_and_of_the_account_are_accepted(
    world: World, audience: str
) -> None:
    await world.caller(READER)
    [identity] = await world.directory.list_identities(TENANT)
    status, body, _ = await world.send(
        "GET", "/invoices/a", world.authority.mint(identity, aud=audience)
    )
    assert (status, body) == (200, b"stored")


@pytest.mark.parametrize(
    ("host", "content_type", "role"),
    [
        (BLOBS, "application/xml", "Storage Blob Data Reader"),
        (QUEUES, "application/xml", "Storage Queue Data Contributor"),
        (TABLES, "application/json", "Storage Table Data Reader"),
    ],
)
async def test_caller_without_a_role_is_refused_with_the_command_that_grants_it(
    world: World, host: str, content_type: str, role: str
) -> None:
    token = await world.caller()
    path = "/jobs/messages" if host == QUEUES else "/people()" if host == TABLES else "/jobs/a"
    status, body, headers = await world.send("GET", path, token, host=host)
    assert (status, code(body)) == (403, "AuthorizationPermissionMismatch")
    assert headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"
    assert headers["content-type"].startswith(content_type)
    text = body.decode()
    assert f"az role assignment create --role &apos;{role}" in text or f"--role '{role}" in text
    assert headers["x-ms-request-id"] in text
    assert not world.server.requests


async def test_head_request_is_refused_without_a_body(world: World) -> None:
    token = await world.caller()
    status, body, headers = await world.send("HEAD", "/invoices/a", token)
    assert (status, body) == (403, b"")
    assert headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"


async def test_role_on_a_container_does_not_reach_another_one(world: World) -> None:
    token = await world.caller(READER, scope=INVOICES)
    assert (await world.send("GET", "/invoices/a", token))[0] == 200
    assert (await world.send("GET", "/invoices-2/a", token))[0] == 403
    assert (await world.send("GET", "/?comp=list", token))[0] == 403


async def test_reader_cannot_write(world: World) -> None:
    token = await world.caller(READER)
    status, body, _ = await world.send("PUT", "/invoices/a", token, body=b"x")
    assert (status, code(body)) == (403, "AuthorizationPermissionMismatch")
    assert not world.server.requests


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/invoices/a?sv=2021-12-02&sig=abc&se=2030-01-01", {}, 403),
        ("/invoices/a?SIG=abc", {}, 403),
        ("/invoices/a", {"Authorization": "SharedKey orders:c2lnbmF0dXJl"}, 403),
        ("/invoices/a", {"Authorization": "SharedKeyLite orders:c2lnbmF0dXJl"}, 403),
    ],
)
async def test_keys_and_shared_access_signatures_are_refused(
    world: World, path: str, headers: dict[str, str], expected: int
) -> None:
    token = await world.caller(CONTRIBUTOR)
    status, body, _ = await world.send("GET", path, token, headers=headers)
    assert (status, code(body)) == (expected, "KeyBasedAuthenticationNotPermitted")
    assert not world.server.requests


@pytest.mark.parametrize("name", ["X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override"])
async def test_header_that_replaces_the_method_is_refused(world: World, name: str) -> None:
    token = await world.caller("Storage Table Data Reader")
    status, body, _ = await world.send(
        "GET", "/people(PartitionKey='a',RowKey='b')", token, host=TABLES, headers={name: "DELETE"}
    )
    assert (status, code(body)) == (400, "InvalidHeaderValue")
    assert not world.server.requests


async def test_account_that_does_not_exist_is_refused(world: World) -> None:
    token = await world.caller(CONTRIBUTOR)
    status, body, _ = await world.send("GET", "/c/a", token, host="missing.blob.core.windows.net")
    assert (status, code(body)) == (404, "ResourceNotFound")


async def test_account_name_in_two_groups_is_refused(world: World) -> None:
    token = await world.caller(CONTRIBUTOR)
    await world.directory.groups.put(
        ResourceGroup(subscription_id=SUBSCRIPTION, name="rg2", location="eastus")
    )
    await world.directory.other_resources.put(account("orders", GROUP + "2"))
    assert (await world.send("GET", "/c/a", token))[0] == 404


async def test_host_of_another_service_is_refused(world: World) -> None:
    token = await world.caller(CONTRIBUTOR)
    status, body, _ = await world.send("GET", "/c/a", token, host="orders.dfs.core.windows.net")
    assert (status, code(body)) == (400, "InvalidUri")


async def test_azurite_receives_the_request_with_a_signature_and_without_the_token(
    world: World,
) -> None:
    token = await world.caller(CONTRIBUTOR)
    status, body, _ = await world.send(
        "PUT",
        "/invoices/a%20b/%C3%BC.txt?timeout=30",
        token,
        body=b"hello",
        headers={
            "x-ms-meta-a_b": "1",
            "x-ms-version": "2026-02-06",
            "Range": "bytes=0-1",
            "Connection": "x-secret-hop",
            "x-secret-hop": "1",
            "TE": "trailers",
            "Proxy-Authorization": "Basic abc",
            "x-ms-copy-source-authorization": "Bearer abc",
        },
    )
    assert (status, body) == (200, b"stored")
    assert world.server.last["body"] == b"hello"
    target = world.server.last["target"]
    assert target.startswith("/invoices/a%20b/%C3%BC.txt?timeout=30&sv=")
    assert "&sig=" in target
    assert world.server.header("host") == [BLOBS]
    assert world.server.header("x-ms-meta-a_b") == ["1"]
    assert world.server.header("x-ms-version") == ["2026-02-06"]
    assert world.server.header("range") == ["bytes=0-1"]
    assert world.server.header("content-length") == ["5"]
    for name in ("authorization", "x-secret-hop", "te", "proxy-authorization", "expect"):
        assert world.server.header(name) == []
    assert world.server.header("x-ms-copy-source-authorization") == []
    assert token not in str(world.server.last)


async def test_response_keeps_its_headers_but_not_those_of_the_connection(world: World) -> None:
    token = await world.caller(READER)
    world.server.status = 206
    world.server.chunks = [b"ab"]
    world.server.headers = [
        (b"content-range", b"bytes 0-1/5"),
        (b"content-length", b"2"),
        (b"etag", b'"0x1"'),
        (b"x-ms-request-id", b"abc"),
        (b"x-ms-meta-name", "ü".encode("latin-1")),
        (b"connection", b"x-hop"),
        (b"x-hop", b"1"),
        (b"keep-alive", b"timeout=5"),
    ]
    status, body, headers = await world.send("GET", "/invoices/a", token)
    assert (status, body) == (206, b"ab")
    assert headers["content-range"] == "bytes 0-1/5"
    assert headers["content-length"] == "2"
    assert headers["etag"] == '"0x1"'
    assert headers.getall("x-ms-request-id") == ["abc"]
    assert "x-hop" not in headers
    assert "keep-alive" not in headers


async def test_head_response_has_the_length_of_the_blob(world: World) -> None:
    token = await world.caller(READER)
    world.server.headers, world.server.chunks = [(b"content-length", b"1234")], []
    status, body, headers = await world.send("HEAD", "/invoices/a", token)
    assert (status, body, headers["content-length"]) == (200, b"", "1234")


async def test_compressed_blob_is_not_changed(world: World) -> None:
    token = await world.caller(READER)
    world.server.headers = [(b"content-encoding", b"gzip")]
    world.server.chunks = [b"\x1f\x8bnot really"]
    status, body, headers = await world.send("GET", "/invoices/a", token)
    assert (status, body, headers["content-encoding"]) == (200, b"\x1f\x8bnot really", "gzip")


async def test_body_of_unknown_length_is_streamed(world: World) -> None:
    token = await world.caller(CONTRIBUTOR)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    status, _, _ = await world.send("PUT", "/invoices/a", token, body=parts())
    assert status == 200
    assert len(world.server.last["body"]) == 64 * 65536


async def test_body_of_a_refused_request_is_not_requested(world: World) -> None:
    """A client that waits for 100 Continue gets the refusal without sending its body."""
    token = await world.caller(READER)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    head = (
        f"PUT /invoices/a HTTP/1.1\r\nHost: {BLOBS}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 403")
    writer.close()


async def test_client_that_waits_for_100_continue_sends_its_body_after_the_checks(
    world: World,
) -> None:
    token = await world.caller(CONTRIBUTOR)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    head = (
        f"PUT /invoices/a HTTP/1.1\r\nHost: {BLOBS}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    await reader.readline()
    writer.write(b"hello")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert world.server.last["body"] == b"hello"
    writer.close()


async def test_azurite_that_does_not_run_is_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    token = await world.caller(READER)
    world.services["blob"] = f"http://127.0.0.1:{free_port()}"
    with caplog.at_level(logging.INFO):
        status, body, _ = await world.send("GET", "/invoices/a", token)
    assert (status, code(body)) == (503, "ServerBusy")
    assert "check that Azurite runs at http://127.0.0.1:" in str(
        [vars(record).get("fix") for record in caplog.records]
    )
    answered = [each for each in caplog.records if each.msg == "storage_request_answered"]
    assert [each.levelname for each in answered] == ["WARNING"]


async def test_response_that_ends_early_closes_the_connection(world: World) -> None:
    token = await world.caller(READER)
    world.server.headers, world.server.aborts = [(b"content-length", b"100")], True
    with pytest.raises(aiohttp.ClientPayloadError):
        await world.send("GET", "/invoices/a", token)


async def test_account_without_a_key_in_azurite_is_reported(world: World) -> None:
    await world.directory.other_resources.put(account("other"))
    token = await world.caller(READER, scope=account_id("other"))
    status, body, _ = await world.send(
        "GET", "/invoices/a", token, host="other.blob.core.windows.net"
    )
    assert (status, code(body)) == (503, "ServerBusy")
    assert b"Azurite has no account other" in body


async def test_copy_needs_the_right_to_read_its_source(world: World) -> None:
    source = {"x-ms-copy-source": f"https://{BLOBS}/invoices/a"}
    writer = await world.caller(CONTRIBUTOR, scope=INVOICES.replace("invoices", "copies"))
    status, body, _ = await world.send("PUT", "/copies/a", writer, headers=source)
    assert (status, code(body)) == (403, "AuthorizationPermissionMismatch")
    both = await world.caller(CONTRIBUTOR)
    assert (await world.send("PUT", "/copies/a", both, headers=source))[0] == 200


async def test_batch_is_read_completely_and_its_urls_have_the_account(world: World) -> None:
    token = await world.caller("Storage Table Data Contributor")
    batch = f"--b\r\n\r\nPATCH https://{TABLES}/people(PartitionKey='p',RowKey='r') HTTP/1.1\r\n".encode()
    status, _, _ = await world.send("POST", "/$batch", token, host=TABLES, body=batch)
    assert status == 200
    assert f"PATCH https://{TABLES}/orders/people(".encode() in world.server.last["body"]
    assert world.server.header("content-length") == [str(len(batch) + len("/orders"))]


async def test_batch_that_is_too_large_is_refused(world: World) -> None:
    token = await world.caller("Storage Table Data Contributor")
    large = io.BytesIO(b"x" * (4 * 1024 * 1024 + 1))
    status, body, _ = await world.send("POST", "/$batch", token, host=TABLES, body=large)
    assert (status, code(body)) == (413, "RequestBodyTooLarge")
    assert not world.server.requests


_BLOCK = b"<Latest>" + b"A" * 88 + b"</Latest>"


async def test_longest_block_list_is_passed_on_and_a_longer_one_is_refused(world: World) -> None:
    token = await world.caller(CONTRIBUTOR)
    longest = b"<BlockList>%b</BlockList>" % (_BLOCK * 50_000)
    path = "/invoices/a?comp=blocklist"
    assert (await world.send("PUT", path, token, body=io.BytesIO(longest)))[0] == 200
    assert world.server.last["body"] == longest
    more = longest.replace(b"<BlockList>", b"<BlockList>" + _BLOCK.replace(b"Latest", b"Committed"))
    status, body, _ = await world.send("PUT", path, token, body=io.BytesIO(more))
    assert (status, code(body)) == (400, "BlockListTooLong")
    status, body, _ = await world.send("PUT", path, token, body=io.BytesIO(b"x" * 7_000_000))
    assert (status, code(body)) == (413, "RequestBodyTooLarge")
    assert len(world.server.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [{"x-ms-tags": "a=b"}, {"x-ms-copy-source-tag-option": "COPY"}],
    ids=["tags", "copied-tags"],
)
async def test_tags_in_a_header_need_the_role_that_may_set_tags(
    world: World, headers: dict[str, str]
) -> None:
    token = await world.caller(CONTRIBUTOR)
    status, body, _ = await world.send("PUT", "/invoices/a", token, headers=headers)
    assert (status, code(body)) == (403, "AuthorizationPermissionMismatch")
    assert b"Storage Blob Data Owner" in body
    owner = await world.caller("Storage Blob Data Owner", name="owner")
    assert (await world.send("PUT", "/invoices/a", owner, headers=headers))[0] == 200
    without = {"x-ms-copy-source-tag-option": "REPLACE"}
    assert (await world.send("PUT", "/invoices/a", token, headers=without))[0] == 200


async def test_connection_that_azurite_does_not_read_is_closed_in_time(world: World) -> None:
    """Fails without the limit: aiohttp waits until all sent data has left."""
    token, ended, began = await world.caller(CONTRIBUTOR), asyncio.Event(), asyncio.Event()

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0, limit=1024) as server:
        world.services["blob"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        large = io.BytesIO(b"x" * 30_000_000)
        sending = asyncio.create_task(world.send("PUT", "/invoices/a", token, body=large))
        await asyncio.wait_for(began.wait(), 30)
        async with asyncio.timeout(30):
            await world.app.close()
        ended.set()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_log_has_no_token_key_or_signature(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    token = await world.caller(CONTRIBUTOR)
    with caplog.at_level(logging.DEBUG):
        await world.send("GET", "/invoices/a", token)
        await world.send("GET", "/invoices/a?sig=c2VjcmV0LXNpZw", token)
    logged = "".join(str(vars(record)) for record in caplog.records if "podpass" in record.name)
    assert "get blob in orders.blob.core.windows.net" in logged
    for secret in (token, token.split(".")[2], ACCOUNT_KEY, "c2VjcmV0LXNpZw"):
        assert secret not in logged
    sent = re.search(r"sig=([^&]+)", world.server.last["target"])
    assert sent
    assert sent[1] not in logged


def outcomes(caplog: pytest.LogCaptureFixture) -> list[object]:
    return [vars(each).get("outcome") for each in caplog.records]


async def test_download_ends_when_the_client_disconnects(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    token = await world.caller(READER)
    world.server.chunks = [b"x" * 65536] * 1000
    with caplog.at_level(logging.INFO):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        head = f"GET /invoices/a HTTP/1.1\r\nHost: {BLOBS}\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.transport.abort()
        await eventually(lambda: "storage_client_disconnected" in outcomes(caplog))


async def test_upload_ends_when_the_client_disconnects(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    token = await world.caller(CONTRIBUTOR)
    with caplog.at_level(logging.INFO):
        _, writer = await asyncio.open_connection("127.0.0.1", world.port)
        head = (
            f"PUT /invoices/a HTTP/1.1\r\nHost: {BLOBS}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Length: 1000000\r\n\r\n"
        )
        writer.write(head.encode() + b"x" * 1000)
        await writer.drain()
        await asyncio.wait_for(world.server.started.wait(), 30)
        writer.transport.abort()
        await eventually(lambda: "storage_client_disconnected" in outcomes(caplog))
    assert not world.server.requests


async def test_upload_ends_when_azurite_stops_reading(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped (SIGSTOP) keeps its connections and reads nothing."""
    monkeypatch.setattr(azurite, "_STALL_SECONDS", 0.5)
    token, ended = await world.caller(CONTRIBUTOR), asyncio.Event()

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0, limit=1024) as server:
        world.services["blob"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        large = io.BytesIO(b"x" * 30_000_000)
        try:
            async with asyncio.timeout(20):
                status, body, _ = await world.send("PUT", "/invoices/a", token, body=large)
        finally:
            ended.set()
    assert (status, code(body)) == (503, "ServerBusy")


async def test_metadata_outside_ascii_keeps_its_bytes(world: World) -> None:
    token = await world.caller(CONTRIBUTOR)
    await world.send("PUT", "/invoices/a", token, body=b"x", headers={"x-ms-meta-a": "ü"})
    assert world.server.header("x-ms-meta-a") == ["ü".encode().decode("latin-1")]


@contextlib.asynccontextmanager
async def sent(
    world: World, count: int, head: str, token: str, host: str = BLOBS, body: bytes = b""
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open connections with a request each, and read nothing."""
    text = f"{head} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
    text += "Content-Length: 6400000\r\n\r\n" if body else "\r\n"
    streams = [await asyncio.open_connection("127.0.0.1", world.port) for _ in range(count)]
    try:
        for _, writer in streams:
            writer.write(text.encode() + body)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        yield [reader for reader, _ in streams]
    finally:
        for _, writer in streams:
            writer.transport.abort()


async def test_unfinished_documents_of_one_caller_leave_memory_for_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a budget, 400 connections with a part of a block list each kill the process for its memory."""
    blocks = "PUT /invoices/a?comp=blocklist"
    attacker, other = await world.caller(CONTRIBUTOR), await world.caller(CONTRIBUTOR)
    listed = b"<BlockList>" + b"<Latest>QQ==</Latest>" * 49_000 + b"</BlockList>"

    def refusals() -> int:
        return outcomes(caplog).count("storage_server_busy")

    with caplog.at_level(logging.INFO):
        async with sent(world, 12, blocks, attacker, body=bytes(4_000_000)):
            # Half of the memory has room for four parts; the bodies of the others are refused.
            await eventually(lambda: refusals() == 8)
            path = "/invoices/b?comp=blocklist"
            assert (await world.send("PUT", path, other, body=listed))[0] == 200
            assert world.server.last["body"] == listed
        # The memory of a request whose client has disconnected is free again.

        async def is_accepted() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                large = io.BytesIO(bytes(4_000_000))
                return (await world.send("PUT", path, attacker, body=large))[0] == 200
            return False

        await eventually(is_accepted, 60)


async def test_downloads_of_one_caller_leave_connections_for_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if 64 downloads that are not read make every request of every service wait."""
    monkeypatch.setattr(azurite, "QUEUE_SECONDS", 0.5)
    world.server.chunks = [b"x" * 65536] * 1000
    queues = "Storage Queue Data Contributor"
    attacker, other = await world.caller(READER, queues), await world.caller(READER)
    share = azurite.CALLER_REQUESTS
    async with sent(world, share, "GET /invoices/a", attacker) as readers:
        for reader in readers:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        world.server.chunks = [b"stored"]
        status, body, _ = await world.send("GET", "/invoices/a", attacker)
        assert (status, code(body)) == (503, "ServerBusy")
        assert (await world.send("GET", "/invoices/a", other))[:2] == (200, b"stored")
        messages = await world.send("GET", "/jobs/messages", attacker, host=QUEUES)
        assert messages[:2] == (200, b"stored"), "each service has its own share"


async def test_request_above_the_limit_of_a_caller_waits(world: World) -> None:
    token = await world.caller(READER)
    sending = [world.send("GET", "/invoices/a", token) for _ in range(4 * azurite.CALLER_REQUESTS)]
    answers = await asyncio.gather(*sending)
    assert {(status, body) for status, body, _ in answers} == {(200, b"stored")}


@pytest.mark.parametrize("query", ["", "?comp=blocklist"], ids=["stream", "document"])
async def test_slow_body_is_refused_with_408(
    world: World, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """A client that sends fast at first has no more time later."""
    monkeypatch.setattr(storage_app, "BODY_SECONDS", 3.0)
    token = await world.caller(CONTRIBUTOR)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    head = (
        f"PUT /invoices/a{query} HTTP/1.1\r\nHost: {BLOBS}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Length: 6400000\r\n\r\n"
    )
    writer.write(head.encode() + bytes(2_000_000))

    async def trickle() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    try:
        async with asyncio.timeout(20):
            answer = await reader.readuntil(b"</Error>")
    finally:
        trickling.cancel()
        writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert code(answer) == "OperationTimedOut"
    assert not world.server.requests


KEY = "a2V5IG9mIHRoZSBhY2NvdW50"


def test_signature_equals_that_of_the_released_library() -> None:
    ours = parse_qs(azurite.account_signature("orders", Secret(KEY), "2030-01-02T03:04:05Z"))
    library = SharedAccessSignature(  # type: ignore[no-untyped-call]
        "orders", KEY, x_ms_version=ours["sv"][0]
    )
    signed = library.generate_account(
        ours["ss"][0],
        ours["srt"][0],
        ours["sp"][0],
        datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        protocol=ours["spr"][0],
    )
    assert parse_qs(signed) == ours


def test_headers_of_the_connection_are_removed() -> None:
    headers = [
        (b"Connection", b"close, X-One"),
        (b"x-one", b"1"),
        (b"X-Two", b"2"),
        (b"transfer-encoding", b"chunked"),
        (b"authorization", b"Bearer abc"),
        (b"host", b"other"),
    ]
    assert azurite.forwarded(headers) == [(b"x-two", b"2")]


def test_client_cannot_remove_the_length_of_its_body() -> None:
    headers = [(b"connection", b"content-length"), (b"content-length", b"5")]
    assert azurite.forwarded(headers) == [(b"content-length", b"5")]
