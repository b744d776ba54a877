"""Runs a real `podpass authority` for a benchmark, with each worker pinned to its own core."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme

from bench.token_load import LoadTarget
from bench.token_requests import ACCOUNT, CLIENT, TENANT
from podpass import names
from podpass.database import Database
from podpass.directory.model import FederatedCredential, Identity, Tenant
from podpass.directory.store.directory import Directory
from podpass.kubernetes.service_account.names import subject
from tests.ports import free_port
from tests.soak.issuer import IssuerProcess
from tests.soak.replica import AuthorityReplica, ReplicaConfig

# Requests that succeed are not limited, because one client sends them all; a flood is limited.
_FLAGS = (
    *("--client-rate", "0", "--source-rate", "0", "--source-connections", "256"),
    *("--refused-rate", "20", "--refused-burst", "100", "--penalty-seconds", "10"),
)
_MIRID = (
    "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
)


@contextmanager
def run_issuer(folder: Path) -> Iterator[IssuerProcess]:
    """Create certificates and a directory with one identity, and run its issuer."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    leaf = ca.issue_cert("localhost", "127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(folder / "localhost.pem")
    issuer = IssuerProcess(folder, free_port())
    asyncio.run(_fill(database_url(folder), issuer.url()))
    issuer.start()
    try:
        yield issuer
    finally:
        issuer.stop()


def database_url(folder: Path) -> str:
    """Return the URL of the database with one identity."""
    return f"sqlite:///{folder / 'directory.db'}"


async def _fill(url: str, issuer: str) -> None:
    credential = FederatedCredential(
        name="web",
        issuer=issuer,
        subject=subject("default", ACCOUNT.name),
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
def run_authority(
    folder: Path, cores: Sequence[int], url: str = "", flags: Sequence[str] = ()
) -> Iterator[LoadTarget]:
    """Run an authority with one worker for each core."""
    place = ReplicaConfig(
        folder=folder, database=url or database_url(folder), flags=(*_FLAGS, *flags)
    )
    replica = AuthorityReplica("authority", place, workers=len(cores))
    with _pinned_to(cores):  # child processes inherit it
        replica.start()
    try:
        workers = [int(pid) for pid in replica.ready["workers"]]
        for pid, core in zip(workers, cores, strict=True):
            _pin(pid, core)
        yield LoadTarget(port=replica.port, ca_file=place.ca_file, pids=workers, cores=cores)
    finally:
        replica.kill()


@contextmanager
def _pinned_to(cores: Sequence[int]) -> Iterator[None]:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def _pin(pid: int, core: int) -> None:
    """Pin all threads of a process to one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})
