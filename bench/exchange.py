"""The token service over TLS, compared with the RSA limit of its cores; all rows are of one run.

An exchange verifies one RS256 signature and makes one. So 1 / (1/sign + 1/verify), as `openssl speed`
measures it on a core in the same run, is the limit of a server that makes one signature after the other; the
multi-buffer library, if it is installed, makes several at once. Both values are per CPU second, so other
programs of the machine do not count. No assertion is sent twice within a measurement, unless the row says so.

The load generator needs CPU time too. One worker has the first core and the load generator the last; with as
many workers as cores the load generator shares the cores. So N workers are compared with one by the CPU time
that was available to them: what they used of their cores plus what stayed idle there. A worker that sleeps or
waits for another worker causes idle time, which counts. The time of the load generator and of other programs
does not count; a row shows it.
Run: python -m bench.exchange
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

from sqlalchemy import Connection, text

from bench import authority, batches, lookups, rows, token_requests
from bench.rows import Row, row
from bench.token_load import (
    CONNECTIONS,
    SECONDS,
    LoadTarget,
    TokenLoad,
    drive,
    drive_new_connections,
    memory_mb,
)
from podpass.crypto.multibuffer import library
from podpass.database import Database
from podpass.kubernetes.service_account.names import USERNAME_PREFIX, subject
from tests.soak.issuer import IssuerProcess

_ALONE = ("--multibuffer", "none")
POOL = 32_000  # more than are sent during warm-up and measurement
# Identities that send requests among 1,000,000 credentials: more than the requests, so none sends two.
READERS = 8_000
# Identities whose 20 credentials are all flexible: 10,000 expressions.
FLEXIBLE = 500


def run() -> Iterator[Row]:
    """Measure at full load, half load, on all cores, during a flood, and among many credentials."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    try:
        with tempfile.TemporaryDirectory(prefix="podpass-bench-") as name:
            folder = Path(name)
            with authority.run_issuer(folder) as issuer:
                requests = [token_requests.token_request(issuer, number) for number in range(POOL)]
                yield from _measure_one_core(folder, requests, cores)
                yield from batches.run()
                yield from _measure_openssl(folder, requests, cores[0])
                yield from _measure_many_identities(folder, issuer, cores[0])
                yield measure_expressions(folder, issuer, cores[0])
    finally:
        os.sched_setaffinity(0, cores)


def _measure_one_core(
    folder: Path, requests: Sequence[bytes], cores: Sequence[int]
) -> Iterator[Row]:
    with authority.run_authority(folder, cores[:1]) as target:
        before = _limit(cores[0])
        full = drive(target, requests)
        limit = (before + _limit(cores[0])) / 2
        yield row(
            f"exchange, one core, TLS, {CONNECTIONS} connections, signed by {_signer_name()}",
            f"{full.per_core_second:,.0f}/s",
            f"RSA alone {limit:,.0f}/s",
            full.per_core_second / limit,
            least=0.7,
        )
        yield row("exchange at full load, p50 and p99", _latency(full), "", None)
        pause = 2 * CONNECTIONS / full.per_core_second
        half = drive(target, requests, pause=pause)
        yield row(
            f"exchange at {half.rate:,.0f}/s, half load, p50 and p99",
            _latency(half),
            "p99 target 10 ms",
            half.quantile_ms(99) / 10,
            most=1,
        )
        yield from _measure_during_flood(folder, target, requests, pause, half)
        new_connections = drive_new_connections(target, requests)
        yield row(
            "exchange, a new connection and handshake for each",
            f"{new_connections.per_core_second:,.0f}/s",
            f"kept: {full.per_core_second:,.0f}/s",
            new_connections.per_core_second / full.per_core_second,
        )
        yield row("exchange, memory of a worker", f"{memory_mb(target.pids[0]):.0f} MB", "", None)
    yield from _measure_all_cores(folder, requests, cores, full)


def _signer_name() -> str:
    try:
        return Path(library.find_library().file).name
    except library.MultiBufferUnusable:
        return "OpenSSL"


