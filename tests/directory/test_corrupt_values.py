"""A corrupt value in any column is reported by table and key, and hides no other row of a list."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

from podpass.database import CorruptRowError
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    IdentityKind,
    KeyCredential,
    PasswordCredential,
    ResourceGroup,
    RoleDefinition,
    Tenant,
    Vault,
)
from podpass.directory.store.directory import Directory
from podpass.directory.store.schema import (
    clusters,
    federated_credentials,
    identifier_uris,
    identities,
    key_credentials,
    password_credentials,
    resource_groups,
    role_definitions,
    tenant_domains,
    tenants,
    vaults,
)
from podpass.lab.services.clusters.model import Cluster
from podpass.lab.services.clusters.store import Clusters
from tests.directory.conftest import TENANT
from tests.directory.database_faults import (
    INVALID_TIMES,
    INVALID_UTF8,
    corrupt,
    corrupt_values,
    skipped_rows,
)

SUB = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
OTHER = "7c9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
OF_IDENTITIES = (
    identities,
    federated_credentials,
    identifier_uris,
    password_credentials,
    key_credentials,
)
# Columns that a query selects rows by: a row with another value there is not found.
SELECTED_BY = {
    "identities": {"tenant_id"},
    "tenant_domains": {"tenant_id"},
    "resource_groups": {"subscription_id"},
    "clusters": {"resource_key"},
    "vaults": {"tenant_id", "deleted"},
} | {table.name: {"tenant_id", "client_id"} for table in OF_IDENTITIES[1:]}
NAMED_BY = {
    identities: "name",
    federated_credentials: "name",
    identifier_uris: "substr(uri, 7)",
    password_credentials: "display_name",
    key_credentials: "display_name",
}


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


def list_corrupt_values(*tables: Table) -> list[tuple[Table, str]]:
    return [
        one for table in tables for one in corrupt_values(table, *SELECTED_BY.get(table.name, ()))
    ]


def list_lookup_columns() -> list[tuple[str, Table, str]]:
    """Return the columns that a lookup reads: of a whole identity, or of one with one credential."""
    unread_columns = {"client_id", "name_key", "resource_key"}
    whole_only = {"application_id", "unique_name", "location", "tags", "document", "principal"}
    found = []
    for table, what in list_corrupt_values(*OF_IDENTITIES):
        unread = unread_columns if table is identities else set()
        if what.split('"')[1] not in unread:
            found.append(("whole", table, what))
        if (
            table in (identities, federated_credentials)
            and what.split('"')[1] not in unread | whole_only
        ):
            found.append(("trusting", table, what))
    return found


def change(tmp_path: Path, table: Table, what: str, named_by: str, name: str) -> None:
    statement = f"UPDATE {table.name} SET {what} WHERE {named_by} = ?"
    corrupt(tmp_path / "directory.db", statement, name)


def application(name: str, number: int) -> Identity:
    times = {"begins": 1.0, "expires": 2.0}
    return Identity(
        tenant_id=TENANT,
        client_id=f"00000000-0000-4000-8000-00000000000{number}",
        object_id=f"00000000-0000-4000-8000-00000000001{number}",
        application_id=f"00000000-0000-4000-8000-00000000002{number}",
        name=name,
        kind=IdentityKind.APPLICATION,
        resource_id=None,
        identifier_uris=(f"api://{name}", f"api://{name}-too"),
        credentials=tuple(
            FederatedCredential(name=one, issuer="https://i", subject=one, audiences=("a",))
            for one in (name, f"{name}-too")
        ),
        passwords=tuple(
            PasswordCredential(key_id=one, display_name=one, hint="abc", digest=b"d", **times)
            for one in (name, f"{name}-too")
        ),
        keys=tuple(
            KeyCredential(key_id=one, display_name=one, certificate=b"c", thumbprint="t", **times)
            for one in (name, f"{name}-too")
        ),
    )


@pytest.mark.parametrize(("table", "what"), list_corrupt_values(*OF_IDENTITIES))
async def test_corrupt_identity_hides_no_other_identity(
    directory: Directory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    table: Table,
    what: str,
) -> None:
    for number, name in enumerate(("first", "bad", "last")):
        await directory.identities.put(application(name, number))
    change(tmp_path, table, what, NAMED_BY[table], "bad")
    directory._session.clear_caches()
    assert {one.name for one in await directory.list_identities(TENANT)} == {"first", "last"}
    assert {one.name for one in await directory.identities.page(TENANT, limit=2)} == {
        "first",
        "last",
    }
    for cause in skipped_rows(caplog):
        assert f"in table {table.name} cannot be read" in cause
        assert what.split('"')[1] in cause
    assert skipped_rows(caplog)


@pytest.mark.parametrize(("asked", "table", "what"), list_lookup_columns())
async def test_lookup_of_a_corrupt_identity_names_the_corrupt_row(
    directory: Directory, tmp_path: Path, asked: str, table: Table, what: str
) -> None:
    """The hint proposes to delete the row, which must not be the row of the complete identity."""
    bad, column = application("bad", 1), what.split('"')[1]
    await directory.identities.put(bad)
    change(tmp_path, table, what, NAMED_BY[table], "bad")
    directory._session.clear_caches()
    find = directory.find_trusting if asked == "trusting" else directory.find_identity
    given = ("https://i", "bad") if asked == "trusting" else ()
    with pytest.raises(CorruptRowError) as caught:
        await find(TENANT, bad.client_id, *given)
    own = bad.client_id if table is identities else f"{bad.client_id}/"
    assert f"the row of {own}" in caught.value.message
    assert f"in table {table.name} cannot be read" in caught.value.message
    assert f"{column}: want " in str(caught.value.facts["cause"])


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (identities, "created"),
        (federated_credentials, "created"),
        (password_credentials, "expires"),
        (key_credentials, "begins"),
    ],
)
@pytest.mark.parametrize("value", INVALID_TIMES)
async def test_invalid_time_of_an_identity_is_a_corrupt_row_in_every_read(
    directory: Directory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    table: Table,
    column: str,
    value: str,
) -> None:
    for number, name in enumerate(("first", "bad", "last")):
        await directory.identities.put(application(name, number))
    change(tmp_path, table, f"{column} = {value}", NAMED_BY[table], "bad")
    directory._session.clear_caches()
    client_id, message = application("bad", 1).client_id, f"in table {table.name} cannot be read"
    assert {one.name for one in await directory.list_identities(TENANT)} == {"first", "last"}
    assert message in skipped_rows(caplog)[0]
    with pytest.raises(CorruptRowError, match=message):
        await directory.find_identity(TENANT, client_id)
    if table in (identities, federated_credentials):
        with pytest.raises(CorruptRowError, match=message):
            await directory.find_trusting(TENANT, client_id, "https://i", "bad")


async def test_first_and_last_valid_times_are_read(directory: Directory, tmp_path: Path) -> None:
    bad = application("bad", 1)
    await directory.identities.put(bad)
    for value in ("-62135596800.0", "253402300799.0"):
        change(tmp_path, identities, f"created = {value}", "name", "bad")
        change(tmp_path, federated_credentials, f"created = {value}", "name", "bad")
        directory._session.clear_caches()
        found = await directory.find_identity(TENANT, bad.client_id)
        assert found is not None
        assert found.created == found.credentials[0].created == float(value)


async def test_client_id_with_a_nul_character_hides_no_other_identity(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No statement accepts such a text as a value, and credentials are read by client id."""
    for number, name in enumerate(("first", "bad", "last")):
        await directory.identities.put(application(name, number))
    change(tmp_path, identities, "client_id = 'zz' || char(0)", "name", "bad")
    for limit in (None, 2):
        found = (
            await directory.list_identities(TENANT)
            if limit is None
            else await directory.identities.page(TENANT, limit=limit)
        )
        assert {one.name for one in found} == {"first", "last"}
        assert all(one.credentials and one.keys for one in found)
    assert r"the row of 'zz\x00' in table identities cannot be read" in skipped_rows(caplog)[0]


