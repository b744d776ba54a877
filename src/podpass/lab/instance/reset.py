"""Return a cloud to its seed: everything that was written since is removed, and issued tokens are refused.

The wanted state is computed, not stored: a second database gets the tenant, the administrator and the seed,
and its rows replace those of the running cloud. So a reset is the same with a volume and after an upgrade.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from podpass.database import Database
from podpass.directory.store.session import TOPIC
from podpass.exchange.signing.key import generate_keys
from podpass.lab import services
from podpass.lab.instance.cloud_parts import CloudHalf, enter_directory
from podpass.lab.instance.queries import CloudQueries
from podpass.lab.instance.start import SeedFile
from podpass.lab.instance.tables import KEY_TABLES, Tables, read_tables, restore_tables
from podpass.lab.issuers.registry import ISSUERS, IssuerRegistry

_log = logging.getLogger(__name__)

_VERSIONS = "alembic_version"
_SIDE_FILES = ("", "-wal", "-shm")


async def reset_cloud(
    cloud: CloudHalf,
    queries: CloudQueries,
    seed: SeedFile | None,
    store_identity: Callable[[], Awaitable[object]] | None,
) -> dict[str, Any]:
    """Reset a running cloud; return how long it took.

    `store_identity` stores the new signing keys, if there is a Secret for them.
    """
    began = time.monotonic()
    issuers = IssuerRegistry(None)
    # Keys are generated in threads, while the rows are computed.
    generated, wanted = await asyncio.gather(
        generate_keys(2, cloud.context.clock()), _compute(cloud, queries, seed, issuers)
    )
    present = await cloud.database.read(lambda connection: frozenset(read_tables(connection)))
    # The signing keys are replaced, not restored. The other tables that only a running cloud has are those of
    # the token service: sign-ins and refresh tokens.
    empty = {
        name: frozenset[Any]()
        for name in present - wanted.keys() - KEY_TABLES
        if not name.startswith(_VERSIONS)
    }
    restored: Tables = {**empty, **wanted}
    await cloud.database.write(
        lambda connection: restore_tables(connection, restored), topics=(TOPIC,)
    )
    await cloud.keys.authority.replace_all(generated)
    cloud.issuers.replace(issuers)
    cloud.pipelines.end_jobs()
    cloud.forget_keys()
    if store_identity is not None:
        await store_identity()
    # The second database leaves reference cycles, which would be collected only after many resets.
    gc.collect()
    took = round((time.monotonic() - began) * 1000)
    _log.info("cloud_reset", extra={"took_ms": took})
    return {"took_ms": took}


async def _compute(
    cloud: CloudHalf, queries: CloudQueries, seed: SeedFile | None, issuers: IssuerRegistry
) -> Tables:
    """Return the rows of a new cloud with the seed; put the issuers of the seed into `issuers`."""
    data_dir = cloud.context.data_dir
    path = data_dir.path("reset.db")
    _remove(path)
    try:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(Database(f"sqlite:///{path}"))
            directory, _ = await enter_directory(cloud.context, stack, database)
            # The same sealing keys, so that the running services can open the values.
            data = await services.open_data(stack, database, data_dir)
            data[ISSUERS] = issuers
            if seed is not None:
                await queries.with_stores(directory, data).apply(*seed)
            return await database.read(read_tables)
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    for suffix in _SIDE_FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
