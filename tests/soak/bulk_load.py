"""Fills a directory with the number of federated credentials of a large organisation."""

import contextlib
import uuid
from collections.abc import Iterator

from podpass.database import Database, DatabaseBusy
from podpass.directory import resource_ids
from podpass.directory.model import FederatedCredential, Identity
from podpass.directory.store.directory import Directory
from podpass.lab.services import create_directory
from tests.soak.lane import SUB, TENANT
from tests.soak.report import Violation

EACH = 20
_BATCH, _TRIES = 100, 5


def identities(count: int) -> Iterator[Identity]:
    for number in range(count):
        name = f"workload-{number:06}"
        yield Identity(
            tenant_id=TENANT.id,
            client_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"client {number}")),
            object_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"object {number}")),
            name=name,
            resource_id=resource_ids.identity_id(SUB, "many", name),
            credentials=tuple(
                FederatedCredential(
                    name=f"credential-{each}",
                    issuer="https://issuer.test/",
                    subject=f"system:serviceaccount:namespace-{each}:{name}",
                    audiences=("api://AzureADTokenExchange",),
                )
                for each in range(EACH)
            ),
        )


async def load_credentials(url: str, credentials: int) -> None:
    """Create a tenant, and identities with `credentials` federated credentials in total."""
    async with create_directory(Database(url)) as directory:
        await directory.create_tenant(TENANT)
        made = list(identities(credentials // EACH))
        for begin in range(0, len(made), _BATCH):
            await _put(directory, made[begin : begin + _BATCH])


async def _put(directory: Directory, batch: list[Identity]) -> None:
    """Write identities; retry when a busy machine does not respond in time."""
    for _ in range(_TRIES):
        with contextlib.suppress(DatabaseBusy):
            await directory.identities.put_many(batch)
            return
    raise Violation(f"{len(batch)} identities were not written in {_TRIES} attempts")
