"""A database of version 1 is brought up to date where it lies, with all it holds, or not touched."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from podpass.directory import upgrade
from podpass.directory.model import IdentityKind
from podpass.directory.store import Directory

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
CLIENT = "11111111-aaaa-4bbb-8ccc-000000000001"
APP = "11111111-aaaa-4bbb-8ccc-000000000002"
OBJECT = "22222222-aaaa-4bbb-8ccc-000000000001"
SUB = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
MIRID = (
    f"/subscriptions/{SUB}/resourcegroups/podpass/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/web"
)
VAULT = f"/subscriptions/{SUB}/resourceGroups/podpass/providers/Microsoft.KeyVault/vaults/demo"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"

# As version 1 made it.
VERSION_1 = f"""
CREATE TABLE tenants (id VARCHAR NOT NULL, display_name VARCHAR NOT NULL, PRIMARY KEY (id));
CREATE TABLE schema_version (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE role_assignments (
    principal_id VARCHAR NOT NULL, scope VARCHAR NOT NULL, role VARCHAR NOT NULL,
    PRIMARY KEY (principal_id, scope, role));
CREATE TABLE tenant_domains (
    domain VARCHAR NOT NULL, tenant_id VARCHAR NOT NULL, PRIMARY KEY (domain),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE);
CREATE INDEX ix_tenant_domains_tenant_id ON tenant_domains (tenant_id);
CREATE TABLE identities (
    tenant_id VARCHAR NOT NULL, client_id VARCHAR NOT NULL, object_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL, kind VARCHAR NOT NULL, resource_id VARCHAR, resource_key VARCHAR,
    enabled BOOLEAN NOT NULL, PRIMARY KEY (tenant_id, client_id),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    UNIQUE (object_id), UNIQUE (resource_key));
CREATE INDEX identities_by_name ON identities (tenant_id, name);
CREATE TABLE vaults (
    name VARCHAR NOT NULL, tenant_id VARCHAR NOT NULL, location VARCHAR NOT NULL,
    resource_id VARCHAR NOT NULL, PRIMARY KEY (name),
    FOREIGN KEY(tenant_id) REFERENCES tenants (id) ON DELETE CASCADE, UNIQUE (resource_id));
CREATE TABLE federated_credentials (
    tenant_id VARCHAR NOT NULL, client_id VARCHAR NOT NULL, name VARCHAR NOT NULL,
    issuer VARCHAR NOT NULL, subject VARCHAR NOT NULL, audience VARCHAR NOT NULL,
    description VARCHAR NOT NULL, PRIMARY KEY (tenant_id, client_id, name),
    FOREIGN KEY(tenant_id, client_id) REFERENCES identities (tenant_id, client_id) ON DELETE CASCADE,
    UNIQUE (tenant_id, client_id, issuer, subject));
INSERT INTO schema_version VALUES (1);
INSERT INTO tenants VALUES ('{TENANT}', 'Contoso');
INSERT INTO tenant_domains VALUES ('contoso.example', '{TENANT}');
INSERT INTO identities VALUES
    ('{TENANT}', '{CLIENT}', '{OBJECT}', 'Web', 'managed-identity', '{MIRID}', '{MIRID.lower()}', 1),
    ('{TENANT}', '{APP}', '{APP}', 'An App', 'application', NULL, NULL, 0);
INSERT INTO federated_credentials VALUES
    ('{TENANT}', '{CLIENT}', 'web', 'https://issuer.example/', 'subject', 'api://x', '');
INSERT INTO vaults VALUES ('demo', '{TENANT}', 'westeurope', '{VAULT}');
INSERT INTO role_assignments VALUES ('{OBJECT}', '{VAULT.lower()}', '{READER}');
"""


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "directory.db"
    with database(path) as connection:
        connection.executescript(VERSION_1)
    return path


async def test_what_version_1_held_is_there_with_what_version_2_adds(old: Path) -> None:
    async with Directory(f"sqlite:///{old}") as directory:
        web = await directory.find_identity(TENANT, CLIENT)
        assert web is not None
        assert (web.location, web.application_id, web.has_principal) == ("eastus", None, True)
        [credential] = web.credentials
        assert credential.id
        assert (credential.issuer, credential.audiences) == (
            "https://issuer.example/",
            ("api://x",),
        )
        [app] = await directory.list_identities(TENANT, "An App")
        assert app.application_id
        assert (app.kind, app.enabled) == (IdentityKind.APPLICATION, False)
        vault = await directory.find_vault("demo")
        assert vault is not None
        # Its secrets lie under its name.
        assert (vault.uid, vault.location, vault.retention_days) == ("demo", "westeurope", 90)
        [held] = await directory.assignments.list(under=f"/subscriptions/{SUB}")
        assert held.name
        assert await directory.roles_at(OBJECT, VAULT) == (READER,)
        assert await directory.groups.get(SUB, "podpass") is not None
        assert await directory.find_tenant("contoso.example") is not None


async def test_it_can_be_used_and_opened_again(old: Path) -> None:
    async with Directory(f"sqlite:///{old}") as directory:
        await directory.identities.change(TENANT, CLIENT, lambda identity: identity)
        before = await directory.list_identities(TENANT)
        await directory.groups.delete(SUB, "podpass")
    async with Directory(f"sqlite:///{old}") as directory:
        assert await directory.list_identities(TENANT) == [
            one for one in before if one.kind is IdentityKind.APPLICATION
        ]


async def test_an_upgraded_database_has_the_tables_of_a_new_one(old: Path, tmp_path: Path) -> None:
    async with Directory(f"sqlite:///{old}"), Directory(f"sqlite:///{tmp_path}/new.db"):
        pass

    def shape(path: Path) -> dict[str, object]:
        engine = create_engine(f"sqlite:///{path}")
        seen = inspect(engine)
        found: dict[str, object] = {
            table: (
                {
                    one["name"]: (str(one["type"]), one["nullable"])
                    for one in seen.get_columns(table)
                },
                {
                    (str(one["name"]), tuple(one["column_names"]), one["unique"])
                    for one in seen.get_indexes(table)
                },
            )
            for table in seen.get_table_names()
        }
        engine.dispose()
        return found

    assert shape(old) == shape(tmp_path / "new.db")


async def test_an_upgrade_that_fails_leaves_the_database_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: object) -> None:
        upgrade._fill_identities(connection)  # type: ignore[arg-type]
        raise RuntimeError("the power went out")

    monkeypatch.setattr(upgrade, "_fill_vaults", fail)
    with database(old) as connection:
        before = list(connection.iterdump())
    with pytest.raises(RuntimeError):
        await Directory(f"sqlite:///{old}").open()
    with database(old) as connection:
        assert list(connection.iterdump()) == before
