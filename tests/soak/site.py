"""Everything a soak runs on: a folder, certificates, an issuer, a directory with people in it, replicas."""

import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from podpass.database import Database
from podpass.directory.store.directory import Directory
from tests.soak import people
from tests.soak.issuer import Issuer
from tests.soak.replica import Place, Replica


@dataclass(kw_only=True)
class Site:
    """Where replicas run, and a directory of our own on their database."""

    place: Place
    issuer: Issuer
    directory: Directory
    replicas: list[Replica] = field(default_factory=list)

    def start(self, count: int, *, workers: int = 1) -> list[Replica]:
        """Start replicas, one after the other."""
        for _ in range(count):
            name = f"replica-{len(self.replicas)}"
            replica = Replica(name, self.place, workers=workers)
            self.replicas.append(replica)
            replica.start()
        return self.replicas[-count:]


@contextlib.asynccontextmanager
async def site(
    folder: Path,
    database: str,
    *,
    origins: Sequence[str] = ("https://localhost",),
    flags: Sequence[str] = (),
) -> AsyncIterator[Site]:
    """Prepare a site; what was started is killed at the end."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    leaf = ca.issue_cert("localhost", "127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(folder / "localhost.pem")
    place = Place(folder=folder, database=database, origins=origins, flags=flags)
    issuer = Issuer(folder, free_port())
    issuer.start()
    async with Directory(Database(database)) as directory:
        await people.settle(directory, issuer.url())
        made = Site(place=place, issuer=issuer, directory=directory)
        try:
            yield made
        finally:
            for replica in made.replicas:
                replica.kill()
            issuer.stop()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
