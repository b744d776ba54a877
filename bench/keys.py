"""The vault's keys: signatures through TLS, against `openssl speed` and a bare server in the same run.

    python -m bench keys

The bare server has the same HTTP and TLS, and signs without a token, a vault or a database. Its rate is the
limit of a Python program that signs once for each request. The ratio counts the processor time of the
instance, so other programs on the machine do not count. OpenSSL is that of the machine; the package
`cryptography` has its own, which can be faster.
"""

import asyncio
import contextlib
import json
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from bench.load import LoadedServer, run_load
from bench.rows import Row, row
from podpass.http import server
from podpass.lab.data.datadir import DataDir, load_config
from podpass.lab.data.lock import lock_holder
from podpass.pytest.instance import Podpass

SECONDS, CONNECTIONS = 5.0, 4
# The least ratio to OpenSSL by bits. RSA 2048 has none: most of such a request is HTTP, TLS and Python, which
# the ratio to the bare server shows.
LEAST = {2048: None, 4096: 0.8}
_VAULT = "bench-keys"
_API = "api-version=7.6"


def run() -> Iterator[Row]:
    """Measure and yield the rows of the table."""
    with tempfile.TemporaryDirectory(prefix="podpass-bench-") as folder:
        podpass = Podpass.start(Path(folder))
        try:
            web = podpass.create_identity("web", accounts=["shop/web"])
            podpass.create_vault(_VAULT, access={"web": "Key Vault Crypto Officer"})
            yield from _measure(podpass, podpass.tokens.access_token(web))
        finally:
            podpass.stop()


def _measure(podpass: Podpass, token: str) -> Iterator[Row]:
    data_dir = DataDir(podpass.data_dir)
    port, pid = load_config(data_dir).ports["vault"], lock_holder(data_dir.lock_file)
    assert pid is not None
    tls = ssl.create_default_context(cafile=podpass.ca_file)
    loaded = LoadedServer(port=port, pid=pid)
    for bits, least in LEAST.items():
        name = f"rsa-{bits}"
        _create(port, tls, token, name, {"kty": "RSA", "key_size": bits})
        body = json.dumps({"alg": "RS256", "value": urlsafe_b64encode(bytes(32)).decode()})
        request = _head("POST", f"/keys/{name}//sign", token, len(body)) + body.encode()
        load = run_load(request, loaded, tls, connections=CONNECTIONS, seconds=SECONDS)
        found = asyncio.run(load)
        peer = _openssl(bits)
        yield row(
            f"vault: RS256 with RSA {bits} through TLS, for each second of a core",
            f"{found.per_core_second:.0f}/s, p99 {found.p99_ms:.1f} ms",
            f"openssl speed {peer:.0f}/s",
            found.per_core_second / peer,
            least=least,
        )
        with _bare_server(bits) as (bare, trusted):
            limit = asyncio.run(
                run_load(request, bare, trusted, connections=CONNECTIONS, seconds=SECONDS)
            )
        yield row(
            f"vault: RS256 with RSA {bits}, against a bare server that signs",
            f"{found.per_core_second:.0f}/s",
            f"bare server {limit.per_core_second:.0f}/s, {limit.per_core_second / peer:.2f} of openssl speed",
            found.per_core_second / limit.per_core_second,
        )


@contextlib.contextmanager
def _bare_server(bits: int) -> Iterator[tuple[LoadedServer, ssl.SSLContext]]:
    ca = trustme.CA()
    with ca.issue_cert("localhost").private_key_and_cert_chain_pem.tempfile() as file:
        command = [sys.executable, "-m", "bench.keys", file, str(bits)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            tls = ssl.create_default_context()
            ca.configure_trust(tls)
            yield LoadedServer(port=port, pid=process.pid), tls
            process.terminate()


async def _serve_bare(file: str, bits: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    algorithm = utils.Prehashed(hashes.SHA256())

    async def app(_scope: server.Scope, receive: server.Receive, send: server.Send) -> None:
        given = json.loads(await server.read_body(receive, 1000))
        digest = urlsafe_b64decode(given["value"] + "==")
        signed = urlsafe_b64encode(key.sign(digest, padding.PKCS1v15(), algorithm)).decode()
        await server.respond(send, 200, json.dumps({"value": signed}).encode(), ())

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file)
    sock = server.bind("127.0.0.1", 0)
    async with server.serving(app, sock, tls):
        print(sock.getsockname()[1], flush=True)
        await asyncio.Event().wait()


def _create(port: int, tls: ssl.SSLContext, token: str, name: str, body: dict[str, object]) -> None:
    request = urllib.request.Request(
        f"https://localhost:{port}/keys/{name}/create?{_API}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Host": f"{_VAULT}.vault.azure.net"},
    )
    with urllib.request.urlopen(request, context=tls) as answer:
        answer.read()


def _head(method: str, path: str, token: str, length: int) -> bytes:
    lines = (
        f"{method} {path}?{_API} HTTP/1.1",
        f"Host: {_VAULT}.vault.azure.net",
        f"Authorization: Bearer {token}",
        f"Content-Length: {length}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _openssl(bits: int) -> float:
    """Return the signatures for each second of a core."""
    command = ["openssl", "speed", "-mr", "-seconds", "3", f"rsa{bits}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(rf"^\+F2:\d+:{bits}:([\d.]+):", said, re.MULTILINE)
    assert found, said
    return float(found[1])


if __name__ == "__main__":
    asyncio.run(_serve_bare(sys.argv[1], int(sys.argv[2])))
