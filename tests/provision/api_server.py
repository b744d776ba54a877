"""An HTTPS server with scripted responses, and the clients of podpass on it."""

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from podpass.crypto.secret import Secret
from podpass.provision.api_client import ApiClient
from podpass.provision.connection import AzureConnection
from tests.imds.raw_server import read_request, serving_connections


@dataclass(kw_only=True)
class ScriptedResponse:
    """One response; without a body, the connection is closed before any byte."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_closed: bool = False

    def encode(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        if self.body is None:
            body = b""
        lines = [f"HTTP/1.1 {self.status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


class FixedTokens:
    """A sign-in whose tokens are token-1, token-2 and so on."""

    def __init__(self) -> None:
        self.number = 1
        self.resources: list[str] = []

    async def get_token(self, resource: str) -> Secret:
        self.resources.append(resource)
        return Secret(f"token-{self.number}")

    def forget(self, resource: str) -> None:
        assert resource
        self.number += 1


@dataclass(kw_only=True)
class ScriptedApi:
    """A running server: its origin, the requests so far, and a client that does not wait in real time."""

    origin: str
    connection: AzureConnection
    client: ApiClient
    tokens: FixedTokens
    requests: list[tuple[str, str, Mapping[str, str], bytes]]
    pauses: list[float]
    reports: list[str]

    @property
    def targets(self) -> list[str]:
        return [f"{method} {target}" for method, target, _, _ in self.requests]


Script = Callable[[str, str], ScriptedResponse]


def in_order(*responses: ScriptedResponse) -> Script:
    """Return a script of responses; the last one is repeated."""
    rest = list(responses)
    return lambda _method, _target: rest.pop(0) if len(rest) > 1 else rest[0]


@asynccontextmanager
async def scripted_api(
    tmp_path: Path, script: Script, *, trusted: bool = True
) -> AsyncIterator[ScriptedApi]:
    """Run a server that answers by a script."""
    ca, other = trustme.CA(), trustme.CA()
    requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
    pauses: list[float] = []
    reports: list[str] = []

    async def handle(reader: Any, writer: Any) -> None:
        raw = await read_request(reader)
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        fields = dict(line.split(": ", 1) for line in lines)
        requests.append((method, target, fields, body))
        response = script(method, target)
        if not response.is_closed:
            writer.write(response.encode())

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(tls)
    ca_file = tmp_path / "ca.pem"
    (ca if trusted else other).cert_pem.write_to_path(str(ca_file))
    async with serving_connections(handle, tls) as port:
        origin = f"https://localhost:{port}"
        connection = AzureConnection(ca_file=ca_file, sleep=pause, report=reports.append)
        tokens = FixedTokens()
        client = ApiClient(
            "the API", origin=origin, resource="https://r", tokens=tokens, connection=connection
        )
        yield ScriptedApi(
            origin=origin,
            connection=connection,
            client=client,
            tokens=tokens,
            requests=requests,
            pauses=pauses,
            reports=reports,
        )
