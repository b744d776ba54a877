"""Users, roles and the audit log: a corrupt row is reported, hides no other row, and grants nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

from podpass.database import CorruptRowError, collecting_errors
from podpass.directory.model import (
    AppRoleAssignment,
    AuditEntry,
    Identity,
    IdentityKind,
    PermissionGrant,
    RoleAssignment,
    RoleDefinition,
    User,
)
from podpass.directory.roles import RoleCatalogue
from podpass.directory.store.directory import Directory
from podpass.directory.store.schema import (
    app_role_assignments,
    audit_entries,
    role_assignments,
    users,
)
from tests.directory.conftest import TENANT
from tests.directory.database_faults import (
    INVALID_TIMES,
    INVALID_UTF8,
    corrupt,
    corrupt_values,
    skipped_rows,
)

SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
OWNER, READER = (RoleCatalogue().by_name[name].id for name in ("owner", "reader"))
WRITE = "Microsoft.Resources/subscriptions/resourceGroups/write"
READ = WRITE.replace("write", "read")
BAD = 2
NAMED_BY = {
    users: "id",
    role_assignments: "name",
    app_role_assignments: "id",
    audit_entries: "correlation_id",
}
# A user with another tenant is not found by a list.
ALL_CORRUPT = [
    one
    for table in NAMED_BY
    for one in corrupt_values(table, *({"users": ("tenant_id",)}.get(table.name, ())))
]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


def guid(number: int, kind: int = 0) -> str:
    return f"00000000-0000-4000-8000-{kind:06}{number:06}"


def change(tmp_path: Path, table: Table, what: str, number: int = BAD) -> None:
    statement = f"UPDATE {table.name} SET {what} WHERE {NAMED_BY[table]} = ?"
    corrupt(tmp_path / "directory.db", statement, guid(number))


async def put(directory: Directory, number: int) -> None:
    """Create one object of each kind, with ids from the number."""
    name = guid(number)
    await directory.users.put(User(id=name, tenant_id=TENANT, name=f"{number}@contoso.example"))
    held: dict[str, Any] = {"scope": SUB, "principal_id": guid(number, 1), "role": OWNER}
    await directory.assignments.put(RoleAssignment(name=name, **held))
    of: dict[str, Any] = {"principal_type": "ServicePrincipal", "app_role_id": guid(number, 2)}
    given: dict[str, Any] = {"id": name, "principal_id": guid(1, 1), "resource_id": guid(1, 3)}
    await directory.app_roles.put(AppRoleAssignment(**given, **of))
    one: dict[str, Any] = {
        "actor": "a",
        "actor_name": "b",
        "action": "c",
        "target": "d",
        "correlation_id": name,
    }
    await directory.audit.record(AuditEntry(time=float(number), **one))


async def list_objects(directory: Directory, table: Table, limit: int | None) -> list[str]:
    found: list[Any]
    if table is users:
        return [one.id for one in await directory.users.list(TENANT, limit=limit)]
    if table is role_assignments:
        return [one.name for one in await directory.assignments.list(limit=limit)]
    if table is app_role_assignments:
        return [one.id for one in await directory.app_roles.list()]
    found = await directory.audit.list(limit=limit or 100)
    return [one.correlation_id for one in found if one.correlation_id][::-1]


def application(name: str, object_id: str, **more: Any) -> Identity:
    return Identity(
        tenant_id=TENANT,
        client_id=object_id.replace("8000", "9000"),
        object_id=object_id,
        name=name,
        kind=IdentityKind.APPLICATION,
        resource_id=None,
        **more,
    )


@pytest.mark.parametrize(("table", "what"), ALL_CORRUPT)
async def test_corrupt_row_is_logged_and_other_rows_are_listed(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: Table, what: str
) -> None:
    for number in (1, BAD, 3):
        await put(directory, number)
    change(tmp_path, table, what)
    directory._session.clear_caches()
    assert await list_objects(directory, table, None) == [guid(1), guid(3)]
    causes, column = skipped_rows(caplog), what.split('"')[1]
    assert causes
    for cause in causes:
        assert f"in table {table.name} cannot be read" in cause
        assert f"{column}: want " in cause


@pytest.mark.parametrize(
    ("table", "column"),
    [(users, "created"), (role_assignments, "created"), (audit_entries, "time")],
)
@pytest.mark.parametrize("value", INVALID_TIMES)
async def test_invalid_time_is_a_corrupt_row(
    directory: Directory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    table: Table,
    column: str,
    value: str,
) -> None:
    """One such time must not cause an error for the complete list."""
    for number in (1, BAD, 3):
        await put(directory, number)
    change(tmp_path, table, f"{column} = {value}")
    assert await list_objects(directory, table, None) == [guid(1), guid(3)]
    assert f"{column}: want seconds since the epoch" in skipped_rows(caplog)[0]


@pytest.mark.parametrize(("table", "column"), [(users, "password"), (role_assignments, "role")])
async def test_page_with_a_corrupt_row_is_full(
    directory: Directory, tmp_path: Path, table: Table, column: str
) -> None:
    """Clients treat a short page as the last one, and would not read the rows after it."""
    for number in (1, BAD, 3):
        await put(directory, number)
    change(tmp_path, table, f"{column} = {INVALID_UTF8}")
    assert await list_objects(directory, table, 2) == [guid(1), guid(3)]


async def test_audit_page_with_a_corrupt_row_is_full(directory: Directory, tmp_path: Path) -> None:
    for number in (1, BAD, 3):
        await put(directory, number)
    every = [one.serial for one in await directory.audit.list()]
    change(tmp_path, audit_entries, f"target = {INVALID_UTF8}")
    page = await directory.audit.list(limit=len(every) - 2)
    assert len(page) == len(every) - 2
    rest = await directory.audit.list(limit=len(every), after=page[-1].serial)
    assert len(page) + len(rest) == len(every) - 1


@pytest.mark.parametrize(
    "what",
    [
        *(f"{one} = {INVALID_UTF8}" for one in ("name", "display_name", "password")),
        "created = 9e999",
    ],
)
async def test_corrupt_user_is_refused_in_every_read(
    directory: Directory, tmp_path: Path, what: str
) -> None:
    """If it counted as absent, a new user could get its name and its role assignments."""
    await put(directory, BAD)
    change(tmp_path, users, what)
    same = User(id=guid(BAD), tenant_id=TENANT, name=f"{BAD}@contoso.example")
    message = f"the row of {guid(BAD)} in table users cannot be read"
    with pytest.raises(CorruptRowError, match=message):
        await directory.users.get(guid(BAD))
    with pytest.raises(CorruptRowError, match=message):
        await directory.users.find(TENANT, same.name)
    with pytest.raises(CorruptRowError, match=message):
        await directory.users.put(same)


async def test_corrupt_role_assignment_is_refused_in_every_read(
    directory: Directory, tmp_path: Path
) -> None:
    await put(directory, BAD)
    change(tmp_path, role_assignments, f"created_by = {INVALID_UTF8}")
    same = RoleAssignment(scope=SUB, principal_id=guid(BAD, 1), role=OWNER)
    message = f"the row of {guid(BAD)} in table role_assignments cannot be read"
    for call in (
        directory.assignments.get(guid(BAD)),
        directory.assignments.delete(guid(BAD)),
        directory.assignments.put(same),
    ):
        with pytest.raises(CorruptRowError, match=message):
            await call


async def test_corrupt_application_role_is_refused_in_every_read(
    directory: Directory, tmp_path: Path
) -> None:
    await put(directory, BAD)
    assigned = await directory.app_roles.get(guid(BAD))
    assert assigned is not None
    change(tmp_path, app_role_assignments, f"principal_type = {INVALID_UTF8}")
    message = f"the row of {guid(BAD)} in table app_role_assignments cannot be read"
    for call in (
        directory.app_roles.get(guid(BAD)),
        directory.app_roles.delete(guid(BAD)),
        directory.app_roles.put(assigned),
    ):
        with pytest.raises(CorruptRowError, match=message):
            await call


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
    change(tmp_path, role_assignments, what)
    directory._session.clear_caches()
    assert not await directory.is_permitted(principal, WRITE, SUB)
    assert await directory.is_permitted(principal, READ, SUB)


async def test_corrupt_application_role_grants_nothing_and_hides_no_other(
    directory: Directory, tmp_path: Path
) -> None:
    roles = [{"id": guid(each, 2), "value": f"Role.{each}"} for each in (1, BAD)]
    api = application("api", guid(1, 3), document={"appRoles": roles})
    holder = application("holder", guid(1, 1))
    await directory.identities.put_many([api, holder])
    for number in (1, BAD):
        await put(directory, number)
    assert await directory.app_roles.roles_of(holder.object_id, api.client_id) == (
        "Role.1",
        f"Role.{BAD}",
    )
    change(tmp_path, app_role_assignments, "created = 9e999")
    directory._session.clear_caches()
    assert await directory.app_roles.roles_of(holder.object_id, api.client_id) == ("Role.1",)


@pytest.mark.parametrize("column", ["document", "object_id"])
async def test_roles_of_a_corrupt_application_are_an_error(
    directory: Directory, tmp_path: Path, column: str
) -> None:
    api = application("api", guid(1, 3), document={"appRoles": []})
    holder = application("holder", guid(1, 1))
    await directory.identities.put_many([api, holder])
    await put(directory, 1)
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
    [[1], ["x"], {"a": 1}, [ROLE, "x"], [ROLE | {"value": 7}], [ROLE | {"value": {"x": 1}}], 7],
)
async def test_invalid_role_in_an_application_is_a_corrupt_row(
    directory: Directory, roles: object
) -> None:
    api = application("api", guid(1, 3), document={"appRoles": roles})
    holder = application("holder", guid(1, 1))
    await directory.identities.put_many([api, holder])
    await put(directory, 1)
    with pytest.raises(
        CorruptRowError, match=f"{api.client_id} in table identities cannot be read"
    ):
        await directory.app_roles.roles_of(holder.object_id, api.client_id)


@pytest.mark.parametrize("switch", ["true", "false", 1, None])
async def test_disabled_role_grants_nothing(directory: Directory, switch: object) -> None:
    api = application("api", guid(1, 3), document={"appRoles": [ROLE | {"isEnabled": switch}]})
    holder = application("holder", guid(1, 1))
    await directory.identities.put_many([api, holder])
    await put(directory, 1)
    assert await directory.app_roles.roles_of(holder.object_id, api.client_id) == ()


async def test_role_assignments_are_deleted_with_their_scope_even_if_corrupt(
    directory: Directory, tmp_path: Path
) -> None:
    """Otherwise a repaired row would apply to a later resource at this scope."""
    here = f"{SUB}/resourceGroups/rg/providers/x/identities/web"
    made = Identity(
        tenant_id=TENANT,
        client_id=guid(5),
        object_id=guid(5, 1),
        name="web",
        resource_id=here,
    )
    await directory.identities.put(made)
    for number in (1, BAD):
        held: dict[str, Any] = {"scope": here, "principal_id": guid(number, 1), "role": OWNER}
        await directory.assignments.put(RoleAssignment(name=guid(number), **held))
    change(tmp_path, role_assignments, f"description = {INVALID_UTF8}")
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
    change(tmp_path, role_assignments, f"scope = {INVALID_UTF8}")
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
    await put(directory, BAD)
    change(tmp_path, audit_entries, f"actor = {INVALID_UTF8}")
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
