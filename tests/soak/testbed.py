"""The environment of a soak: a folder, certificates, an issuer, a directory with identities, and replicas."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from podpass.database import Database
from podpass.directory.store.directory import Directory
from podpass.lab.services import create_directory
from tests.ports import free_port
from tests.soak import identities
from tests.soak.issuer import IssuerProcess
from tests.soak.replica import AuthorityReplica, ReplicaConfig


@dataclass(kw_only=True)
class Testbed:
    """The replicas, their configuration, and a directory on the same database."""

    config: ReplicaConfig
    issuer: IssuerProcess
    directory: Directory
    replicas: list[AuthorityReplica] = field(default_factory=list)

    def start(self, count: int, *, workers: int = 1) -> list[AuthorityReplica]:
        """Start replicas one by one and return them."""
        for _ in range(count):
            name = f"replica-{len(self.replicas)}"
            replica = AuthorityReplica(name, self.config, workers=workers)
            self.replicas.append(replica)
            replica.start()
        return self.replicas[-count:]


@contextlib.asynccontextmanager
async def run_testbed(
    folder: Path,
    database: str,
    *,
    origins: Sequence[str] = ("https://localhost",),
    flags: Sequence[str] = (),
) -> AsyncIterator[Testbed]:
    """Run a testbed; at the end every process that it started is killed."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    leaf = ca.issue_cert("localhost", "127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(folder / "localhost.pem")
    config = ReplicaConfig(folder=folder, database=database, origins=origins, flags=flags)
    issuer = IssuerProcess(folder, free_port())
    issuer.start()
    async with create_directory(Database(database)) as directory:
        await identities.create_identities(directory, issuer.url())
        testbed = Testbed(config=config, issuer=issuer, directory=directory)
        try:
            yield testbed
        finally:
            for replica in testbed.replicas:
                replica.kill()
            issuer.stop()