async def test_corrupt_identifier_uri_is_reported_by_its_own_row(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The hint proposes to delete the row, which must not be the application."""
    bad = application("bad", 1)
    await directory.identities.put(bad)
    change(tmp_path, identifier_uris, f"uri = {INVALID_UTF8}", "uri", "api://bad")
    assert await directory.list_identities(TENANT) == []
    [cause] = skipped_rows(caplog)
    assert f"the row of {bad.client_id}/api://bad in table identifier_uris cannot be read" in cause
    assert cause.endswith("uri: want text, found invalid UTF-8")


@pytest.mark.parametrize(("table", "what"), list_corrupt_values(tenants, tenant_domains))
async def test_corrupt_tenant_is_reported_by_its_row(
    directory: Directory, tmp_path: Path, table: Table, what: str
) -> None:
    await directory.create_tenant(Tenant(id=OTHER, display_name="bad", domains=("bad",)))
    change(tmp_path, table, what, "domain" if table is tenant_domains else "display_name", "bad")
    with pytest.raises(CorruptRowError, match=f"in table {table.name} cannot be read"):
        await directory.list_tenants()


def below(kind: str, name: str) -> str:
    return f"/subscriptions/{SUB}/resourceGroups/rg/providers/{kind}/{name}"


async def put(directory: Directory, name: str) -> None:
    """Create one object of each kind."""
    east: dict[str, Any] = {"name": name, "location": "eastus"}
    here = below("Microsoft.KeyVault/vaults", name)
    await directory.vaults.put(Vault(tenant_id=TENANT, resource_id=here, **east))
    await directory.groups.put(ResourceGroup(subscription_id=SUB, **east))
    here = below("x/managedClusters", name)
    await directory.store(Clusters).put(
        Cluster(subscription_id=SUB, group="rg", resource_id=here, **east)
    )
    role = RoleDefinition(id="", name=name, scopes=("/",), actions=("*",), built_in=False)
    number = len(await directory.role_definitions.list())
    await directory.role_definitions.put(replace(role, id=f"aaaaaaaa-0000-4000-8000-{number:012}"))


async def list_objects(directory: Directory, table: Table) -> set[str]:
    found: list[Any]
    if table is vaults:
        found = list(await directory.list_vaults(TENANT))
    elif table is resource_groups:
        found = list(await directory.groups.page(SUB))
    elif table is clusters:
        found = list(await directory.store(Clusters).page(SUB))
    else:
        found = [one for one in await directory.role_definitions.list() if not one.built_in]
    return {one.name for one in found}


@pytest.mark.parametrize("value", INVALID_TIMES)
async def test_invalid_time_of_a_vault_hides_no_other_vault(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    for name in ("first", "bad", "last"):
        await put(directory, name)
    change(tmp_path, vaults, f"created = {value}", "name", "bad")
    assert await list_objects(directory, vaults) == {"first", "last"}
    assert "created: want seconds since the epoch" in skipped_rows(caplog)[0]


@pytest.mark.parametrize(
    ("table", "what"), list_corrupt_values(vaults, resource_groups, clusters, role_definitions)
)
async def test_corrupt_value_hides_no_other_object_of_a_list(
    directory: Directory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    table: Table,
    what: str,
) -> None:
    for name in ("first", "bad", "last"):
        await put(directory, f"{name}-one")
    change(tmp_path, table, what, "name", "bad-one")
    directory._session.clear_caches()
    assert await list_objects(directory, table) == {"first-one", "last-one"}
    assert any(f"in table {table.name} cannot be read" in one for one in skipped_rows(caplog))
