"""Serve the managed identity endpoint of a running instance: DATA_DIR ADDRESS PORT [IDENTITY...].

The secret headers are read from standard input. The program uses the instance's directory and signing keys,
as a second process of the same cloud, and prints `ready` with its port.
"""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from podpass.clock import system
from podpass.database import Database
from podpass.directory import resource_ids
from podpass.directory.store.directory import Directory
from podpass.exchange.app import create_app
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.http.fetcher import Fetcher, FetchRules
from podpass.http.server import bind, serving
from podpass.imds.identity_headers import parse_headers
from podpass.lab.data.datadir import DataDir, load_config
from podpass.lab.instance import identity_endpoint
from podpass.seed.apply import GROUP
from podpass.settings import AuthoritySettings


async def serve(data_dir: DataDir, address: str, port: int, names: tuple[str, ...]) -> None:
    config = load_config(data_dir)
    headers = parse_headers(sys.stdin.read(), "standard input")
    find_id = partial(resource_ids.identity_id, config.subscription_id, GROUP)
    async with AsyncExitStack() as stack:
        path = data_dir.path("directory.db")
        database = await stack.enter_async_context(Database(f"sqlite:///{path}"))
        directory = await stack.enter_async_context(Directory(database))
        keys = await AuthorityKeys.open(database, data_dir.path("keys", "authority.key"), system)
        running = await stack.enter_async_context(keys.running())
        settings = AuthoritySettings(origins=("https://login.microsoftonline.com",))
        fetcher = Fetcher(FetchRules())
        service = create_app(settings, directory, fetcher, running, system)
        app = identity_endpoint.create_app(
            directory,
            service.managed_identities,
            config.tenant_id,
            system,
            assigned=[find_id(name) for name in names],
            headers={find_id(name): value for name, value in headers.items()},
        )
        sock = bind(address, port)
        await stack.enter_async_context(serving(app, sock))
        print(f"ready {sock.getsockname()[1]}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        # The first process of a network namespace; the endpoint starts later.
        print("ready", flush=True)
        signal.pause()
    folder, host, number, *identities = sys.argv[1:]
    asyncio.run(serve(DataDir(Path(folder)), host, int(number), tuple(identities)))
