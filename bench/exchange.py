"""The token service over TLS, beside what RSA allows its cores; all rows of one run.

An exchange checks one RS256 signature and makes one, so 1 / (1/sign + 1/verify) of a core, as `openssl
speed` measures it in the same run, is the ceiling of a server that makes one after the other; the
multi-buffer library, where there is one, makes several at once. Both sides are counted by processor time,
so that other programs of the machine do not count. No assertion is sent twice within the time in which it
is measured, or the row says so.

The load needs a core too. One worker has the first core and the load the last; with as many workers as
cores the load shares them. So N workers are compared with one by the time that was theirs to use: what they
used of their cores, and what stayed idle there. A worker that sleeps, or waits for another, costs idle time
and so shows; what the load and other programs take does not count, and is told beside.
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

from bench import authority, batches, lookups, rows, wanted
from bench.asking import CONNECTIONS, SECONDS, Load, Target, drive, drive_anew, memory_mb
from bench.rows import Row, row
from podpass import names
from podpass.crypto.multibuffer import library
from podpass.database import Database
from tests.soak.issuer import Issuer

_ALONE = ("--multibuffer", "none")
POOL = 32_000  # more than are answered while it gets warm and is measured
# Identities that ask among 1,000,000 credentials: more than requests are answered, so none asks twice.
READERS = 8_000


def run() -> Iterator[Row]:
    """Measure the exchange: at full load, at half, on all cores, in a flood, and among many credentials."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    try:
        with tempfile.TemporaryDirectory(prefix="podpass-bench-") as name:
            folder = Path(name)
            with authority.issuing(folder) as issuer:
                requests = [wanted.request(issuer, number) for number in range(POOL)]
                yield from _one_core(folder, requests, cores)
                yield from batches.run()
                yield from _by_openssl(folder, requests, cores[0])
                yield from _many(folder, issuer, cores[0])
    finally:
        os.sched_setaffinity(0, cores)


def _one_core(folder: Path, requests: Sequence[bytes], cores: Sequence[int]) -> Iterator[Row]:
    with authority.serving(folder, cores[:1]) as target:
        before = _limit(cores[0])
        full = drive(target, requests)
        limit = (before + _limit(cores[0])) / 2
        yield row(
            f"exchange, one core, TLS, {CONNECTIONS} connections, signed by {_signs()}",
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
        yield from _flooded(folder, target, requests, pause, half)
        anew = drive_anew(target, requests)
        yield row(
            "exchange, a new connection and handshake for each",
            f"{anew.per_core_second:,.0f}/s",
            f"kept: {full.per_core_second:,.0f}/s",
            anew.per_core_second / full.per_core_second,
        )
        yield row("exchange, memory of a worker", f"{memory_mb(target.pids[0]):.0f} MB", "", None)
    yield from _all_cores(folder, requests, cores, full)


def _signs() -> str:
    try:
        return Path(library.find().file).name
    except library.Unusable:
        return "OpenSSL"


def _by_openssl(folder: Path, requests: Sequence[bytes], core: int) -> Iterator[Row]:
    """Ask a service that has no multi-buffer library, and as if the processor had no AVX-512 IFMA.

    Nothing where it has none: what came before was by OpenSSL alone already.
    """
    fast = _limit(core)
    # Bit 21 of CPUID leaf 7's EBX, hidden from the OpenSSL of what is started: it halves the time of its RSA.
    with patch.dict(os.environ, OPENSSL_ia32cap=":~0x200000"):
        before = _limit(core)
        if before > 0.8 * fast:
            return
        with authority.serving(folder, [core], flags=_ALONE) as target:
            full = drive(target, requests)
        slow = (before + _limit(core)) / 2
    fast = _limit(core)
    with authority.serving(folder, [core], flags=_ALONE) as target:
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


def _all_cores(
    folder: Path, requests: Sequence[bytes], cores: Sequence[int], one: Load
) -> Iterator[Row]:
    mine = os.sched_getaffinity(0)
    with authority.serving(folder, cores) as target:
        os.sched_setaffinity(0, cores)
        several = drive(target, requests)
        os.sched_setaffinity(0, mine)
    count = len(cores)
    yield row(
        f"exchange, {count} workers on {count} cores, a second left to them",
        f"{several.per_left_second:,.0f}/s",
        f"one worker: {one.per_left_second:,.0f}/s",
        several.per_left_second / one.per_left_second,
        least=0.9,
    )
    yield row(
        "in a second of the clock; load and other programs have what is missing",
        f"{several.rate:,.0f}/s of {count} cores",
        f"one worker: {one.rate:,.0f}/s of 1 core",
        several.rate / one.rate,
    )
    for name, load, cores_used in (("one worker", one, 1), (f"{count} workers", several, count)):
        whole = load.seconds * cores_used
        yield row(
            f"  of the cores of {name}: used, idle; the load's own core",
            f"{load.spent / whole:.0%}, {load.idle / whole:.0%} idle",
            f"load: {load.own / load.seconds:.0%} of a core",
            None,
        )
    yield row(
        "exchange, least share of one of these workers",
        f"{several.least_share / count:.0%}",
        f"an equal part: {1 / count:.0%}",
        several.least_share,
        least=0.6,  # other programs take unequal parts too
    )


def _flooded(
    folder: Path, target: Target, requests: Sequence[bytes], pause: float, calm: Load
) -> Iterator[Row]:
    # Behind the good clients, with whom it shares a core: what is measured is the server.
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
        "p99 of good clients in a flood of bad requests",
        f"{load.quantile_ms(99):.1f} ms",
        f"without: {calm.quantile_ms(99):.1f} ms",
        load.quantile_ms(99) / calm.quantile_ms(99),
        most=2,
    )


