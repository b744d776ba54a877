"""`podpass audit`: the audit log as a table and as JSON."""

import json
from pathlib import Path

import pytest

from podpass.database import Database
from podpass.directory.builtin_roles import OWNER
from podpass.directory.model import RoleAssignment, Tenant
from podpass.directory.store.directory import Directory
from podpass.lab.instance.audit import list_changes
from tests.directory.database_faults import corrupt
from tests.lab.instance.instances import CLIENT, SEED, Podpass

TENANT = "22222222-aaaa-4bbb-8ccc-00000000000f"


def rows(podpass: Podpass, *options: str) -> list[dict[str, str]]:
    done = podpass("audit", "-o", "json", *options)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def test_audit_log_contains_changes_of_a_seed_with_actor_and_time(running: Podpass) -> None:
    made = [row for row in rows(running) if row["target"].endswith("/userAssignedIdentities/web")]
    assert [row["action"] for row in made] == [
        "Microsoft.ManagedIdentity/userAssignedIdentities/write"
    ]
    assert made[0]["who"] == "podpass"
    assert made[0]["time"].endswith("Z")


def test_audit_log_contains_no_secret_value(running: Podpass) -> None:
    assert "hello" not in running("audit", "-o", "json").stdout


def test_audit_log_is_sorted_by_time_and_limit_keeps_the_newest_entries(running: Podpass) -> None:
    every = rows(running)
    assert [row["time"] for row in every] == sorted(row["time"] for row in every)
    assert rows(running, "--limit", "2") == every[-2:]


def test_audit_log_is_filtered_by_actor_and_by_target(running: Podpass) -> None:
    assert rows(running, "--who", "PODPASS") == rows(running)
    assert rows(running, "--who", "nobody") == []
    vaults = rows(running, "--target", "/vaults/tools-vault")
    assert vaults
    assert all("/vaults/tools-vault" in row["target"] for row in vaults)
    assert rows(running, "--since", "1d") == rows(running)
    assert CLIENT not in json.dumps(rows(running, "--target", "roleAssignments"))


def test_audit_table_has_one_line_per_change(running: Podpass) -> None:
    lines = running("audit").stdout.splitlines()
    assert lines[0].split() == ["TIME", "WHO", "ACTION", "TARGET", "GRANT"]
    assert len(lines) == 1 + len(rows(running))


def test_role_assignment_names_role_and_principal(running: Podpass) -> None:
    (granted,) = [row for row in rows(running, "--target", "tools-vault") if "role" in row]
    assert (granted["role"], granted["principal"]) == ("Key Vault Secrets User", "web")
    (web,) = [
        row
        for row in json.loads(running("identity", "list", "-o", "json").stdout)
        if row["name"] == "web"
    ]
    assert granted["principal_id"] == web["principal_id"]
    assert granted["target"].rpartition("/")[0].endswith("/roleAssignments")
    assert "Key Vault Secrets User for web" in running("audit").stdout


async def test_deleted_assignment_and_deleted_principal_are_named_by_id(tmp_path: Path) -> None:
    """After the deletion, only the log contains the role and the principal."""
    now = 1_800_000_000.0
    async with (
        Database(f"sqlite:///{tmp_path}/directory.db") as database,
        Directory(database, (), lambda: now) as directory,
    ):
        await directory.create_tenant(Tenant(id=TENANT))
        one = RoleAssignment(scope="/subscriptions/s", principal_id=CLIENT, role=OWNER)
        await directory.assignments.put(one)
        (stored,) = await directory.assignments.list()
        await directory.assignments.delete(stored.name)
        found = await list_changes(directory, {"target": "roleAssignments"}, lambda: now, TENANT)
        entries = await directory.audit.list()
    assert [row["action"].rpartition("/")[2] for row in found] == ["write", "delete"]
    for row in found:
        assert (row["role"], row["principal"], row["principal_id"]) == ("Owner", CLIENT, CLIENT)
        assert " " not in row["target"]
    assert entries[0].details == {"role": OWNER, "principal": CLIENT}


@pytest.mark.parametrize("since", ["10", "0m", "m", "1w", "-1h"])
def test_invalid_since_value_is_refused(running: Podpass, since: str) -> None:
    done = running("audit", "--since", since)
    assert done.returncode == 2
    assert "30m" in done.stderr


@pytest.mark.processes
def test_unreadable_audit_entry_is_reported_and_the_others_are_listed(
    podpass: Podpass, tmp_path: Path
) -> None:
    """An entry that was tampered with must not disappear silently."""
    seed = tmp_path / "seed.yaml"
    seed.write_text(SEED)
    podpass.up("--seed", str(seed))
    every = rows(podpass)
    change = "UPDATE audit_entries SET actor_name = CAST(x'ff' AS TEXT) WHERE serial = 2"
    corrupt(podpass.data_dir / "directory.db", change)
    listed = podpass("audit", "-o", "json")
    assert listed.returncode == 0
    assert len(json.loads(listed.stdout)) == len(every) - 1
    said, hint = listed.stderr.splitlines()
    assert said == "skipped: the row of 2 in table audit_entries cannot be read"
    assert "backup" in hint
    assert "delete" not in hint
