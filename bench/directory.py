"""The directory with 1,000 and with 100,000 identities, each with 5 federated credentials.

Each operation on the larger directory is compared with the same operation on the smaller one in the same run,
so the ratio shows the effect of the size. The databases are SQLite with full sync. Run: python -m
bench.directory
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from podpass.database import Database
from podpass.directory import resource_ids
from podpass.directory.model import FederatedCredential, Identity, IdentityKind, Tenant
from podpass.directory.store.directory import Directory
from podpass.directory.store.identities import Condition

SMALL, LARGE = 1_000, 100_000
CREDENTIALS = 5
PAGE = 100
BATCH = 2_000
SINGLES = 300
LOOKUPS = 500
TENANT, SUBSCRIPTION = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
GROUP = resource_ids.group_id(SUBSCRIPTION, "bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFigures:
    """The seconds of each operation, and the size of memory and database."""

    bulk: float
    single: float
    first: float
    middle: float
    last: float
    by_name: float
    by_group: float
    cold: float
    cached: float
    size: float
    memory: float


def run() -> list[dict[str, str]]:
    """Measure both sizes, each in a separate process to separate their memory."""
    small, large = _measured(SMALL), _measured(LARGE)
    rows = [
        _rate("create one identity with 5 credentials", small.single, large.single),
        _rate("create identities, 2,000 a transaction", small.bulk, large.bulk),
        _time("list 100, first page", small.first, large.first),
        _time("list 100, middle page", small.middle, large.middle),
        _time("list 100, last page", small.last, large.last),
        _time("list 100 by prefix of the name", small.by_name, large.by_name),
        _time("list 100 of a resource group", small.by_group, large.by_group),
        _time("look up by client id, cold", small.cold, large.cold),
        _time("look up by client id, cached", small.cached, large.cached),
    ]
    for name, unit, one, other in (
        ("memory of the process", "MB", small.memory, large.memory),
        ("database an identity", "kB", small.size * 1024 / SMALL, large.size * 1024 / LARGE),
    ):
        rows.append(
            {
                "name": f"{name}, {LARGE:,}",
                "value": f"{other:.1f} {unit}",
                "peer": f"{SMALL:,}: {one:.1f} {unit}",
                "ratio": f"{other / one:.2f}",
            }
        )
    return rows


def _time(name: str, small: float, large: float) -> dict[str, str]:
    return {
        "name": f"{name}, {LARGE:,}",
        "value": f"{large * 1e6:,.1f} us",
        "peer": f"{SMALL:,}: {small * 1e6:,.1f} us",
        "ratio": f"{large / small:.2f}",
    }


def _rate(name: str, small: float, large: float) -> dict[str, str]:
    return {
        "name": f"{name}, at {LARGE:,}",
        "value": f"{1 / large:,.0f}/s",
        "peer": f"at {SMALL:,}: {1 / small:,.0f}/s",
        "ratio": f"{large / small:.2f}",
    }


def _measured(count: int) -> DirectoryFigures:
    with tempfile.TemporaryDirectory() as folder:
        out = subprocess.run(
            [sys.executable, "-m", "bench.directory", "measure", folder, str(count)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return DirectoryFigures(**{name: float(value) for name, _, value in _lines(out)})


def _lines(out: str) -> list[tuple[str, str, str]]:
    return [line.partition(" ") for line in out.splitlines()]


def _identity(number: int) -> Identity:
    name = f"workload-{number:06}"
    return Identity(
        tenant_id=TENANT,
        # The ids are spread over the index as random ids are, and the same in every run.
        client_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"client {number}")),
        object_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"object {number}")),
        name=name,
        kind=IdentityKind.MANAGED_IDENTITY,
        resource_id=resource_ids.identity_id(SUBSCRIPTION, "bench", name),
        location="eastus",
        credentials=tuple(
            FederatedCredential(
                name=f"credential-{each}",
                issuer="https://eastus.oic.prod-aks.azure.com/tenant/cluster/",
                subject=f"system:serviceaccount:namespace-{each}:{name}",
                audiences=("api://AzureADTokenExchange",),
            )
            for each in range(CREDENTIALS)
        ),
    )


async def _measure(folder: Path, count: int) -> None:
    path = folder / "directory.db"
    async with Directory(Database(f"sqlite:///{path}")) as directory:
        await directory.create_tenant(Tenant(id=TENANT))
        print("bulk", await _fill(directory, count))
        print("single", await _singles(directory, count))
        await _pages(directory)
        await _lookups(directory, count)
    print("size", path.stat().st_size / 2**20)
    print("memory", _resident() / 2**20)


async def _fill(directory: Directory, count: int) -> float:
    spent = 0.0
    for begin in range(0, count, BATCH):
        batch = [_identity(number) for number in range(begin, min(begin + BATCH, count))]
        began = time.perf_counter()
        await directory.identities.put_many(batch)
        spent += time.perf_counter() - began
    return spent / count


async def _singles(directory: Directory, count: int) -> float:
    """Measure single creations, each on the disk before the next one starts."""
    made = [_identity(count + number) for number in range(SINGLES)]
    began = time.perf_counter()
    for identity in made:
        await directory.identities.put(identity)
    return (time.perf_counter() - began) / SINGLES


async def _pages(directory: Directory) -> None:
    """Read all pages to find where they begin, then measure three of them."""
    begins: list[str | None] = [None]
    while True:
        page = await directory.identities.page(TENANT, after=begins[-1], limit=PAGE)
        if len(page) < PAGE:
            break
        begins.append(page[-1].client_id)

    async def page_at(place: int) -> None:
        await directory.identities.page(TENANT, after=begins[place], limit=PAGE)

    last = len(begins) - 2
    for name, place in (("first", 0), ("middle", last // 2), ("last", last)):
        print(name, await _median(lambda place=place: page_at(place)))  # type: ignore[misc]
    named = (Condition(field="name", op="startswith", value="workload-0009"),)
    print(
        "by_name",
        await _median(lambda: directory.identities.page(TENANT, where=named, limit=PAGE)),
    )
    print(
        "by_group",
        await _median(lambda: directory.identities.page(TENANT, group=GROUP, limit=PAGE)),
    )


async def _lookups(directory: Directory, count: int) -> None:
    step = max(1, count // LOOKUPS)
    ids = [_identity(number).client_id for number in range(0, count, step)][:LOOKUPS]
    for name in ("cold", "cached"):
        took = []
        for client_id in ids:
            began = time.perf_counter()
            found = await directory.find_identity(TENANT, client_id)
            took.append(time.perf_counter() - began)
            assert found is not None
            assert len(found.credentials) == CREDENTIALS
        print(name, statistics.median(took))


async def _median(ask: Callable[[], Awaitable[object]]) -> float:
    took = []
    for _ in range(21):
        began = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _resident() -> int:
    fields = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()
    return int(fields[0]) * 1024


def main() -> None:
    """Print the rows, or measure one size in a child process."""
    if sys.argv[1:2] == ["measure"]:
        asyncio.run(_measure(Path(sys.argv[2]), int(sys.argv[3])))
        return
    for row in run():
        print(f"{row['name']:60} {row['value']:>16} {row['peer']:>24} {row['ratio']:>6}")


if __name__ == "__main__":
    main()