def _many(folder: Path, issuer: Issuer, core: int) -> Iterator[Row]:
    """Ask for identities at random: few that are kept in memory, then more than are."""
    found: dict[int, Load] = {}
    memory: dict[int, float] = {}
    for count in (lookups.SMALL, lookups.LARGE):
        url = f"sqlite:///{folder / f'{count}.db'}"
        asyncio.run(_fill(url, count, issuer.url()))
        askers = min(count, READERS)
        requests = [
            wanted.request(issuer, number, lookups.client_id(number * count // askers % count))
            for number in range(READERS)
        ]
        with authority.serving(folder, [core], url) as target:
            found[count] = drive(target, requests, pause=0.02)
            memory[count] = memory_mb(target.pids[0])
    small, large = found[lookups.SMALL], found[lookups.LARGE]
    yield row(
        f"exchange among {lookups.LARGE * lookups.EACH:,} credentials, none kept in memory, p50",
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


async def _fill(url: str, count: int, issuer: str) -> None:
    """Let one credential of each identity trust the issuer that is there."""
    await lookups.fill(url, count)
    changed = text(
        "UPDATE federated_credentials SET issuer = :issuer, subject = :subject"
        " WHERE name = 'credential-0'"
    )
    values = {"issuer": issuer, "subject": names.subject("default", "web")}

    def step(connection: Connection) -> None:
        connection.execute(changed, values)

    async with Database(url) as database:
        await database.write(step, seconds=60)


def _latency(load: Load) -> str:
    return f"{load.quantile_ms(50):.1f} / {load.quantile_ms(99):.1f} ms"


def _limit(core: int) -> float:
    """Ask OpenSSL how often a core can sign and check."""
    out = subprocess.run(
        ["openssl", "speed", "-seconds", "2", "-mr", "rsa2048"],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    ).stdout
    # For programs: what is printed for people has other columns with each release.
    found = re.search(r"^\+F2:\d+:2048:([\d.]+):([\d.]+)", out, re.MULTILINE)
    assert found is not None, "openssl speed answered something else"
    sign, verify = float(found[1]), float(found[2])
    return 1 / (1 / sign + 1 / verify)


def main() -> int:
    """Print the rows; 1 when one misses what it has to reach."""
    print(f"measured for {SECONDS:.0f} s each")
    return 1 if rows.tell(run()) else 0


if __name__ == "__main__":
    sys.exit(main())
