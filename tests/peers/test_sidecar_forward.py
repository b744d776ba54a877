"""The reference's sidecar v1.6.0 and `podpass proxy` forward the same requests in the same way.

Both run in a network namespace without routes, in which a server has the address of the metadata service and
returns what it received.
"""

import gzip
import http.client
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.private_network import METADATA_ADDRESS, PrivateNetwork, private_network
from tests.journey.instance import CLIENT
from tests.peers.test_sidecar import running
from tests.programs import built

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]

ECHO = Path(__file__).with_name("echo_server.py")
FORM = "Content-Type: application/x-www-form-urlencoded"
# A request line, headers, and a body after an empty line.
SAME = [
    "GET /metadata/instance?api-version=2021-02-01\nMetadata: true\nUser-Agent: a\nAccept: */*",
    "GET /metadata/instance?a=%7e;b&c=d%20e\nMetadata: true\nX-Forwarded-For: 1.2.3.4",
    "GET /METADATA/instance",
    "GET /metadata/%7Einstance%2Fx?y",
    "GET /?x=/../y",
    "GET /x/.../y",
    "GET /x/.hidden",
    "GET /metadata/identity/info?api-version=2018-02-01",
    "GET /metadata/identity/oauth2",
    "GET /metadata/identity/oauth2/Token?resource=a",
    "GET /metadata/Identity/oauth2/token?resource=a",
    "GET /Readyz",
    "GET /metrics",
    "GET /msi/token/x",
    "GET http://other.example/metadata/instance",
    f"POST /metadata/x\n{FORM}\nContent-Length: 5\n\nhello",
    "POST /metadata/x\nTransfer-Encoding: chunked\n\n5\r\nhello\r\n0\r\n\r\n",
    "POST /metadata/x",
    "PUT /metadata/x\nContent-Length: 0",
    "PATCH /metadata/x\nContent-Length: 1\n\nx",
    "DELETE /metadata/x",
    "OPTIONS /metadata/x",
    "HEAD /metadata/x",
    "GET /x\nX-Twice: 1\nX-Twice: 2\nCookie: a=b\nAuthorization: Bearer c",
    "GET /gzip",
    "GET /gzip\nAccept-Encoding: gzip",
    "GET /chunked",
    "GET /status/204",
    "GET /status/404",
    "GET /status/429",
    "GET /status/500",
]
# Headers of one connection, and those that the HTTP client of the reference adds.
OWN_HEADERS = {
    *("host", "connection", "accept-encoding", "user-agent", "content-length"),
    "transfer-encoding",
}


@pytest.fixture(scope="module")
def network() -> Iterator[PrivateNetwork]:
    with private_network(ECHO) as made:
        yield made


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    (token_file := tmp_path_factory.mktemp("forward") / "token").write_text("x")
    return {
        "PATH": os.environ["PATH"],
        "AZURE_TENANT_ID": CLIENT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
        "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
    }


@contextmanager
def both_running(network: PrivateNetwork, environ: dict[str, str]) -> Iterator[list[int]]:
    """Run both sidecars in the namespace; yield the ports of the reference and of ours."""
    reference = built("azwi-proxy")
    ours = [sys.executable, "-m", "podpass.cli", "proxy"]
    with (
        network.entered(),
        running([str(reference)], environ) as first,
        running(ours, environ) as second,
    ):
        yield [first, second]


@pytest.fixture(scope="module")
def ports(network: PrivateNetwork, environ: dict[str, str]) -> Iterator[list[int]]:
    with both_running(network, environ) as made:
        yield made


def ask(port: int, request: str) -> tuple[int, list[tuple[str, str]], bytes]:
    head, _, body = request.partition("\n\n")
    line, *headers = head.split("\n")
    lines = [f"{line} HTTP/1.1", "Host: 169.254.169.254", *headers, "", body]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    connection.sock.sendall("\r\n".join(lines).encode())
    response = http.client.HTTPResponse(connection.sock, method=line.partition(" ")[0])
    response.begin()
    answer = response.status, response.getheaders(), response.read()
    response.close()
    connection.close()
    return answer


def comparable(answer: tuple[int, list[tuple[str, str]], bytes]) -> Any:
    """Return status, headers and body, without what differs between two forwarded requests."""
    status, headers, body = answer
    kept = sorted((name.lower(), value) for name, value in headers if name.lower() != "date")
    if not body:
        return status, kept
    assert ("content-length", str(len(body))) in kept
    kept.remove(("content-length", str(len(body))))
    said = json.loads(gzip.decompress(body) if ("content-encoding", "gzip") in kept else body)
    said["headers"] = [pair for pair in said["headers"] if pair[0] not in OWN_HEADERS]
    return status, kept, said["line"], sorted(said["headers"]), said["body"]


@pytest.mark.parametrize("request_text", SAME)
def test_request_is_forwarded_as_by_the_reference(ports: list[int], request_text: str) -> None:
    reference, ours = (comparable(ask(port, request_text)) for port in ports)
    assert ours == reference


def test_redirect_of_the_metadata_service_is_followed_by_the_reference_only(
    ports: list[int],
) -> None:
    reference, ours = (ask(port, "GET /redirect") for port in ports)
    assert (reference[0], json.loads(reference[2])["line"]) == (200, "GET /landed HTTP/1.1")
    assert (ours[0], dict(ours[1])["location"]) == (302, "/landed")


def test_proxy_of_the_environment_is_used_by_the_reference_only(
    network: PrivateNetwork, environ: dict[str, str]
) -> None:
    """A link-local address means another machine to a proxy."""
    proxy = {"HTTP_PROXY": f"http://{METADATA_ADDRESS}"}
    with both_running(network, environ | proxy) as ports:
        answers = [ask(port, "GET /metadata/instance") for port in ports]
    assert [json.loads(body)["line"] for _, _, body in answers] == [
        f"GET http://{METADATA_ADDRESS}:80/metadata/instance HTTP/1.1",
        "GET /metadata/instance HTTP/1.1",
    ]


def test_msi_endpoint_is_forwarded_by_the_reference_only(ports: list[int]) -> None:
    reference, ours = (ask(port, "GET /msi/token?resource=a") for port in ports)
    assert (reference[0], json.loads(reference[2])["line"]) == (
        200,
        "GET /msi/token?resource=a HTTP/1.1",
    )
    assert (ours[0], json.loads(ours[2])["error"]) == (400, "invalid_request")
