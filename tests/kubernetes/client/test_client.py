"""Requests of the client, and error responses."""

import asyncio
import base64
import ssl
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import trustme
from cryptography import x509

from podpass.kubernetes.client import (
    APPLY_PATCH,
    MERGE_PATCH,
    BadKubeconfig,
    KubeClient,
    KubeError,
    KubeUnreachable,
    Target,
    read_kubeconfig,
    responses,
)
from podpass.kubernetes.client import client as client_module
from tests.ports import free_port


async def test_each_verb_is_sent_as_kubernetes_expects(server: Any) -> None:
    path = server.kubeconfig({"token": "hush"})
    async with KubeClient.from_kubeconfig(path) as client:
        await client.get("/api/v1/pods", {"limit": "1"})
        await client.create("/api/v1/pods", {"a": 1})
        await client.replace("/p", {"b": 2})
        await client.patch("/p", {"c": 3})
        await client.patch("/p?fieldManager=me", {"d": 4}, APPLY_PATCH)
        await client.delete("/p", {"gracePeriodSeconds": 0})
        await client.delete("/p")
        assert await client.text("/log") == "{}"
    sent = [(each.method, each.path, each.body) for each in server.requests]
    assert sent == [
        ("GET", "/api/v1/pods", b""),
        ("POST", "/api/v1/pods", b'{"a":1}'),
        ("PUT", "/p", b'{"b":2}'),
        ("PATCH", "/p", b'{"c":3}'),
        ("PATCH", "/p", b'{"d":4}'),
        ("DELETE", "/p", b'{"gracePeriodSeconds":0}'),
        ("DELETE", "/p", b""),
        ("GET", "/log", b""),
    ]
    assert server.requests[0].query == {"limit": "1"}
    assert server.requests[4].query == {"fieldManager": "me"}
    types = [each.headers.get("content-type") for each in server.requests]
    assert types[1:5] == ["application/json", "application/json", MERGE_PATCH, APPLY_PATCH]
    assert {each.headers["authorization"] for each in server.requests} == {"Bearer hush"}


async def test_client_certificate_is_presented(server: Any, ca: trustme.CA) -> None:
    made = ca.issue_cert("node.example", common_name="system:node:a")
    data = {
        "client-certificate-data": base64.b64encode(made.cert_chain_pems[0].bytes()).decode(),
        "client-key-data": base64.b64encode(made.private_key_pem.bytes()).decode(),
    }
    async with KubeClient.from_kubeconfig(server.kubeconfig(data)) as client:
        await client.get("/")
    shown = x509.load_der_x509_certificate(server.requests[0].client_name)
    assert "CN=system:node:a" in shown.subject.rfc4514_string()


async def test_error_has_the_fields_of_the_status(server: Any) -> None:
    body = {"kind": "Status", "reason": "NotFound", "message": 'pods "a" not found', "code": 404}
    server.handler = lambda _: (404, body)
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        with pytest.raises(KubeError) as caught:
            await client.get("/p")
    error = caught.value
    assert (error.status, error.reason, error.message) == (404, "NotFound", 'pods "a" not found')


async def test_body_that_is_not_a_status_is_not_in_the_error(server: Any) -> None:
    """Fails if bodies of responses are copied to errors: they may contain secrets."""
    server.handler = lambda _: (502, b"<html>secret</html>")
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        with pytest.raises(KubeError) as caught:
            await client.get("/p")
    assert (caught.value.status, caught.value.reason) == (502, "Unknown")
    assert "secret" not in str(caught.value) + repr(caught.value.facts)


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
async def test_response_that_is_not_an_object_is_an_error(server: Any, body: bytes) -> None:
    server.handler = lambda _: (200, body)
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        with pytest.raises(KubeError) as caught:
            await client.get("/p")
    assert caught.value.reason == "BadAnswer"


async def test_redirect_is_not_followed(server: Any) -> None:
    """Fails if redirects are followed: the bearer token would be sent to another server."""

    async def redirect(request: Any) -> None:
        headers = [(b"location", f"{server.url}/elsewhere".encode())]
        await request.send({"type": "http.response.start", "status": 302, "headers": headers})
        await request.end()

    server.handler = redirect
    async with KubeClient.from_kubeconfig(server.kubeconfig({"token": "t"})) as client:
        with pytest.raises(KubeError) as caught:
            await client.get("/p")
    assert caught.value.status == 302
    assert [each.path for each in server.requests] == ["/p"]


