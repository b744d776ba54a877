"""Look-ups of single random credentials among 1,000 and among 1,000,000, with 20 for each identity.

Each credential is looked up once, so no look-up is cached; `bench.exchange` measures whole exchanges. It runs
on SQLite, and on PostgreSQL if its programs are installed. It also measures a start with 100,000 credentials.
Run: python -m bench.lookups
"""

import asyncio
import contextlib
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from bench import rows
from bench.rows import row
from podpass import names
from podpass.database import Database
from podpass.directory import resource_ids
from podpass.directory.model import Tenant
from podpass.directory.store.directory import Directory
from podpass.directory.store.schema import federated_credentials, identities
from podpass.kubernetes.service_account.names import subject

EACH = 20
SMALL, MIDDLE, LARGE = 1_000 // EACH, 100_000 // EACH, 1_000_000 // EACH
LOOKUPS = 3_000
BATCH = 1_000
TENANT, SUBSCRIPTION = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
ISSUERS = 40
COLUMNS = {
    identities: (
        *("tenant_id", "client_id", "object_id", "name", "name_key", "kind", "enabled"),
        *("resource_id", "resource_key", "location", "created"),
    ),
    federated_credentials: (
        *("tenant_id", "client_id", "name", "issuer", "subject", "audience", "description"),
        *("id", "created"),
    ),
}
Row = Sequence[Any]


def run() -> list[dict[str, str]]:
    """Measure every size on every database and yield the rows."""
    return asyncio.run(_run())


async def _run() -> list[dict[str, str]]:
    rows = []
    async with contextlib.AsyncExitStack() as stack:
        for kind, url in _databases(stack):
            rows += await _measured(kind, url)
    return rows


def _databases(stack: contextlib.AsyncExitStack) -> Iterator[tuple[str, Any]]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podpass-bench-")))
    yield "SQLite", lambda count: f"sqlite:///{folder}/{count}.db"
    from tests import postgres

    try:
        server = stack.enter_context(postgres.running())
    except BaseException as exc:  # noqa: BLE001 - a skip of pytest is not an Exception
        print(f"PostgreSQL is not measured: {exc}", file=sys.stderr)
        return
    yield "PostgreSQL", lambda _: server.fresh()


async def _measured(kind: str, url: Any) -> list[dict[str, str]]:
    took: dict[int, float] = {}
    cpu: dict[int, float] = {}
    for count in (SMALL, LARGE):
        where = url(count)
        await fill(where, count)
        took[count], cpu[count] = await _lookups(where, count)
    where = url(MIDDLE)
    await fill(where, MIDDLE)
    start = await _start(where)
    return [
        row(
            f"{kind}: look up one of {LARGE * EACH:,} credentials, cold",
            f"{took[LARGE] * 1e6:,.0f} us ({cpu[LARGE] * 1e6:,.0f} us own)",
            f"one of {SMALL * EACH:,}: {took[SMALL] * 1e6:,.0f} us",
            took[LARGE] / took[SMALL],
        ),
        row(
            f"{kind}: open {MIDDLE * EACH:,} credentials and look one up",
            f"{start * 1e3:,.0f} ms",
            "limit: 2,000 ms",
            start / 2,
            most=1,
        ),
    ]


async def _lookups(url: str, count: int) -> tuple[float, float]:
    """Return the median wall-clock time and the mean CPU time of one look-up."""
    chosen = random.Random(5)
    wanted = [chosen.randrange(count) for _ in range(LOOKUPS)]
    took = []
    async with _opened(url) as directory:
        spent = time.process_time()
        for one in wanted:
            directory.clear_caches()
            began = time.perf_counter()
            found = await directory.find_trusting(TENANT, client_id(one), *trusted(one))
            took.append(time.perf_counter() - began)
            assert found is not None
        return statistics.median(took), (time.process_time() - spent) / LOOKUPS


async def _start(url: str) -> float:
    began = time.perf_counter()
    async with _opened(url) as directory:
        assert await directory.find_identity(TENANT, client_id(7)) is not None
        return time.perf_counter() - began


@contextlib.asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Directory]:
    async with Directory(Database(url)) as directory:
        yield directory


def client_id(number: int) -> str:
    """Return a client id: spread over the index as random ids are, and the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"client {number}"))


async def fill(url: str, count: int) -> None:
    """Insert identities and credentials directly, without the store's checks."""
    async with Database(url) as database, Directory(database) as directory:
        await directory.create_tenant(Tenant(id=TENANT))
        for begin in range(0, count, BATCH):
            numbers = range(begin, min(begin + BATCH, count))

            def step(connection: Connection, numbers: range = numbers) -> None:
                _insert(connection, identities, [_identity(number) for number in numbers])
                held = (one for number in numbers for one in _credentials(number))
                _insert(connection, federated_credentials, list(held))

            await database.write(step, seconds=60)


def _insert(connection: Connection, table: Any, rows: list[Row]) -> None:
    driver: Any = connection.connection.driver_connection
    columns = COLUMNS[table]
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(columns))
        driver.executemany(
            f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})", rows
        )
        return
    copy = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN"
    with driver.cursor() as cursor, cursor.copy(copy) as out:
        for row in rows:
            out.write_row(row)


def trusted(number: int) -> tuple[str, str]:
    """Return the issuer and subject of one of an identity's credentials."""
    _, _, _, issuer, subject, *_ = _credentials(number)[EACH // 2]
    return issuer, subject


def _identity(number: int) -> Row:
    name = f"workload-{number:06}"
    resource_id = resource_ids.identity_id(SUBSCRIPTION, "bench", name)
    object_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"object {number}"))
    ids = (TENANT, client_id(number), object_id, name, name, "managed-identity", True)
    return (*ids, resource_id, resource_id.lower(), "eastus", 1.0)


def _credentials(number: int) -> list[Row]:
    owner = client_id(number)
    issuer = f"https://eastus.oic.prod-aks.azure.com/{TENANT}/{uuid.UUID(int=number % ISSUERS)}/"
    return [
        (
            *(TENANT, owner, f"credential-{each}", issuer),
            subject(f"namespace-{each}", f"workload-{number:06}"),
            *(names.EXCHANGE_AUDIENCE, "", str(uuid.UUID(int=number * EACH + each)), 1.0),
        )
        for each in range(EACH)
    ]


def main() -> int:
    """Measure and print the rows; return 1 if a row misses its target."""
    return 1 if rows.print_rows(asyncio.run(_run())) else 0


if __name__ == "__main__":
    sys.exit(main())
