"""Fixtures: a live token service, a live issuer, and keys that all tests share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
import trustme

from podpass.assertion.keys import KeyRing
from podpass.database import Database
from podpass.directory.store.directory import Directory
from podpass.exchange.signing.key_set import AuthorityKeys
from tests.exchange import world as worlds
from tests.exchange.world import Start, World
from tests.saved_work import kept_keys


@pytest.fixture(scope="session")
def key_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create keys, tables and test data once, because it is slow; each world has a copy."""
    folder = tmp_path_factory.mktemp("keys")
    with kept_keys():
        KeyRing.open(folder / "issuer")
        asyncio.run(_make_authority(folder / "authority"))
    return folder


async def _make_authority(folder: Path) -> None:
    folder.mkdir()
    database = Database(f"sqlite:///{folder / 'directory.db'}")
    async with Directory(database) as directory:
        await AuthorityKeys.open(database, folder / "sealing.key", lambda: worlds.NOW)
        await worlds.add_test_data(directory)


@pytest.fixture
async def start(ca: trustme.CA, key_folders: Path, tmp_path: Path) -> AsyncIterator[Start]:
    """Return a function that starts a world with other settings or another clock."""
    async with AsyncExitStack() as stack:
        yield partial(worlds.start, stack, ca, key_folders, tmp_path)


@pytest.fixture
async def world(start: Start) -> World:
    return await start()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    ca: trustme.CA, key_folders: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Share one world in a module; its tests must not change it."""
    async with AsyncExitStack() as stack:
        yield await worlds.start(stack, ca, key_folders, tmp_path_factory.mktemp("shared"))
