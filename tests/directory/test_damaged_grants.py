"""People, roles, the record of changes: a damaged row is told, takes no other with it, and grants nothing."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

from podpass.database import RowDamaged, hearing
from podpass.directory.model import (
    AppRoleAssignment,
    AuditEntry,
    Identity,
    IdentityKind,
    RoleAssignment,
    RoleDefinition,
    User,
)
from podpass.directory.roles import BY_NAME
from podpass.directory.store.directory import Directory
from podpass.directory.store.schema import (
    app_role_assignments,
    audit_entries,
    role_assignments,
    users,
)
from tests.directory.conftest import TENANT
from tests.directory.faults import NO_DATES, damage, left_out, wrong

SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
OWNER, READER = BY_NAME["owner"].id, BY_NAME["reader"].id
WRITE = "Microsoft.Resources/subscriptions/resourceGroups/write"
READ = WRITE.replace("write", "read")
BAD = 2
NAMED_BY = {
    users: "id",
    role_assignments: "name",
    app_role_assignments: "id",
    audit_entries: "correlation_id",
}
# By the first a list asks for its rows; the second is a number that SQLite itself holds to.
ALL_WRONG = [
    one
    for table in NAMED_BY
    for one in wrong(
        table, *({"users": ("tenant_id",), "audit_entries": ("serial",)}.get(table.name, ()))
    )
]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


def guid(number: int, kind: int = 0) -> str:
    return f"00000000-0000-4000-8000-{kind:06}{number:06}"


def change(tmp_path: Path, table: Table, what: str, number: int = BAD) -> None:
    statement = f"UPDATE {table.name} SET {what} WHERE {NAMED_BY[table]} = ?"
    damage(tmp_path / "directory.db", statement, guid(number))


async def put(directory: Directory, number: int) -> None:
    """Put one of each into a directory, named by its number."""
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


async def listed(directory: Directory, table: Table, limit: int | None) -> list[str]:
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


@pytest.mark.parametrize(("table", "what"), ALL_WRONG)
async def test_a_damaged_row_is_told_and_the_others_are_listed(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: Table, what: str
) -> None:
    for number in (1, BAD, 3):
        await put(directory, number)
    change(tmp_path, table, what)
    directory._session.forget()
    assert await listed(directory, table, None) == [guid(1), guid(3)]
    told, column = left_out(caplog), what.split('"')[1]
    assert told
    for said in told:
        assert f"in table {table.name} cannot be read" in said
        assert f"{column}: want a" in said


@pytest.mark.parametrize(
    ("table", "column"),
    [(users, "created"), (role_assignments, "created"), (audit_entries, "time")],
)
@pytest.mark.parametrize("value", NO_DATES)
async def test_a_time_that_is_no_date_is_damage_of_its_row(
    directory: Directory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    table: Table,
    column: str,
    value: str,
) -> None:
    """It cannot be written for anybody: whoever listed it was answered nothing at all."""
    for number in (1, BAD, 3):
        await put(directory, number)
    change(tmp_path, table, f"{column} = {value}")
    assert await listed(directory, table, None) == [guid(1), guid(3)]
    assert f"{column}: want seconds since the epoch" in left_out(caplog)[0]


@pytest.mark.parametrize(("table", "column"), [(users, "password"), (role_assignments, "role")])
async def test_a_page_is_full_although_one_of_it_is_damaged(
    directory: Directory, tmp_path: Path, table: Table, column: str
) -> None:
    """A short page is the last one for every client: what comes behind would be lost."""
    for number in (1, BAD, 3):
        await put(directory, number)
    change(tmp_path, table, f"{column} = x'ff'")
    assert await listed(directory, table, 2) == [guid(1), guid(3)]


async def test_a_page_of_the_record_is_full_although_one_of_it_is_damaged(
    directory: Directory, tmp_path: Path
) -> None:
    for number in (1, BAD, 3):
        await put(directory, number)
    every = [one.serial for one in await directory.audit.list()]
    change(tmp_path, audit_entries, "target = x'ff'")
    page = await directory.audit.list(limit=len(every) - 2)
    assert len(page) == len(every) - 2
    rest = await directory.audit.list(limit=len(every), after=page[-1].serial)
    assert len(page) + len(rest) == len(every) - 1


@pytest.mark.parametrize("column", ["name", "display_name", "password", "created"])
async def test_a_damaged_user_is_refused_however_asked_for(
    directory: Directory, tmp_path: Path, column: str
) -> None:
    """Taken for absent, another could be made in its place, and hold what it was given."""
    await put(directory, BAD)
    change(tmp_path, users, f"{column} = x'ff'")
    same = User(id=guid(BAD), tenant_id=TENANT, name=f"{BAD}@contoso.example")
    message = f"the row of {guid(BAD)} in table users cannot be read"
    with pytest.raises(RowDamaged, match=message):
        await directory.users.get(guid(BAD))
    with pytest.raises(RowDamaged, match=message):
        await directory.users.find(TENANT, same.name)
    with pytest.raises(RowDamaged, match=message):
        await directory.users.put(same)


async def test_a_damaged_role_assignment_is_refused_however_asked_for(
    directory: Directory, tmp_path: Path
) -> None:
    await put(directory, BAD)
    change(tmp_path, role_assignments, "created_by = x'ff'")
    same = RoleAssignment(scope=SUB, principal_id=guid(BAD, 1), role=OWNER)
    message = f"the row of {guid(BAD)} in table role_assignments cannot be read"
    for asked in (
        directory.assignments.get(guid(BAD)),
        directory.assignments.delete(guid(BAD)),
        directory.assignments.put(same),
    ):
        with pytest.raises(RowDamaged, match=message):
            await asked


async def test_a_damaged_application_role_is_refused_however_asked_for(
    directory: Directory, tmp_path: Path
) -> None:
    await put(directory, BAD)
    there = await directory.app_roles.get(guid(BAD))
    assert there is not None
    change(tmp_path, app_role_assignments, "principal_type = x'ff'")
    message = f"the row of {guid(BAD)} in table app_role_assignments cannot be read"
    for asked in (
        directory.app_roles.get(guid(BAD)),
        directory.app_roles.delete(guid(BAD)),
        directory.app_roles.put(there),
    ):
        with pytest.raises(RowDamaged, match=message):
            await asked


@pytest.mark.parametrize(
    "column", ["scope", "role", "principal_type", "description", "created", "created_by"]
)
@pytest.mark.parametrize("value", ["x'ff'", "CAST(x'ff' AS TEXT)"])
async def test_a_damaged_assignment_permits_nothing_and_takes_no_other_with_it(
    directory: Directory, tmp_path: Path, column: str, value: str
) -> None:
    principal = guid(1, 1)
    for name, role in ((guid(1), READER), (guid(BAD), OWNER)):
        held = RoleAssignment(name=name, scope=SUB, principal_id=principal, role=role)
        await directory.assignments.put(held)
    assert await directory.permitted(principal, WRITE, SUB)
    change(tmp_path, role_assignments, f"{column} = {value}")
    directory._session.forget()
    assert not await directory.permitted(principal, WRITE, SUB)
    assert await directory.permitted(principal, READ, SUB)


async def test_a_damaged_application_role_is_in_no_token_and_takes_no_other_with_it(
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
    change(tmp_path, app_role_assignments, "created = 'zz'")
    directory._session.forget()
    assert await directory.app_roles.roles_of(holder.object_id, api.client_id) == ("Role.1",)


@pytest.mark.parametrize("column", ["document", "object_id"])
async def test_roles_of_an_application_that_is_damaged_are_not_taken_for_none(
    directory: Directory, tmp_path: Path, column: str
) -> None:
    api = application("api", guid(1, 3), document={"appRoles": []})
    holder = application("holder", guid(1, 1))
    await directory.identities.put_many([api, holder])
    await put(directory, 1)
    statement = f"UPDATE identities SET {column} = CAST({column} AS BLOB) WHERE client_id = ?"
    damage(tmp_path / "directory.db", statement, api.client_id)
    directory._session.forget()
    with pytest.raises(RowDamaged, match=f"{api.client_id} in table identities cannot be read"):
        await directory.app_roles.roles_of(holder.object_id, api.client_id)


ROLE = {"id": guid(1, 2), "value": "Role.1"}


@pytest.mark.parametrize(
    "roles",
    [[1], ["x"], {"a": 1}, [ROLE, "x"], [ROLE | {"value": 7}], [ROLE | {"value": {"x": 1}}], 7],
)
async def test_roles_that_are_none_are_damage_of_their_application(
    directory: Directory, roles: object
) -> None:
    api = application("api", guid(1, 3), document={"appRoles": roles})
    holder = application("holder", guid(1, 1))
    await directory.identities.put_many([api, holder])
    await put(directory, 1)
    with pytest.raises(RowDamaged, match=f"{api.client_id} in table identities cannot be read"):
        await directory.app_roles.roles_of(holder.object_id, api.client_id)


@pytest.mark.parametrize("switch", ["true", "false", 1, None])
async def test_a_role_is_held_that_is_switched_on_and_no_other(
    directory: Directory, switch: object
) -> None:
    api = application("api", guid(1, 3), document={"appRoles": [ROLE | {"isEnabled": switch}]})
    holder = application("holder", guid(1, 1))
    await directory.identities.put_many([api, holder])
    await put(directory, 1)
    assert await directory.app_roles.roles_of(holder.object_id, api.client_id) == ()


async def test_what_ruled_a_place_goes_with_it_damaged_or_not(
    directory: Directory, tmp_path: Path
) -> None:
    """Mended later, it would rule whatever lies there then."""
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
    change(tmp_path, role_assignments, "description = x'ff'")
    assert await directory.identities.delete(TENANT, made.client_id)
    assert await directory.assignments.list() == []
    assert await directory.assignments.get(guid(BAD)) is None


async def test_a_role_that_is_held_nobody_can_say_where_is_not_narrowed(
    directory: Directory, tmp_path: Path
) -> None:
    mine = RoleDefinition(id=guid(7), name="mine", scopes=("/",), actions=("*",), built_in=False)
    await directory.role_definitions.put(mine)
    held: dict[str, Any] = {"scope": SUB, "principal_id": guid(1, 1), "role": mine.id}
    await directory.assignments.put(RoleAssignment(name=guid(BAD), **held))
    change(tmp_path, role_assignments, "scope = x'ff'")
    narrower = RoleDefinition(
        id=mine.id, name="mine", scopes=(SUB,), actions=("*",), built_in=False
    )
    with pytest.raises(RowDamaged, match=f"the row of {mine.id} at .* in table role_assignments"):
        await directory.role_definitions.put(narrower)


async def test_nobody_is_told_to_delete_from_the_record(
    directory: Directory, tmp_path: Path
) -> None:
    await put(directory, BAD)
    change(tmp_path, audit_entries, "actor = x'ff'")
    with hearing() as heard:
        await directory.audit.list()
    [row] = heard
    assert "backup" in row.hint
    assert "delete" not in row.hint
