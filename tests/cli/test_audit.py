"""`podpass audit`: who changed what, as people and as programs read it."""

import json
from pathlib import Path

import pytest

from tests.directory.faults import damage
from tests.local.instances import CLIENT, SEED, Podpass


def rows(podpass: Podpass, *options: str) -> list[dict[str, str]]:
    done = podpass("audit", "-o", "json", *options)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def test_a_seeds_changes_are_recorded_with_who_and_when(running: Podpass) -> None:
    made = [row for row in rows(running) if row["target"].endswith("/userAssignedIdentities/web")]
    assert [row["action"] for row in made] == [
        "Microsoft.ManagedIdentity/userAssignedIdentities/write"
    ]
    assert made[0]["who"] == "podpass"
    assert made[0]["time"].endswith("Z")


def test_no_value_of_a_secret_is_in_the_record(running: Podpass) -> None:
    assert "hello" not in running("audit", "-o", "json").stdout


def test_the_latest_change_comes_last_and_limits_keep_the_newest(running: Podpass) -> None:
    every = rows(running)
    assert [row["time"] for row in every] == sorted(row["time"] for row in every)
    assert rows(running, "--limit", "2") == every[-2:]


def test_changes_are_found_by_who_and_by_target(running: Podpass) -> None:
    assert rows(running, "--who", "PODPASS") == rows(running)
    assert rows(running, "--who", "nobody") == []
    vaults = rows(running, "--target", "/vaults/tools-vault")
    assert vaults
    assert all("/vaults/tools-vault" in row["target"] for row in vaults)
    assert rows(running, "--since", "1d") == rows(running)
    assert CLIENT not in json.dumps(rows(running, "--target", "roleAssignments"))


def test_the_table_has_a_line_a_change(running: Podpass) -> None:
    lines = running("audit").stdout.splitlines()
    assert lines[0].split() == ["TIME", "WHO", "ACTION", "TARGET"]
    assert len(lines) == 1 + len(rows(running))


@pytest.mark.parametrize("since", ["10", "0m", "m", "1w", "-1h"])
def test_a_time_that_cannot_be_read_is_refused(running: Podpass, since: str) -> None:
    done = running("audit", "--since", since)
    assert done.returncode == 2
    assert "30m" in done.stderr


def test_an_entry_that_cannot_be_read_is_told_and_the_others_are_listed(
    podpass: Podpass, tmp_path: Path
) -> None:
    """Who edits the record must not be helped by a list that is only shorter."""
    seed = tmp_path / "seed.yaml"
    seed.write_text(SEED)
    podpass.up("--seed", str(seed))
    every = rows(podpass)
    change = "UPDATE audit_entries SET actor_name = x'ff' WHERE serial = 2"
    damage(podpass.data_dir / "directory.db", change)
    listed = podpass("audit", "-o", "json")
    assert listed.returncode == 0
    assert len(json.loads(listed.stdout)) == len(every) - 1
    said, cure = listed.stderr.splitlines()
    assert said == "left out: the row of 2 in table audit_entries cannot be read"
    assert "backup" in cure
    assert "delete" not in cure