def _measure_openssl(folder: Path, requests: Sequence[bytes], core: int) -> Iterator[Row]:
    """Measure without the multi-buffer library, and as on a processor without AVX-512 IFMA.

    Yields no rows without the library, because the other rows then already use OpenSSL alone.
    """
    fast = _limit(core)
    # Hide bit 21 of CPUID leaf 7's EBX from OpenSSL in the child processes: it halves the time of RSA.
    with patch.dict(os.environ, OPENSSL_ia32cap=":~0x200000"):
        before = _limit(core)
        if before > 0.8 * fast:
            return
        with authority.run_authority(folder, [core], flags=_ALONE) as target:
            full = drive(target, requests)
        slow = (before + _limit(core)) / 2
    fast = _limit(core)
    with authority.run_authority(folder, [core], flags=_ALONE) as target:
        alone = drive(target, requests)
    limit = (fast + _limit(core)) / 2
    yield row(
        "exchange, one core, signed by OpenSSL alone",
        f"{alone.per_core_second:,.0f}/s",
        f"RSA alone {limit:,.0f}/s",
        alone.per_core_second / limit,
    )
    yield row(
        "the same on a processor without AVX-512 IFMA",
        f"{full.per_core_second:,.0f}/s",
        f"RSA alone {slow:,.0f}/s",
        full.per_core_second / slow,
        least=0.7,
    )


def _measure_all_cores(
    folder: Path, requests: Sequence[bytes], cores: Sequence[int], one: TokenLoad
) -> Iterator[Row]:
    mine = os.sched_getaffinity(0)
    with authority.run_authority(folder, cores) as target:
        os.sched_setaffinity(0, cores)
        several = drive(target, requests)
        os.sched_setaffinity(0, mine)
    count = len(cores)
    yield row(
        f"exchange, {count} workers on {count} cores, per available second",
        f"{several.per_available_second:,.0f}/s",
        f"one worker: {one.per_available_second:,.0f}/s",
        several.per_available_second / one.per_available_second,
        least=0.9,
    )
    yield row(
        "the same per second of wall-clock time, shared with the load generator and others",
        f"{several.rate:,.0f}/s of {count} cores",
        f"one worker: {one.rate:,.0f}/s of 1 core",
        several.rate / one.rate,
    )
    for name, load, cores_used in (("one worker", one, 1), (f"{count} workers", several, count)):
        whole = load.seconds * cores_used
        yield row(
            f"  cores of {name}: used, idle; core of the load generator",
            f"{load.cpu_seconds / whole:.0%}, {load.idle / whole:.0%} idle",
            f"load: {load.own / load.seconds:.0%} of a core",
            None,
        )
    yield row(
        "exchange, smallest share of one of these workers",
        f"{several.smallest_share / count:.0%}",
        f"an equal share: {1 / count:.0%}",
        several.smallest_share,
        least=0.6,  # other programs use unequal shares too
    )


def _measure_during_flood(
    folder: Path, target: LoadTarget, requests: Sequence[bytes], pause: float, calm: TokenLoad
) -> Iterator[Row]:
    # At a lower priority than the well-behaved clients on the same core: only the server is measured.
    command = [
        "nice",
        sys.executable,
        "-m",
        "bench.flood",
        str(target.port),
        str(folder / "ca.pem"),
    ]
    with subprocess.Popen(command) as flood:
        try:
            load = drive(target, requests, pause=pause)
        finally:
            flood.terminate()
    yield row(
        "p99 of well-behaved clients in a flood of bad requests",
        f"{load.quantile_ms(99):.1f} ms",
        f"without: {calm.quantile_ms(99):.1f} ms",
        load.quantile_ms(99) / calm.quantile_ms(99),
        most=2,
    )