async def test_only_the_ca_of_the_kubeconfig_is_trusted(server: Any) -> None:
    """Fails without verification: any program on the port would get the token."""
    server.ca = trustme.CA()
    kubeconfig = server.kubeconfig({"token": "t"})
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        with pytest.raises(KubeUnreachable) as caught:
            await client.get("/")
    assert "its certificate is not trusted" in caught.value.message
    assert server.requests == []
    assert "its certificate is not trusted: " in caught.value.message


async def test_expired_certificate_is_distinguished_from_an_unavailable_server(server: Any) -> None:
    """A wrong clock causes this error, and a user who reads only "no answer" would not check the clock."""
    ended = server.ca.issue_cert("127.0.0.1", not_after=datetime(2001, 1, 1, tzinfo=UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ended.configure_cert(context)
    other = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
    async with other:
        url = f"https://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        async with KubeClient(read_kubeconfig(server.kubeconfig({}, server=url))) as client:
            with pytest.raises(KubeUnreachable) as caught:
                await client.get("/")
    why = "its certificate is not trusted: certificate has expired"
    assert caught.value.message == f"no answer from {url}: {why}"


async def test_server_name_of_the_certificate_is_verified(server: Any) -> None:
    url = f"https://localhost:{server.port}"
    async with KubeClient(read_kubeconfig(server.kubeconfig({}, server=url))) as client:
        with pytest.raises(KubeUnreachable):
            await client.get("/")
    named = {"server": url, "tls-server-name": "kubernetes.example"}
    async with KubeClient(read_kubeconfig(server.kubeconfig({}, **named))) as client:
        assert await client.get("/") == {}


async def test_proxy_variables_are_ignored(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if proxy variables are used: the token could be sent to another server."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        assert await client.get("/") == {}


async def test_missing_server_is_unreachable() -> None:
    server = f"http://127.0.0.1:{free_port()}"
    async with KubeClient(Target(server=server)) as client:
        with pytest.raises(KubeUnreachable) as caught:
            await client.get("/")
    assert caught.value.status == 503
    assert caught.value.message == f"no answer from {server}: Connection refused"


async def test_unreachable_server_is_reported_with_its_kubeconfig(server: Any) -> None:
    path = server.kubeconfig({}, server=f"https://127.0.0.1:{free_port()}")
    async with KubeClient.from_kubeconfig(path) as client:
        with pytest.raises(KubeUnreachable) as caught:
            await client.get("/")
    assert str(path) in caught.value.hint


async def test_response_without_end_is_refused(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", 1024 * 1024)
    server.handler = lambda _: (200, {"a": "x" * 1024 * 1024})
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        with pytest.raises(KubeError, match=r"to GET /l is larger than 1 MiB"):
            await client.get("/l")
        server.handler = lambda _: (200, {"a": "x" * 1000 * 1024})
        assert len((await client.get("/l"))["a"]) == 1000 * 1024


async def test_list_without_end_is_refused(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_MAX_PAGES", 3)
    server.handler = lambda _: (200, {"metadata": {"continue": "more"}, "items": []})
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        with pytest.raises(KubeError, match="more than 3 pages"):
            await client.list("/l")
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [{"items": {"a": 1}}, {"items": ["a"]}, {"items": 5}, {"metadata": ["a"], "items": []}],
    ids=["mapping", "texts", "number", "metadata"],
)
async def test_list_response_whose_items_are_not_objects_is_refused(
    server: Any, answer: Any
) -> None:
    server.handler = lambda _: (200, answer)
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        with pytest.raises(KubeError, match="not a list of objects"):
            await client.list("/l")


async def test_list_is_returned_in_pages(server: Any) -> None:
    def page(request: Any) -> tuple[int, Any]:
        meta = {"resourceVersion": "9"}
        if "continue" not in request.query:
            return 200, {"metadata": meta | {"continue": "more"}, "items": [{"a": 1}]}
        return 200, {"metadata": meta, "items": [{"a": 2}]}

    server.handler = page
    async with KubeClient.from_kubeconfig(server.kubeconfig({})) as client:
        assert await client.list("/l", {"labelSelector": "x"}) == ([{"a": 1}, {"a": 2}], "9")
    assert [each.query.get("continue") for each in server.requests] == [None, "more"]
    assert all(each.query["labelSelector"] == "x" for each in server.requests)


def test_missing_ca_file_is_a_bad_kubeconfig(server: Any) -> None:
    path = server.kubeconfig({}, **{"certificate-authority-data": "", "certificate-authority": "x"})
    with pytest.raises(BadKubeconfig):
        KubeClient.from_kubeconfig(path)
    assert orjson.loads(b"{}") == {}
