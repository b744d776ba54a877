"""A real `podpass authority` to be measured, each of its workers on a core of its own, and what it needs."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme

from bench.asking import Target
from bench.wanted import ACCOUNT, CLIENT, TENANT
from podpass import names
from podpass.database import Database
from podpass.directory.model import FederatedCredential, Identity, Tenant
from podpass.directory.store.directory import Directory
from tests.soak.issuer import Issuer
from tests.soak.replica import Place, Replica
from tests.soak.site import free_port

# No limit on what is granted, since one client is all there is; a flood counts.
_FLAGS = (
    *("--client-rate", "0", "--source-rate", "0", "--source-connections", "256"),
    *("--refused-rate", "20", "--refused-burst", "100", "--penalty-seconds", "10"),
)
_MIRID = (
    "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
)


@contextmanager
def issuing(folder: Path) -> Iterator[Issuer]:
    """Make what a service needs: certificates, a directory of one identity, and its issuer, which serves."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    leaf = ca.issue_cert("localhost", "127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(folder / "localhost.pem")
    issuer = Issuer(folder, free_port())
    asyncio.run(_fill(url_of(folder), issuer.url()))
    issuer.start()
    try:
        yield issuer
    finally:
        issuer.stop()


def url_of(folder: Path) -> str:
    """Name the database of one identity."""
    return f"sqlite:///{folder / 'directory.db'}"


async def _fill(url: str, issuer: str) -> None:
    credential = FederatedCredential(
        name="web",
        issuer=issuer,
        subject=names.subject("default", ACCOUNT.name),
        audiences=(names.EXCHANGE_AUDIENCE,),
    )
    identity = Identity(
        tenant_id=TENANT,
        client_id=CLIENT,
        object_id=CLIENT.replace("2", "3"),
        name="web",
        resource_id=_MIRID + "web",
        credentials=(credential,),
    )
    async with Database(url) as database, Directory(database) as directory:
        await directory.create_tenant(Tenant(id=TENANT, display_name="Bench"))
        await directory.identities.put(identity)


@contextmanager
def serving(
    folder: Path, cores: Sequence[int], url: str = "", flags: Sequence[str] = ()
) -> Iterator[Target]:
    """Run an authority of one worker a core."""
    place = Place(folder=folder, database=url or url_of(folder), flags=(*_FLAGS, *flags))
    replica = Replica("authority", place, workers=len(cores))
    with _on(cores):  # what it starts inherits it
        replica.start()
    try:
        workers = [int(pid) for pid in replica.ready["workers"]]
        for pid, core in zip(workers, cores, strict=True):
            _pin(pid, core)
        yield Target(port=replica.port, ca_file=place.ca_file, pids=workers, cores=cores)
    finally:
        replica.kill()


@contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def _pin(pid: int, core: int) -> None:
    """Keep a process, threads and all, on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})