def _measure_many_identities(folder: Path, issuer: IssuerProcess, core: int) -> Iterator[Row]:
    """Request tokens for random identities: few, which are all cached, then more than the cache holds."""
    found: dict[int, TokenLoad] = {}
    memory: dict[int, float] = {}
    for count in (lookups.SMALL, lookups.LARGE):
        url = f"sqlite:///{folder / f'{count}.db'}"
        asyncio.run(_fill(url, count, issuer.url()))
        askers = min(count, READERS)
        requests = [
            token_requests.token_request(
                issuer, number, lookups.client_id(number * count // askers % count)
            )
            for number in range(READERS)
        ]
        with authority.run_authority(folder, [core], url) as target:
            found[count] = drive(target, requests, pause=0.02)
            memory[count] = memory_mb(target.pids[0])
    small, large = found[lookups.SMALL], found[lookups.LARGE]
    yield row(
        f"exchange among {lookups.LARGE * lookups.EACH:,} credentials, none cached, p50",
        f"{large.quantile_ms(50):.2f} ms",
        f"{lookups.SMALL * lookups.EACH:,}: {small.quantile_ms(50):.2f} ms",
        large.quantile_ms(50) / small.quantile_ms(50),
        most=1.2,
    )
    yield row(
        "memory of its worker",
        f"{memory[lookups.LARGE]:.0f} MB",
        f"{memory[lookups.SMALL]:.0f} MB",
        memory[lookups.LARGE] / memory[lookups.SMALL],
    )


def measure_expressions(folder: Path, issuer: IssuerProcess, core: int) -> Row:
    """Compare exact credentials with identities of 20 expressions, of which only the last one matches."""
    requests = [
        token_requests.token_request(issuer, number, lookups.client_id(number % FLEXIBLE))
        for number in range(POOL)
    ]
    urls = {kind: f"sqlite:///{folder / f'{kind}.db'}" for kind in ("exact", "flexible")}
    asyncio.run(_fill(urls["exact"], FLEXIBLE, issuer.url()))
    asyncio.run(_fill(urls["flexible"], FLEXIBLE, issuer.url(), is_flexible=True))
    flags = ("--flexible-kubernetes", issuer.url())
    spent: dict[str, float] = {}
    for kind, url in [*urls.items()] * 2:  # the faster of two: other programs share the caches
        with authority.run_authority(folder, [core], url, flags) as target:
            seconds = 1 / drive(target, requests).per_core_second
            spent[kind] = min(seconds, spent.get(kind, seconds))
    return row(
        f"exchange among {FLEXIBLE * lookups.EACH:,} flexible credentials, CPU time",
        f"{spent['flexible'] * 1e6:,.0f} us",
        f"exact: {spent['exact'] * 1e6:,.0f} us",
        spent["flexible"] / spent["exact"],
        most=1.2,
    )


async def _fill(url: str, count: int, issuer: str, *, is_flexible: bool = False) -> None:
    """Change the credentials of each identity so that one trusts the running issuer.

    With `is_flexible`, each credential has its own expression for this issuer. Only the expression that is
    compared last matches.
    """
    await lookups.fill(url, count)
    changes = ["SET issuer = :issuer, subject = :subject WHERE name = 'credential-0'"]
    wanted = subject("default", "web")
    if is_flexible:
        changes = [
            "SET issuer = :issuer, is_flexible = 1, subject = :head || client_id || name || :tail",
            f"SET subject = :subject WHERE name = 'credential-{lookups.EACH // 2 - 1}'",
        ]
        wanted = f"claims['sub'] matches '{subject('default', 'w*')}'"
    values = {
        "issuer": issuer,
        "subject": wanted,
        "head": f"claims['sub'] matches '{USERNAME_PREFIX}env-",
        "tail": "-*:web'",
    }

    def step(connection: Connection) -> None:
        for change in changes:
            connection.execute(text(f"UPDATE federated_credentials {change}"), values)

    async with Database(url) as database:
        await database.write(step, seconds=60)


def _latency(load: TokenLoad) -> str:
    return f"{load.quantile_ms(50):.1f} / {load.quantile_ms(99):.1f} ms"


def _limit(core: int) -> float:
    """Measure with OpenSSL how often a core can sign and verify."""
    out = subprocess.run(
        ["openssl", "speed", "-seconds", "2", "-mr", "rsa2048"],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    ).stdout
    # The machine-readable output: the columns of the other output differ between releases.
    found = re.search(r"^\+F2:\d+:2048:([\d.]+):([\d.]+)", out, re.MULTILINE)
    assert found is not None, "the output of openssl speed has another format"
    sign, verify = float(found[1]), float(found[2])
    return 1 / (1 / sign + 1 / verify)


def main() -> int:
    """Measure and print the rows; return 1 if a row misses its target."""
    print(f"measured for {SECONDS:.0f} s each")
    return 1 if rows.print_rows(run()) else 0


if __name__ == "__main__":
    sys.exit(main())
