"""Group 23: cacheable documents requested under a host name of the attacker's choice; other origins."""

import asyncio
import ssl
from urllib.parse import urlsplit

import pytest

from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENTS = ("v2.0/.well-known/openid-configuration", ".well-known/openid-configuration")
KEYS = ("discovery/v2.0/keys", "discovery/keys")
MAIN = "https://login.microsoftonline.com"
HOSTS = [
    *("evil.test", "evil.test:443", "login.microsoftonline.com.evil.test"),
    *("login.microsoftonline.com@evil.test", "evil.test/login.microsoftonline.com"),
    *("login.microsoftonline.com:8443", "a b", '"><script>', "%00", ""),
]


async def send_raw(world: World, request: bytes) -> bytes:
    """Send raw bytes over TLS and read until the server closes the connection."""
    where = urlsplit(world.url)
    trust = ssl.create_default_context(cafile=world.ca_file)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", where.port, ssl=trust, server_hostname="localhost"
    )
    try:
        async with asyncio.timeout(5):
            writer.write(request)
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("host", HOSTS)
async def test_foreign_host_header_does_not_change_documents(shared: World, host: str) -> None:
    for path in (*DOCUMENTS, *KEYS):
        head = f"GET /{shared.TENANT}/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        answer = (await send_raw(shared, head.encode())).decode()
        assert " 400 " in answer.splitlines()[0] or f'"{MAIN}/' in answer or "jwks" not in answer
        assert "evil" not in answer
        assert "<script>" not in answer


@pytest.mark.parametrize(
    "header",
    [
        *("X-Forwarded-Host: evil.test", "X-Forwarded-Server: evil.test"),
        *("Forwarded: host=evil.test;proto=http", "X-Original-URL: /evil.test"),
        *("X-Rewrite-URL: /evil.test", "X-Host: evil.test", "X-Forwarded-Proto: http"),
        *("X-Forwarded-Port: 1", "X-Forwarded-Prefix: /evil.test"),
        *("Origin: https://evil.test", "Referer: https://evil.test/"),
    ],
)
async def test_other_headers_do_not_change_the_service_name(shared: World, header: str) -> None:
    path = f"/{shared.TENANT}/{DOCUMENTS[0]}"
    name, _, value = header.partition(": ")
    plain = await shared.send(path, method="GET")
    changed = await shared.send(path, method="GET", headers={name: value})
    assert plain.body == changed.body
    assert plain.headers.get("Access-Control-Allow-Origin") == "*"
    assert "evil" not in repr(changed.headers)


async def test_absolute_request_target_does_not_change_documents(shared: World) -> None:
    """In HTTP an absolute target overrides Host; here neither can select a name that is not configured."""
    for target in (f"https://evil.test/{shared.TENANT}/{DOCUMENTS[0]}", "//evil.test/x", "*"):
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = (await send_raw(shared, head.encode())).decode()
        assert '"issuer":"https://evil' not in answer
        assert "https://evil.test" not in answer


@pytest.mark.parametrize(
    "hosts",
    [
        "Host: localhost\r\nHost: evil.test\r\n",
        "Host: evil.test\r\nHost: localhost\r\n",
        "Host: localhost\r\nhost: localhost\r\n",
        "",
    ],
)
async def test_request_with_two_hosts_or_none_is_refused(shared: World, hosts: str) -> None:
    """A cache in front of the service may use the other of the two hosts."""
    head = f"GET /{shared.TENANT}/{DOCUMENTS[0]} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"
    assert (await send_raw(shared, head.encode())).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(("hosts", "status"), [("", 200), ("Host: a\r\nHost: b\r\n", 400)])
async def test_http_1_0_may_omit_host_but_not_repeat_it(
    shared: World, hosts: str, status: int
) -> None:
    head = f"GET /{shared.TENANT}/{DOCUMENTS[0]} HTTP/1.0\r\n{hosts}\r\n"
    assert (await send_raw(shared, head.encode())).startswith(b"HTTP/1.1 %d " % status)


async def test_token_endpoint_sends_no_cors_headers_and_no_cookies(shared: World) -> None:
    """CSRF is not possible: no cookie is set or read, and no other origin can read a response."""
    answer = await shared.send(
        body="grant_type=client_credentials",
        headers={"Origin": "https://evil.test", "Cookie": "a=b"},
    )
    granted = await shared.request_token()
    for each in (answer, granted):
        assert "Access-Control-Allow-Origin" not in each.headers
        assert "Set-Cookie" not in each.headers
        assert "no-store" in each.headers["Cache-Control"]


async def test_preflight_does_not_allow_other_origins(shared: World) -> None:
    headers = {
        "Origin": "https://evil.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = await shared.send(method="OPTIONS", headers=headers)
    assert answer.status in {400, 405}
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Access-Control-Allow-Headers" not in answer.headers


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.test/common/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com.evil.test/common/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com@evil.test/common/oauth2/v2.0/authorize",
        "http://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com:8443/common/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com:x/t/oauth2/authorize",
        "https://login.microsoftonline.com/",
        "https://login.microsoftonline.com/%22x/oauth2/authorize",
        "https://[::1/",
        "javascript:alert(1)",
        "",
    ],
)
async def test_instance_discovery_does_not_confirm_other_hosts(
    shared: World, endpoint: str
) -> None:
    """A client that trusts this response sends its assertions to that host."""
    path = f"/common/discovery/instance?api-version=1.1&authorization_endpoint={endpoint}"
    answer = await shared.send(path, method="GET")
    assert (answer.status, answer.body["error"], answer.code) == (400, "invalid_instance", 50049)
    assert "tenant_discovery_endpoint" not in answer.body


@pytest.mark.parametrize(
    "code",
    [
        *("<script>alert(1)</script>", "%3Cscript%3Ealert(1)%3C/script%3E"),
        *('"><img src=x onerror=alert(1)>', "700213%0d%0aSet-Cookie:x=y", "{{7*7}}"),
        *("../../etc/passwd", "9" * 5000, ""),
    ],
)
async def test_error_page_does_not_reflect_its_url(shared: World, code: str) -> None:
    """An attacker can send a user a link to this page under the name of the token service."""
    path = "/error?code=" + code.replace(" ", "%20").replace('"', "%22")
    head = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
    )
    answer = (await send_raw(shared, head.encode())).decode()
    headers, _, page = answer.partition("\r\n\r\n")
    assert headers.startswith(("HTTP/1.1 200", "HTTP/1.1 400", "HTTP/1.1 404"))
    assert "set-cookie" not in headers.lower()
    for sign in ("alert(1)", "onerror", "7*7", "passwd", "99999999"):
        assert sign not in page
    assert "x-content-type-options: nosniff" in headers.lower()
