"""A corrupt value in any column is reported by table and key, hides no other row, and grants nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

from podpass.database import CorruptRowError, collecting_errors
from podpass.directory.model import (
    AppRoleAssignment,
    AuditEntry,
    FederatedCredential,
    Identity,
    IdentityKind,
    KeyCredential,
    PasswordCredential,
    PermissionGrant,
    ResourceGroup,
    RoleAssignment,
    RoleDefinition,
    Tenant,
    User,
)
from podpass.directory.roles import RoleCatalogue
from podpass.directory.store import schema
from podpass.directory.store.directory import Directory
from podpass.lab.services.clusters.model import Cluster
from podpass.lab.services.clusters.store import Clusters
from podpass.lab.services.vault.model import Vault
from podpass.lab.services.vault.vaults import Vaults
from tests.directory.conftest import TENANT
from tests.directory.database_faults import (
    INVALID_TIMES,
    INVALID_UTF8,
    corrupt,
    corrupt_values,
    skipped_rows,
)

SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
SUB = f"/subscriptions/{SUBSCRIPTION}"
OTHER = "7c9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
OWNER, READER = (RoleCatalogue().by_name[name].id for name in ("owner", "reader"))
WRITE = "Microsoft.Resources/subscriptions/resourceGroups/write"
READ = WRITE.replace("write", "read")
BAD = 2


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


def guid(number: int, kind: int = 0) -> str:
    return f"00000000-0000-4000-8000-{kind:06}{number:06}"


def application(number: int, **more: Any) -> Identity:
    """Return an application with two credentials of each kind, of which one has its name."""
    name, times = guid(number), {"begins": 1.0, "expires": 2.0}
    names = (name, f"{name}-too")
    given: dict[str, Any] = {
        "identifier_uris": tuple(f"api://{one}" for one in names),
        "credentials": tuple(
            FederatedCredential(name=one, issuer="https://i", subject=one, audiences=("a",))
            for one in names
        ),
        "passwords": tuple(
            PasswordCredential(key_id=one, display_name=one, hint="abc", digest=b"d", **times)
            for one in names
        ),
        "keys": tuple(
            KeyCredential(key_id=one, display_name=one, certificate=b"c", thumbprint="t", **times)
            for one in names
        ),
    }
    return Identity(
        tenant_id=TENANT,
        client_id=guid(number, 4),
        object_id=guid(number, 5),
        application_id=guid(number, 6),
        name=name,
        kind=IdentityKind.APPLICATION,
        resource_id=None,
        **given | more,
    )


async def put_audit_entry(directory: Directory, number: int) -> None:
    said: dict[str, Any] = {"actor": "a", "actor_name": "b", "action": "c", "target": "d"}
    entry = AuditEntry(time=float(number), correlation_id=guid(number), **said)
    await directory.audit.record(entry)


async def list_audit_entries(directory: Directory, limit: int | None) -> list[str]:
    found = await directory.audit.list(limit=limit or 100)
    return [one.correlation_id for one in found if one.correlation_id]


def name_vault(number: int) -> str:
    return f"vault-{number}"


async def put_vault(directory: Directory, number: int) -> None:
    name = name_vault(number)
    here = f"{SUB}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/{name}"
    made = Vault(name=name, tenant_id=TENANT, location="eastus", resource_id=here)
    await directory.store(Vaults).put(made)


async def put_group(directory: Directory, number: int) -> None:
    made = ResourceGroup(subscription_id=SUBSCRIPTION, name=guid(number), location="eastus")
    await directory.groups.put(made)


async def put_cluster(directory: Directory, number: int) -> None:
    here = f"{SUB}/resourceGroups/rg/providers/x/managedClusters/{guid(number)}"
    of: dict[str, Any] = {"subscription_id": SUBSCRIPTION, "group": "rg", "resource_id": here}
    await directory.store(Clusters).put(Cluster(name=guid(number), location="eastus", **of))


async def put_role(directory: Directory, number: int) -> None:
    role = RoleDefinition(id=guid(number, 7), name=guid(number), scopes=("/",), actions=("*",))
    await directory.role_definitions.put(replace(role, built_in=False))


async def list_roles(directory: Directory, _: int | None) -> list[str]:
    return [one.name for one in await directory.role_definitions.list() if not one.built_in]


async def put_user(directory: Directory, number: int) -> None:
    made = User(id=guid(number), tenant_id=TENANT, name=f"{number}@contoso.example")
    await directory.users.put(made)


async def put_assignment(directory: Directory, number: int) -> None:
    principal, name = guid(number, 1), guid(number)
    held = RoleAssignment(name=name, scope=SUB, principal_id=principal, role=OWNER)
    await directory.assignments.put(held)


async def put_app_role(directory: Directory, number: int) -> None:
    of: dict[str, Any] = {"principal_type": "ServicePrincipal", "app_role_id": guid(number, 2)}
    given: dict[str, Any] = {"principal_id": guid(1, 5), "resource_id": guid(3, 5)}
    await directory.app_roles.put(AppRoleAssignment(id=guid(number), **given, **of))


async def list_identities(directory: Directory, limit: int | None) -> list[str]:
    if limit is None:
        return [one.name for one in await directory.list_identities(TENANT)]
    return [one.name for one in await directory.identities.page(TENANT, limit=limit)]


@dataclass(frozen=True)
class Rows:
    """How the rows of a table are created, found in the table, and listed by their names.

    Attributes:
        limits: the lengths of the lists; None for a list of all.
        selected_by: the columns that a list selects rows by: a row with another value is not found.
    """

    named_by: str
    put: Callable[[Directory, int], Awaitable[object]]
    listed: Callable[[Directory, int | None], Awaitable[list[str]]]
    limits: tuple[int | None, ...] = (None,)
    selected_by: tuple[str, ...] = ()
    name: Callable[[int], str] = guid


def of_identities(named_by: str, *selected_by: str) -> Rows:
    async def put(directory: Directory, number: int) -> None:
        await directory.identities.put(application(number))

    return Rows(named_by, put, list_identities, (None, 2), selected_by)


async def _names(objects: Awaitable[Any], attribute: str = "name") -> list[str]:
    return [getattr(one, attribute) for one in await objects]


OF_IDENTITIES = {
    schema.identities: of_identities("name", "tenant_id"),
    schema.federated_credentials: of_identities("name", "tenant_id", "client_id"),
    schema.identifier_uris: of_identities("substr(uri, 7)", "tenant_id", "client_id"),
    schema.password_credentials: of_identities("display_name", "tenant_id", "client_id"),
    schema.key_credentials: of_identities("display_name", "tenant_id", "client_id"),
}
ROWS = {
    **OF_IDENTITIES,
    schema.vaults: Rows(
        "name",
        put_vault,
        lambda directory, _: _names(directory.store(Vaults).list(TENANT)),
        selected_by=("tenant_id", "deleted"),
        name=name_vault,
    ),
    schema.resource_groups: Rows(
        "name",
        put_group,
        lambda directory, limit: _names(directory.groups.page(SUBSCRIPTION, limit=limit or 100)),
        (None, 2),
        ("subscription_id",),
    ),
    schema.clusters: Rows(
        "name",
        put_cluster,
        lambda directory, _: _names(directory.store(Clusters).page(SUBSCRIPTION)),
        selected_by=("resource_key",),
    ),
    schema.role_definitions: Rows("name", put_role, list_roles),
    schema.users: Rows(
        "id",
        put_user,
        lambda directory, limit: _names(directory.users.list(TENANT, limit=limit), "id"),
        (None, 2),
        ("tenant_id",),
    ),
    schema.role_assignments: Rows(
        "name",
        put_assignment,
        lambda directory, limit: _names(directory.assignments.list(limit=limit)),
        (None, 2),
    ),
    schema.app_role_assignments: Rows(
        "id", put_app_role, lambda directory, _: _names(directory.app_roles.list(), "id")
    ),
    schema.audit_entries: Rows("correlation_id", put_audit_entry, list_audit_entries),
}


def values(*tables: Table) -> list[tuple[Table, str]]:
    """Return an assignment of a corrupt value for each column that does not select the row."""
    return [one for table in tables for one in corrupt_values(table, *ROWS[table].selected_by)]


def change(tmp_path: Path, table: Table, what: str) -> None:
    statement = f"UPDATE {table.name} SET {what} WHERE {ROWS[table].named_by} = ?"
    corrupt(tmp_path / "directory.db", statement, ROWS[table].name(BAD))


# Texts of the right type that podpass never writes.
INVALID_DOCUMENTS = [
    (schema.identities, "\"kind\" = 'martian'"),
    (schema.identities, "\"tags\" = '{broken'"),
    (schema.identities, "\"document\" = '[1]'"),
    (schema.identities, "\"principal\" = 'x'"),
    (schema.vaults, "\"access\" = 'policy'"),
    (schema.vaults, '"policies" = \'[{"x": 1}]\''),
    (schema.clusters, "\"document\" = 'x'"),
    (schema.resource_groups, "\"tags\" = 'x'"),
    (schema.role_definitions, "\"document\" = '{}'"),
]


@pytest.mark.parametrize(
    ("table", "what"),
    [
        *values(*ROWS),
        *(
            (table, f'"{column}" = {value}')
            for table, column in (
                (schema.identities, "created"),
                (schema.federated_credentials, "created"),
                (schema.password_credentials, "expires"),
                (schema.key_credentials, "begins"),
                (schema.vaults, "created"),
                (schema.users, "created"),
                (schema.role_assignments, "created"),
                (schema.audit_entries, "time"),
            )
            for value in INVALID_TIMES
        ),
        *INVALID_DOCUMENTS,
    ],
)
async def test_corrupt_row_is_logged_and_other_rows_are_listed(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: Table, what: str
) -> None:
    """A page with a corrupt row is full: clients would not read the rows after a short one."""
    for number in (1, BAD, 3):
        await ROWS[table].put(directory, number)
    change(tmp_path, table, what)
    directory._session.clear_caches()
    for limit in ROWS[table].limits:
        found = await ROWS[table].listed(directory, limit)
        assert sorted(found) == [ROWS[table].name(number) for number in (1, 3)]
    causes, column = skipped_rows(caplog), what.split('"')[1]
    assert causes
    for cause in causes:
        assert f"in table {table.name} cannot be read" in cause
        if (table, what) not in INVALID_DOCUMENTS:
            assert f"{column}: want " in cause


def list_lookups() -> list[tuple[str, Table, str]]:
    """Return the columns that a lookup reads: of a whole identity, or of one with one credential."""
    whole_only = {"application_id", "unique_name", "location", "tags", "document", "principal"}
    found = []
    for table, what in values(*OF_IDENTITIES):
        column = what.split('"')[1]
        if table is schema.identities and column in {"client_id", "name_key", "resource_key"}:
            continue
        found.append(("whole", table, what))
        if table in (schema.identities, schema.federated_credentials) and column not in whole_only:
            found.append(("trusting", table, what))
    return found


INVALID_IN_LOOKUPS = [
    (schema.identities, "\"kind\" = 'x'"),
    (schema.identities, '"enabled" = -1'),
    (schema.federated_credentials, f'"issuer" = {INVALID_UTF8}, subject = {INVALID_UTF8}'),
]


@pytest.mark.parametrize(
    ("asked", "table", "what"),
    [
        *list_lookups(),
        *((asked, *row) for asked in ("whole", "trusting") for row in INVALID_IN_LOOKUPS),
    ],
)
async def test_lookup_of_a_corrupt_identity_names_the_corrupt_row(
    directory: Directory, tmp_path: Path, asked: str, table: Table, what: str
) -> None:
    """An invalid flag must not count as true, and a corrupt credential must not count as a missing one.

    The hint proposes to delete the row, which must not be the row of the complete identity.
    """
    bad, column = application(BAD), what.split('"')[1]
    await directory.identities.put(bad)
    change(tmp_path, table, what)
    directory._session.clear_caches()
    find = directory.find_trusting if asked == "trusting" else directory.find_identity
    given = ("https://i", bad.name) if asked == "trusting" else ()
    with pytest.raises(CorruptRowError) as caught:
        await find(TENANT, bad.client_id, *given)
    own = bad.client_id if table is schema.identities else f"{bad.client_id}/"
    assert f"the row of {own}" in caught.value.message
    assert f"in table {table.name} cannot be read" in caught.value.message
    if (table, what) != INVALID_IN_LOOKUPS[0]:
        assert f"{column}: want " in str(caught.value.facts["cause"])


async def test_first_and_last_valid_times_are_read(directory: Directory, tmp_path: Path) -> None:
    await directory.identities.put(application(BAD))
    for value in ("-62135596800.0", "253402300799.0"):
        change(tmp_path, schema.identities, f"created = {value}")
        change(tmp_path, schema.federated_credentials, f"created = {value}")
        directory._session.clear_caches()
        found = await directory.find_identity(TENANT, application(BAD).client_id)
        assert found is not None
        assert found.created == found.credentials[0].created == float(value)


async def test_client_id_with_a_nul_character_hides_no_other_identity(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No statement accepts such a text as a value, and credentials are read by client id."""
    for number in (1, BAD, 3):
        await directory.identities.put(application(number))
    change(tmp_path, schema.identities, "client_id = 'zz' || char(0)")
    for found in (
        await directory.list_identities(TENANT),
        await directory.identities.page(TENANT, limit=2),
    ):
        assert {one.name for one in found} == {guid(1), guid(3)}
        assert all(one.credentials and one.keys for one in found)
    assert r"the row of 'zz\x00' in table identities cannot be read" in skipped_rows(caplog)[0]


