"""The vault's keys: signatures through TLS, against those of `openssl speed` in the same run.

    python -m bench keys

The ratio counts the processor time of the instance, so other programs on the machine do not count.
"""

import asyncio
import json
import re
import ssl
import subprocess
import tempfile
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

from bench.load import LoadedServer, run_load
from bench.rows import Row, row
from podpass.lab.data.datadir import DataDir, load_config
from podpass.lab.data.lock import lock_holder
from podpass.pytest.instance import Podpass

SECONDS, CONNECTIONS = 5.0, 4
# The least ratio by bits. A signature with RSA 2048 takes an eighth of its request, and has no target.
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
    server = LoadedServer(port=port, pid=pid)
    for bits, least in LEAST.items():
        name = f"rsa-{bits}"
        _create(port, tls, token, name, {"kty": "RSA", "key_size": bits})
        body = json.dumps({"alg": "RS256", "value": urlsafe_b64encode(bytes(32)).decode()})
        request = _head("POST", f"/keys/{name}//sign", token, len(body)) + body.encode()
        load = run_load(request, server, tls, connections=CONNECTIONS, seconds=SECONDS)
        found = asyncio.run(load)
        peer = _openssl(bits)
        yield row(
            f"vault: RS256 with RSA {bits} through TLS, for each second of a core",
            f"{found.per_core_second:.0f}/s, p99 {found.p99_ms:.1f} ms",
            f"openssl speed {peer:.0f}/s",
            found.per_core_second / peer,
            least=least,
        )


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
