"""The sidecar over HTTP, with a real authority."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
import trustme

from podpass.crypto import jose
from podpass.http.server import Receive, Scope, Send, read_body, respond
from podpass.imds.entra_client import EntraClient, TokenNotAcquired
from tests.exchange.world import listen
from tests.imds.conftest import MetadataService, Sidecar, authority_at

UNKNOWN_CLIENT = "99999999-aaaa-4bbb-8ccc-000000000009"

PATH = "/metadata/identity/oauth2/token"
QUERY = "?resource=https://vault.azure.net"


async def test_token_has_the_members_of_the_reference(sidecar: Sidecar) -> None:
    status, text, headers = await sidecar.token("api-version=2018-02-01")
    body = json.loads(text)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert list(body) == [
        *("access_token", "refresh_token", "expires_in", "expires_on", "not_before"),
        *("resource", "token_type"),
    ]
    claims = jose.parse(body["access_token"]).claims
    assert (claims["appid"], claims["aud"]) == (sidecar.world.CLIENT, "https://vault.azure.net")
    assert body["expires_on"] == str(claims["exp"])
    assert body["expires_in"] == claims["exp"] - int(sidecar.world.now) - 10
    assert (body["refresh_token"], body["not_before"], body["token_type"]) == ("", 0, "Bearer")
    assert text.endswith("}\n")


async def test_token_is_cached_by_client_and_resource(sidecar: Sidecar) -> None:
    first, second = await sidecar.token(), await sidecar.token()
    assert first[1] == second[1]
    other = await sidecar.token(f"client_id={sidecar.world.APPLICATION}")
    assert other[1] != first[1]
    assert dict(sidecar.metrics.requests) | {"cached": 1, "acquired": 2} == dict(
        sidecar.metrics.requests
    )


async def test_audience_has_the_trailing_slash_of_the_resource(sidecar: Sidecar) -> None:
    _, text, _ = await sidecar.token("resource=https://vault.azure.net/")
    body = json.loads(text)
    assert body["resource"] == "https://vault.azure.net/"
    assert jose.parse(body["access_token"]).claims["aud"] == "https://vault.azure.net/"


@pytest.mark.parametrize(
    "path",
    [
        f"{PATH}/{QUERY}",
        f"{PATH}{QUERY}",
        f"/Metadata/identity/oauth2/token/{QUERY}",
        f"/METADATA/identity/oauth2/tokenfoo{QUERY}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_token_path_of_the_reference_returns_a_token(
    sidecar: Sidecar, path: str, method: str
) -> None:
    assert (await sidecar.get(path, method))[0] == 200
    assert not sidecar.metadata.seen


@pytest.mark.parametrize(
    "path",
    [
        *("/metadata/Identity/oauth2/token/", "/metadata/instance"),
        *("/Metadata/instance?api-version=2021-02-01", "/metadata/", "/metadata/identity/info"),
        *("/", "/x%2Fy?a=%20", "/%6Detadata/%7einstance?a=%41&b=c%3Bd&e=x+y"),
    ],
)
async def test_other_paths_are_forwarded_unchanged(sidecar: Sidecar, path: str) -> None:
    headers = {"Metadata": "true", "X-A": "b"}
    status, text, answered = await sidecar.get(path, "PUT", data=b"body", headers=headers)
    assert (status, text, answered["X-Own"]) == (203, path, "1")
    assert answered["Server"] == "IMDS"
    [(method, target, sent, body)] = sidecar.metadata.seen
    assert (method, target, body) == ("PUT", path, b"body")
    assert (sent["metadata"], sent["x-a"]) == ("true", "b")
    assert sidecar.url.removeprefix("http://") != sent["host"]


@pytest.mark.parametrize("coding", ["gzip", ""])
async def test_compressed_answer_reaches_only_a_program_that_accepts_it(
    sidecar: Sidecar, coding: str
) -> None:
    headers = {"Accept-Encoding": coding} if coding else {}
    status, text, answered = await sidecar.get(
        "/metadata/instance",
        headers=headers,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
    )
    assert (status, text) == (203, "/metadata/instance")
    assert answered.get("Content-Encoding", "") == coding
    [(_, _, sent, _)] = sidecar.metadata.seen
    # The sidecar adds nothing that the program did not send.
    del sent["connection"]
    assert set(sent) == {"host", *(name.lower() for name in headers)}


async def test_forwarded_head_has_the_length_of_the_body(sidecar: Sidecar) -> None:
    status, text, answered = await sidecar.get(
        "/metadata/instance", "HEAD", headers={"Accept-Encoding": "identity"}
    )
    assert (status, text) == (203, "")
    assert answered["Content-Length"] == str(len("/metadata/instance"))


@pytest.mark.parametrize("status", [204, 304])
async def test_forwarded_answer_without_a_body_has_no_length(sidecar: Sidecar, status: int) -> None:
    sidecar.metadata.status, sidecar.metadata.body = status, b""
    found, text, answered = await sidecar.get("/metadata/instance")
    assert (found, text) == (status, "")
    assert "Content-Length" not in answered


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_of_the_metadata_service_is_returned(sidecar: Sidecar, status: int) -> None:
    sidecar.metadata.status = status
    found, _, answered = await sidecar.get("/metadata/instance")
    assert (found, answered["X-Own"]) == (status, "1")
    assert len(sidecar.metadata.seen) == 1


async def test_target_without_a_path_is_not_forwarded(sidecar: Sidecar) -> None:
    port = sidecar.url.rpartition(":")[2]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b"HTTP/1.1 400 " in answer
    assert b"is not a path" in answer
    assert not sidecar.metadata.seen


async def test_response_of_the_metadata_service_is_bounded(sidecar: Sidecar) -> None:
    sidecar.metadata.body = bytes(1024 * 1024 + 1)
    status, text, _ = await sidecar.get("/metadata/instance")
    assert (status, "is longer than 1048576 bytes" in text) == (500, True)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("///metadata/identity/oauth2/token?a=b", "/metadata/identity/oauth2/token?a=b"),
        ("/metadata//instance/", "/metadata/instance/"),
        ("/metadata/../readyz", "/readyz"),
    ],
)
async def test_path_with_empty_or_dot_segments_is_redirected(
    sidecar: Sidecar, path: str, location: str
) -> None:
    status, _, headers = await sidecar.get(path)
    assert (status, headers["Location"]) == (301, location)
    assert "Server" not in headers
    assert not sidecar.metadata.seen


async def test_token_path_with_two_slashes_is_answered(sidecar: Sidecar) -> None:
    path = "//metadata/identity/oauth2/token?resource=https://vault.azure.net"
    status, text, _ = await sidecar.get(path)
    assert status == 200
    assert json.loads(text)["resource"] == "https://vault.azure.net"


@pytest.mark.parametrize("path", ["/readyz", "/readyz/", "/readyz?verbose"])
async def test_readiness_path_of_the_sidecar_returns_ok(sidecar: Sidecar, path: str) -> None:
    assert (await sidecar.get(path))[:2] == (200, "ok")


async def test_authority_error_has_its_aadsts_code_and_a_hint(sidecar: Sidecar) -> None:
    status, text, headers = await sidecar.token("resource=https://nothing.example")
    assert (status, headers["Content-Type"]) == (500, "text/plain; charset=utf-8")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert text.startswith("AADSTS500011: ")
    assert "podpass explain AADSTS500011" in text


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"a" * 70_000])
async def test_token_file_that_cannot_be_used_is_named(
    sidecar: Sidecar, content: bytes | None
) -> None:
    if content is None:
        sidecar.token_file.unlink()
    else:
        sidecar.token_file.write_bytes(content)
    status, text, _ = await sidecar.token()
    assert (status, str(sidecar.token_file) in text) == (500, True)
    sidecar.token_file.write_text(sidecar.world.mint())
    assert (await sidecar.token())[0] == 200


async def test_no_response_and_no_log_line_contains_the_assertion(
    sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    assertion = sidecar.token_file.read_text()
    sidecar.token_file.write_text(assertion + "x")
    answers = [await sidecar.token(), await sidecar.token("resource=https://nothing.example")]
    texts = [text for _, text, _ in answers] + [str(vars(one)) for one in caplog.records]
    assert not [text for text in texts if assertion[:60] in text]


async def test_redirect_of_the_authority_is_not_followed(sidecar: Sidecar, ca: trustme.CA) -> None:
    """Fails if it is: the pod's assertion would be sent to the target of the redirect."""
    target = MetadataService()

    async def redirect(_scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive, 10**6)
        await respond(send, 307, b"{}", ((b"location", location),))

    async with AsyncExitStack() as stack:
        target_port = await listen(stack, ca, target, "localhost")
        location = f"https://localhost:{target_port}/".encode()
        port = await listen(stack, ca, redirect, "localhost")
        authority = authority_at(f"https://localhost:{port}", sidecar.world, sidecar.token_file)
        client = EntraClient(authority, sidecar.world.clock)
        with pytest.raises(TokenNotAcquired):
            await client.request_token(sidecar.world.CLIENT, "https://vault.azure.net/.default")
    assert target.seen == []


async def test_request_to_the_metadata_service_does_not_use_a_proxy(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the proxy is used: its machine has another metadata service, and other identities."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert (await sidecar.get("/metadata/instance"))[0] == 203
    assert len(sidecar.metadata.seen) == 1


async def test_hop_has_the_correlation_id_of_the_exchange(
    sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused exchange has it too; a cached token has that of the exchange which returned it."""
    caplog.set_level("INFO")
    resource = "/metadata/identity/oauth2/token?resource=https://vault.azure.net"
    for target in (resource, resource, f"{resource}&client_id={UNKNOWN_CLIENT}"):
        await sidecar.get(target)
    hops = [vars(each) for each in caplog.records if vars(each).get("hop")]
    answered = [
        (each["correlation_id"], each["outcome"]) for each in hops if each["stage"] == "imds"
    ]
    assert [outcome for _, outcome in answered] == ["acquired", "cached", "failed"]
    assert len({request_id for request_id, _ in answered}) == 2
    assert answered[0][0] == answered[1][0]
