"""The token service alone on one core, over TLS, beside what RSA allows that core.

An exchange checks one RS256 signature and makes one, so 1 / (1/sign + 1/verify) of the core is the ceiling
of any server. Assertions are signed beforehand and none is sent twice within a pool; the load comes from
another core. Both sides are counted by processor time, so that other programs of the machine do not count.
Run: python -m bench.exchange
"""

import asyncio
import os
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

import trustme
import uvloop

from podpass import clock, log, names, serve
from podpass.assertion import app as issuer_app
from podpass.assertion import mint
from podpass.assertion.keys import KeyRing
from podpass.directory.model import FederatedCredential, Identity, Tenant
from podpass.directory.store import Directory
from podpass.exchange.app import create_app
from podpass.exchange.keys import AuthorityKeys
from podpass.fetch import Fetcher, FetchRules
from podpass.settings import AuthoritySettings

CONNECTIONS = 16
SECONDS = 5.0
POOL = 2000
TENANT, CLIENT = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
ISSUER = "https://eastus.oic.test/bench/"


def run() -> list[dict[str, str]]:
    """Measure the exchange, at full load and at half."""
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = cores[0], cores[-1]
    os.sched_setaffinity(0, {theirs})
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _measure(Path(folder), ours)
    finally:
        os.sched_setaffinity(0, cores)


def _measure(folder: Path, core: int) -> list[dict[str, str]]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("localhost", "eastus.oic.test"):
        ca.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    requests = _requests(KeyRing.open(folder / "issuer"))
    with subprocess.Popen(
        [sys.executable, "-m", "bench.exchange", "serve", folder, str(core)],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            before = _limit(core)
            full = _drive(folder, port, requests, pause=0.0, server=server.pid)
            limit = (before + _limit(core)) / 2
            half = _drive(
                folder, port, requests, pause=2 * CONNECTIONS / full.rate, server=server.pid
            )
        finally:
            server.terminate()
    return [
        {
            "name": f"exchange, one core, TLS, {CONNECTIONS} connections",
            "value": f"{full.per_core_second:,.0f}/s",
            "peer": f"RSA alone {limit:,.0f}/s",
            "ratio": f"{full.per_core_second / limit:.2f}",
        },
        _latency("exchange at full load, p50 and p99", full, 10.0),
        _latency(f"exchange at {half.rate:,.0f}/s, p50 and p99", half, 10.0),
    ]


def _latency(name: str, load: "Load", target_ms: float) -> dict[str, str]:
    p50, p99 = load.quantile_ms(50), load.quantile_ms(99)
    return {
        "name": name,
        "value": f"{p50:.1f} / {p99:.1f} ms",
        "peer": f"p99 target {target_ms:.0f} ms",
        "ratio": f"{p99 / target_ms:.2f}",
    }


def _limit(core: int) -> float:
    """Ask OpenSSL how often a core can sign and check."""
    out = subprocess.run(
        ["openssl", "speed", "-seconds", "2", "rsa2048"],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    ).stdout
    found = re.search(r"rsa 2048 bits +\S+ +\S+ +(\S+) +(\S+)", out)
    assert found is not None, "openssl speed answered something else"
    sign, verify = float(found[1]), float(found[2])
    return 1 / (1 / sign + 1 / verify)


def _requests(ring: KeyRing) -> list[bytes]:
    return [_request(ring, number) for number in range(POOL)]


def _request(ring: KeyRing, number: int) -> bytes:
    claims = mint.claims(
        issuer=ISSUER,
        namespace="default",
        account=mint.Ref(name="web", uid=str(uuid.uuid4())),
        audiences=[names.EXCHANGE_AUDIENCE],
        seconds=3600,
        now=time.time(),
        jti=str(uuid.UUID(int=number)),
        pod=mint.Ref(name="web-5d9c7b8f6c-x2x7q", uid=str(uuid.uuid4())),
        node=mint.Ref(name="node-1", uid=str(uuid.uuid4())),
    )
    form = {
        "client_assertion": mint.mint(ring, claims),
        "client_assertion_type": names.JWT_BEARER,
        "client_id": CLIENT,
        "grant_type": "client_credentials",
        "scope": "https://vault.azure.net/.default",
    }
    body = urlencode(form).encode()
    head = (
        f"POST /{TENANT}/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
        "User-Agent: azsdk-python-identity/1.27.0 Python/3.11.2 (Linux)\r\n"
        f"x-ms-client-request-id: {uuid.uuid4()}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Load:
    """What a run of the generator saw."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.began = time.perf_counter()
        self.ended = self.began
        self.server_seconds = 0.0

    @property
    def rate(self) -> float:
        return len(self.took) / (self.ended - self.began)

    @property
    def per_core_second(self) -> float:
        """Count answers by the server's own time on its core, as `openssl speed` counts."""
        return len(self.took) / self.server_seconds

    def quantile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.took, n=100)[percent - 1] * 1000


class _Client(asyncio.Protocol):
    """One keep-alive connection that sends, waits for the whole answer, pauses, and sends again."""

    def __init__(self, load: Load, requests: list[bytes], index: int, pause: float) -> None:
        self._load, self._requests, self._pause = load, requests, pause
        self._index = index
        self._sent = 0.0
        self._buffer = b""
        self.stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        loop.call_later(self._pause * self._index / CONNECTIONS, self._send)

    def _send(self) -> None:
        if self.stopped:
            return
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._index % len(self._requests)])
        self._index += CONNECTIONS

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        if len(body) < int(length[1]):
            return
        assert head.startswith(b"HTTP/1.1 200 "), body
        self._buffer = b""
        now = time.perf_counter()
        self._load.took.append(now - self._sent)
        rest = self._pause - (now - self._sent)
        if rest > 0:
            asyncio.get_running_loop().call_later(rest, self._send)
        else:
            self._send()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _drive(folder: Path, port: int, requests: list[bytes], *, pause: float, server: int) -> Load:
    async def drive() -> Load:
        trust = ssl.create_default_context(cafile=folder / "ca.pem")
        load = Load()
        loop = asyncio.get_running_loop()
        clients = [
            (
                await loop.create_connection(
                    lambda n=index: _Client(load, requests, n, pause),  # type: ignore[misc]
                    "127.0.0.1",
                    port,
                    ssl=trust,
                    server_hostname="localhost",
                )
            )
            for index in range(CONNECTIONS)
        ]
        await asyncio.sleep(1.0)
        load.took.clear()
        load.began, before = time.perf_counter(), _cpu_seconds(server)
        await asyncio.sleep(SECONDS)
        load.ended, load.server_seconds = time.perf_counter(), _cpu_seconds(server) - before
        for transport, client in clients:
            client.stopped = True
            transport.close()
        return load

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(drive())


