"""`podpass identity` where a name is not enough; lists of which a row cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from podpass.cli import identity
from tests.directory.faults import damage
from tests.local.instances import CLIENT, SEED, Podpass

ARM = "/subscriptions/s/resourcegroups/{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"


def row(client_id: str, group: str | None) -> dict[str, Any]:
    return {
        "name": "web",
        "kind": "managed-identity" if group else "application",
        "client_id": client_id,
        "principal_id": "p",
        "resource_id": ARM.format(group) if group else None,
        "federated_credentials": [],
    }


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pages of an instance's identities, as its control API gives them."""
    pages = {
        "/identities": {
            "value": [row("1111", "shop"), row("2222", None)],
            "after": "2222",
            "damaged": [],
        },
        "/identities?after=2222": {"value": [row("3333", "other")], "after": None, "damaged": []},
    }
    monkeypatch.setattr(identity, "control", lambda _, __, path: pages[path])


def run(*arguments: str) -> Any:
    return CliRunner().invoke(identity.command, list(arguments))


def test_a_name_of_several_is_refused_with_what_tells_them_apart() -> None:
    refused = run("show", "web").exception
    assert isinstance(refused, identity.SeveralIdentities)
    assert "1111 (shop), 2222 (application), 3333 (other)" in refused.message
    assert "CLIENT-ID" in refused.hint


def test_a_client_id_names_one_of_them() -> None:
    assert "3333" in run("show", "3333").output


def test_the_list_follows_every_page_and_tells_the_groups() -> None:
    lines = [line.split()[:3] for line in run("list").output.splitlines()]
    assert lines[1:] == [
        ["web", "managed-identity", "shop"],
        ["web", "application", "-"],
        ["web", "managed-identity", "other"],
    ]


def test_each_row_that_may_be_the_one_is_told_with_its_own_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damaged = [{"message": f"row {one} is bad", "hint": f"cure {one}"} for one in ("a", "b")]
    pages = {
        "/identities": {"value": [], "after": "2222", "damaged": damaged[:1]},
        "/identities?after=2222": {"value": [], "after": None, "damaged": damaged[1:]},
    }
    monkeypatch.setattr(identity, "control", lambda _, __, path: pages[path])
    refused = run("show", "web")
    assert isinstance(refused.exception, identity.IdentityUnreadable)
    told = ["left out: row a is bad", "  cure a", "left out: row b is bad", "  cure b"]
    assert refused.stderr.splitlines() == told


def test_a_row_that_cannot_be_read_is_told_and_the_others_are_listed(
    podpass: Podpass, tmp_path: Path
) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(SEED.replace("vaults:", "  - name: api\nvaults:"))
    podpass.up("--seed", str(seed))
    database = podpass.data_dir / "directory.db"
    damage(database, "UPDATE identities SET tags = 'x' WHERE client_id = ?", CLIENT)
    row = f"the row of {CLIENT} in table identities cannot be read"

    listed = podpass("identity", "list", "-o", "json")
    assert listed.returncode == 0
    names = {one["name"] for one in json.loads(listed.stdout)}
    assert "api" in names
    assert "web" not in names
    said, cure = listed.stderr.splitlines()
    assert said == f"left out: {row}"
    assert "backup" in cure
    assert row in podpass("identity", "list").stderr

    for name in ("web", CLIENT):
        refused = podpass("identity", "show", name)
        assert refused.returncode == 1
        left_out, cure, said, hint = refused.stderr.splitlines()
        assert left_out == f"left out: {row}"
        assert "backup" in cure
        assert said == f"podpass: none that can be read is called {name}"
        assert "left out" in hint
    damage(database, "UPDATE vaults SET tags = 'x' WHERE name = 'tools-vault'")
    listed = podpass("vault", "list", "-o", "json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    assert "left out: the row of tools-vault in table vaults cannot be read" in listed.stderr

    shown = podpass("identity", "show", "api")
    assert shown.returncode == 0
    assert row in shown.stderr
