"""Queries of the control API: long lists are returned in pages, which the command line joins."""

import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from podpass.cli import client
from podpass.clock import system
from podpass.database import Database
from podpass.directory.model import Identity, Tenant
from podpass.errors import UsageError
from podpass.lab.data.datadir import DataDir, InstanceConfig
from podpass.lab.install.demo import build_seed
from podpass.lab.instance import queries
from podpass.lab.instance.queries import CloudQueries
from podpass.lab.services import create_directory
from podpass.lab.services.vault.control import list_vaults, remove_demo
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"


class OfTenant:
    """An instance configuration with only the member that lists need."""

    tenant_id = TENANT


@pytest.mark.parametrize("count", [0, 3, 4, 5])
async def test_identities_are_returned_in_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """A long page would block the other parts of the instance."""
    monkeypatch.setattr(queries, "_PAGE", 2)
    made = [
        Identity(
            tenant_id=TENANT,
            client_id=str(uuid.UUID(int=number)),
            object_id=str(uuid.uuid4()),
            name=f"web-{9 - number}",
            resource_id=f"/subscriptions/s/identities/{number}",
        )
        for number in range(count)
    ]
    pages: dict[str, dict[str, Any]] = {}
    async with create_directory(Database(f"sqlite:///{tmp_path}/directory.db")) as directory:
        await directory.create_tenant(Tenant(id=TENANT))
        await directory.identities.put_many(made)
        facts = cast("InstanceConfig", OfTenant())
        asked = CloudQueries(DataDir(tmp_path), facts, directory, {}, issuer=None, clock=system)
        after: str | None = ""
        while after is not None:
            page = await asked.identities({"after": after} if after else {})
            assert len(page["value"]) <= 2
            pages[after] = page
            after = page["after"]

    def control(_: DataDir, verb: str, path: str) -> dict[str, Any]:
        assert verb == "GET"
        return pages[dict(parse_qsl(urlsplit(path).query)).get("after", "")]

    monkeypatch.setattr(client, "call_control", control)
    names = [row["name"] for row in client.list_identities(DataDir(tmp_path))[0]]
    assert names == [one.name for one in made]


async def test_demo_is_removed_and_no_other_identity_or_vault(tmp_path: Path) -> None:
    """The vault leaves no soft-deleted one behind, and no secrets."""
    config = InstanceConfig.new(TENANT)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(f"sqlite:///{tmp_path}/directory.db"))
        directory = await stack.enter_async_context(create_directory(database))
        store = await stack.enter_async_context(VaultStore(database, tmp_path / "vault.key"))
        await directory.create_tenant(Tenant(id=TENANT))
        asked = CloudQueries(
            DataDir(tmp_path),
            config,
            directory,
            {"vault": store},
            issuer="https://i.example",
            clock=system,
        )
        for name in ("podpass-demo-1", "web"):
            await asked.apply(yaml.safe_dump(build_seed(name)), "seed")
        with pytest.raises(UsageError, match="'web' is not a demo"):
            await asked.remove_demo("web")
        for removed in (["identity podpass-demo-1", "vault podpass-demo-1"], []):
            found = await asked.remove_demo("podpass-demo-1")
            assert [*found, *await remove_demo(directory, store, "podpass-demo-1")] == removed
        assert [each["name"] for each in (await asked.identities({}))["value"]] == ["web"]
        [vault] = (await list_vaults(directory, store, config.tenant_id))["value"]
        assert (vault["name"], len(await store.counts())) == ("web", 1)
        assert await directory.store(Vaults).deleted() == []