async def test_corrupt_identifier_uri_is_reported_by_its_own_row(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The hint proposes to delete the row, which must not be the application."""
    bad = application(BAD)
    await directory.identities.put(bad)
    change(tmp_path, schema.identifier_uris, f"uri = {INVALID_UTF8}")
    assert await directory.list_identities(TENANT) == []
    [cause] = skipped_rows(caplog)
    own = f"{bad.client_id}/api://{bad.name}"
    assert f"the row of {own} in table identifier_uris cannot be read" in cause
    assert cause.endswith("uri: want text, found invalid UTF-8")


@pytest.mark.parametrize(
    ("table", "what"),
    [*corrupt_values(schema.tenants), *corrupt_values(schema.tenant_domains, "tenant_id")],
)
async def test_corrupt_tenant_is_reported_by_its_row(
    directory: Directory, tmp_path: Path, table: Table, what: str
) -> None:
    await directory.create_tenant(Tenant(id=OTHER, display_name="bad", domains=("bad",)))
    named_by = "domain" if table is schema.tenant_domains else "display_name"
    corrupt(tmp_path / "directory.db", f"UPDATE {table.name} SET {what} WHERE {named_by} = 'bad'")
    with pytest.raises(CorruptRowError, match=f"in table {table.name} cannot be read"):
        await directory.list_tenants()


async def test_audit_page_with_a_corrupt_row_is_full(directory: Directory, tmp_path: Path) -> None:
    for number in (1, BAD, 3):
        await put_audit_entry(directory, number)
    every = [one.serial for one in await directory.audit.list()]
    change(tmp_path, schema.audit_entries, f"target = {INVALID_UTF8}")
    page = await directory.audit.list(limit=len(every) - 2)
    assert len(page) == len(every) - 2
    rest = await directory.audit.list(limit=len(every), after=page[-1].serial)
    assert len(page) + len(rest) == len(every) - 1


SAME_USER = User(id=guid(BAD), tenant_id=TENANT, name=f"{BAD}@contoso.example")
SAME_ASSIGNMENT = RoleAssignment(scope=SUB, principal_id=guid(BAD, 1), role=OWNER)


@pytest.mark.parametrize(
    ("table", "what", "reads"),
    [
        *(
            (
                schema.users,
                what,
                (
                    lambda users, _: users.users.get(guid(BAD)),
                    lambda users, _: users.users.find(TENANT, SAME_USER.name),
                    lambda users, _: users.users.put(SAME_USER),
                ),
            )
            for what in (
                *(f"{one} = {INVALID_UTF8}" for one in ("name", "display_name", "password")),
                "created = 9e999",
            )
        ),
        (
            schema.role_assignments,
            f"created_by = {INVALID_UTF8}",
            (
                lambda directory, _: directory.assignments.get(guid(BAD)),
                lambda directory, _: directory.assignments.delete(guid(BAD)),
                lambda directory, _: directory.assignments.put(SAME_ASSIGNMENT),
            ),
        ),
        (
            schema.app_role_assignments,
            f"principal_type = {INVALID_UTF8}",
            (
                lambda directory, _: directory.app_roles.get(guid(BAD)),
                lambda directory, _: directory.app_roles.delete(guid(BAD)),
                lambda directory, stored: directory.app_roles.put(stored),
            ),
        ),
    ],
)
async def test_corrupt_row_is_refused_in_every_read(
    directory: Directory, tmp_path: Path, table: Table, what: str, reads: tuple[Any, ...]
) -> None:
    """If it counted as absent, a new user could get its name and its role assignments."""
    await ROWS[table].put(directory, BAD)
    stored = await directory.app_roles.get(guid(BAD))
    change(tmp_path, table, what)
    for read in reads:
        message = f"the row of {guid(BAD)} in table {table.name} cannot be read"
        with pytest.raises(CorruptRowError, match=message):
            await read(directory, stored)


@pytest.mark.parametrize(
    "what",
    [
        *(
            f"{column} = {INVALID_UTF8}"
            for column in ("scope", "role", "principal_type", "description", "created_by")
        ),
        "created = 9e999",
        "name = NULL",
    ],
)
async def test_corrupt_role_assignment_grants_nothing_and_hides_no_other(
    directory: Directory, tmp_path: Path, what: str
) -> None:
    principal = guid(1, 1)
    for name, role in ((guid(1), READER), (guid(BAD), OWNER)):
        held = RoleAssignment(name=name, scope=SUB, principal_id=principal, role=role)
        await directory.assignments.put(held)
    assert await directory.is_permitted(principal, WRITE, SUB)
    change(tmp_path, schema.role_assignments, what)
    directory._session.clear_caches()
    assert not await directory.is_permitted(principal, WRITE, SUB)
    assert await directory.is_permitted(principal, READ, SUB)


async def test_corrupt_application_role_grants_nothing_and_hides_no_other(
    directory: Directory, tmp_path: Path
) -> None:
    roles = [{"id": guid(each, 2), "value": f"Role.{each}"} for each in (1, BAD)]
    api = application(3, document={"appRoles": roles})
    holder = application(1)
    await directory.identities.put_many([api, holder])
    for number in (1, BAD):
        await put_app_role(directory, number)
    assert await directory.app_roles.roles_of(holder.object_id, api.client_id) == (
        "Role.1",
        f"Role.{BAD}",
    )
    change(tmp_path, schema.app_role_assignments, "created = 9e999")
    directory._session.clear_caches()
    assert await directory.app_roles.roles_of(holder.object_id, api.client_id) == ("Role.1",)


@pytest.mark.parametrize("column", ["document", "object_id"])
async def test_roles_of_a_corrupt_application_are_an_error(
    directory: Directory, tmp_path: Path, column: str
) -> None:
    api = application(3, document={"appRoles": []})
    holder = application(1)
    await directory.identities.put_many([api, holder])
    await put_app_role(directory, 1)
    statement = f"UPDATE identities SET {column} = {INVALID_UTF8} WHERE client_id = ?"
    corrupt(tmp_path / "directory.db", statement, api.client_id)
    directory._session.clear_caches()
    with pytest.raises(
        CorruptRowError, match=f"{api.client_id} in table identities cannot be read"
    ):
        await directory.app_roles.roles_of(holder.object_id, api.client_id)


ROLE = {"id": guid(1, 2), "value": "Role.1"}


@pytest.mark.parametrize(
    "roles",
    [
        *([1], ["x"], {"a": 1}, [ROLE, "x"], [ROLE | {"value": 7}], [ROLE | {"value": {"x": 1}}]),
        *(7, [{"value": "Role"}]),
    ],
)
async def test_invalid_role_in_an_application_is_a_corrupt_row(
    directory: Directory, roles: object
) -> None:
    api = application(3, document={"appRoles": roles})
    holder = application(1)
    await directory.identities.put_many([api, holder])
    await put_app_role(directory, 1)
    with pytest.raises(
        CorruptRowError, match=f"{api.client_id} in table identities cannot be read"
    ):
        await directory.app_roles.roles_of(holder.object_id, api.client_id)


@pytest.mark.parametrize("switch", ["true", "false", 1, None])
async def test_disabled_role_grants_nothing(directory: Directory, switch: object) -> None:
    api = application(3, document={"appRoles": [ROLE | {"isEnabled": switch}]})
    holder = application(1)
    await directory.identities.put_many([api, holder])
    await put_app_role(directory, 1)
    assert await directory.app_roles.roles_of(holder.object_id, api.client_id) == ()


async def test_role_assignments_are_deleted_with_their_scope_even_if_corrupt(
    directory: Directory, tmp_path: Path
) -> None:
    """Otherwise a repaired row would apply to a later resource at this scope."""
    here = f"{SUB}/resourceGroups/rg/providers/x/identities/web"
    made = Identity(
        tenant_id=TENANT, client_id=guid(5), object_id=guid(5, 1), name="web", resource_id=here
    )
    await directory.identities.put(made)
    for number in (1, BAD):
        held: dict[str, Any] = {"scope": here, "principal_id": guid(number, 1), "role": OWNER}
        await directory.assignments.put(RoleAssignment(name=guid(number), **held))
    change(tmp_path, schema.role_assignments, f"description = {INVALID_UTF8}")
    assert await directory.identities.delete(TENANT, made.client_id)
    assert await directory.assignments.list() == []
    assert await directory.assignments.get(guid(BAD)) is None


async def test_role_with_an_assignment_at_a_corrupt_scope_cannot_lose_scopes(
    directory: Directory, tmp_path: Path
) -> None:
    mine = RoleDefinition(id=guid(7), name="mine", scopes=("/",), actions=("*",), built_in=False)
    await directory.role_definitions.put(mine)
    held: dict[str, Any] = {"scope": SUB, "principal_id": guid(1, 1), "role": mine.id}
    await directory.assignments.put(RoleAssignment(name=guid(BAD), **held))
    change(tmp_path, schema.role_assignments, f"scope = {INVALID_UTF8}")
    narrower = RoleDefinition(
        id=mine.id, name="mine", scopes=(SUB,), actions=("*",), built_in=False
    )
    with pytest.raises(
        CorruptRowError, match=f"the row of {mine.id} at .* in table role_assignments"
    ):
        await directory.role_definitions.put(narrower)


async def test_hint_for_a_corrupt_audit_entry_does_not_propose_to_delete_it(
    directory: Directory, tmp_path: Path
) -> None:
    await put_audit_entry(directory, BAD)
    change(tmp_path, schema.audit_entries, f"actor = {INVALID_UTF8}")
    with collecting_errors() as errors:
        await directory.audit.list()
    [row] = errors
    assert "backup" in row.hint
    assert "delete" not in row.hint


async def test_corrupt_consent_grants_nothing(directory: Directory, tmp_path: Path) -> None:
    grant = PermissionGrant(
        id="", tenant_id=TENANT, client_id=guid(1), resource_id=guid(2), scope="read"
    )
    await directory.grants.add([grant, replace(grant, principal_id=guid(3), scope="write")])
    parties = {"tenant_id": TENANT, "client_id": guid(1), "resource_id": guid(2)}
    assert await directory.grants.granted(**parties, user_id=guid(3)) == {"read", "write"}
    statement = f"UPDATE permission_grants SET scope = {INVALID_UTF8} WHERE principal_id = ''"
    corrupt(tmp_path / "directory.db", statement)
    directory.clear_caches()
    assert await directory.grants.granted(**parties, user_id=guid(3)) == {"write"}
    assert [one.principal_id for one in await directory.grants.page(TENANT)] == [guid(3)]
