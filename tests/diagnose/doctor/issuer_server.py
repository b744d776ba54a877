"""An issuer on the name issuer.example: an HTTPS server behind a proxy that connects every name to it."""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme

from podpass.crypto import jose
from podpass.provision.connection import AzureConnection, RequestLimits
from tests.imds.raw_server import read_request, serving_connections
from tests.rsa_keys import KEY
from tests.tunnel import connect_proxy

HOST = "issuer.example"
ISSUER = f"https://{HOST}/cluster/"
DISCOVERY = "/cluster/.well-known/openid-configuration"
KEYS = "/cluster/openid/v1/jwks"
KEY_ID = "key-1"
Answers = dict[str, tuple[int, Mapping[str, str], Any]]


def healthy() -> Answers:
    """Return the answers of a correct issuer, by path: status, headers, body."""
    document = {
        "issuer": ISSUER,
        "jwks_uri": f"https://{HOST}{KEYS}",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
    keys = {"keys": [jose.rsa_jwk(KEY.public_key(), KEY_ID)]}
    return {DISCOVERY: (200, {}, document), KEYS: (200, {}, keys)}


@asynccontextmanager
async def serving(
    folder: Path, answers: Answers, *, is_trusted: bool = True
) -> AsyncIterator[AzureConnection]:
    """Serve an issuer; return a connection that reaches it."""
    ca, other = trustme.CA(), trustme.CA()

    async def handle(reader: Any, writer: Any) -> None:
        target = (await read_request(reader)).split(b" ")[1].decode()
        status, headers, body = answers.get(target, (404, {}, {}))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(HOST).configure_cert(tls)
    ca_file = folder / "ca.pem"
    (ca if is_trusted else other).cert_pem.write_to_path(str(ca_file))
    async with serving_connections(handle, tls) as port, connect_proxy(port) as proxy:
        limits = RequestLimits(attempts=1, seconds=20.0)
        yield AzureConnection(https_proxy=proxy, ca_file=ca_file, limits=limits)