async def _serve(folder: Path) -> None:
    log.configure(file=folder / "podpass.log")
    async with AsyncExitStack() as stack:
        directory = await stack.enter_async_context(
            Directory(f"sqlite:///{folder / 'directory.db'}")
        )
        await directory.create_tenant(Tenant(id=TENANT, display_name="Bench"))
        credential = FederatedCredential(
            name="web",
            issuer=ISSUER,
            subject=names.subject("default", "web"),
            audiences=(names.EXCHANGE_AUDIENCE,),
        )
        await directory.identities.put(
            Identity(
                tenant_id=TENANT,
                client_id=CLIENT,
                object_id=str(uuid.UUID(int=3)),
                name="web",
                resource_id="/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity"
                "/userAssignedIdentities/web",
                credentials=(credential,),
            )
        )
        ring = KeyRing.open(folder / "issuer")
        issuer = await _listen(
            stack, folder, issuer_app.create_app(ISSUER, ring), "eastus.oic.test"
        )
        hosts = {"eastus.oic.test": ("127.0.0.1", issuer)}
        app = create_app(
            AuthoritySettings(),
            directory,
            Fetcher(FetchRules(hosts=hosts, ca_file=folder / "ca.pem")),
            AuthorityKeys.open(folder / "authority"),
            clock.system,
        )
        print(await _listen(stack, folder, app, "localhost"), flush=True)
        if profile := os.environ.get("BENCH_PROFILE"):
            await _profiled(profile)
        await asyncio.Event().wait()


async def _profiled(path: str) -> None:
    import cProfile

    profiler = cProfile.Profile()
    await asyncio.sleep(6)
    profiler.enable()
    await asyncio.sleep(3)
    profiler.disable()
    profiler.dump_stats(path)


async def _listen(stack: AsyncExitStack, folder: Path, app: serve.App, name: str) -> int:
    sock = serve.bind("127.0.0.1", 0)
    pem = str(folder / f"{name}.pem")
    await stack.enter_async_context(serve.serving(app, sock, serve.server_tls(pem, pem)))
    return int(sock.getsockname()[1])


def main() -> None:
    """Print the rows, or be the server of a run."""
    if sys.argv[1:2] == ["serve"]:
        os.sched_setaffinity(0, {int(sys.argv[3])})
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(Path(sys.argv[2])))
        return
    for row in run():
        print(f"{row['name']:52} {row['value']:>20} {row['peer']:>24} {row['ratio']:>6}")


if __name__ == "__main__":
    main()
