"""`podpass identity` with ambiguous names, and with rows that cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from podpass.cli import client, identity
from tests.directory.database_faults import corrupt
from tests.lab.instance.instances import CLIENT, SEED, Podpass

ARM = "/subscriptions/s/resourcegroups/{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"


def row(client_id: str, group: str | None) -> dict[str, Any]:
    return {
        "name": "web",
        "kind": "managed-identity" if group else "application",
        "client_id": client_id,
        "principal_id": "p",
        "application_id": None,
        "resource_id": ARM.format(group) if group else None,
        "enabled": True,
        "federated_credentials": [],
        "federated_credential_count": 0,
        "federated_credential_limit": 20,
    }


@pytest.fixture(autouse=True)
def two_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return two pages of identities, as the control API does."""
    pages = {
        "/identities": {
            "value": [row("1111", "shop"), row("2222", None)],
            "after": "2222",
            "damaged": [],
        },
        "/identities?after=2222": {"value": [row("3333", "other")], "after": None, "damaged": []},
    }
    monkeypatch.setattr(client, "call_control", lambda _, __, path: pages[path])


def run(*arguments: str) -> Any:
    return CliRunner().invoke(identity.command, list(arguments))


def test_ambiguous_name_is_refused_with_client_id_and_resource_group_of_each() -> None:
    refused = run("show", "web").exception
    assert isinstance(refused, identity.AmbiguousIdentity)
    assert "1111 (shop), 2222 (application), 3333 (other)" in refused.message
    assert "CLIENT-ID" in refused.hint


def test_client_id_selects_one_identity() -> None:
    assert "3333" in run("show", "3333").output


def test_shown_identity_formats_missing_and_boolean_values_as_text() -> None:
    lines = dict(line.split(maxsplit=1) for line in run("show", "1111").output.splitlines())
    assert (lines["application_id"], lines["enabled"]) == ("-", "yes")


def test_identity_list_reads_all_pages_and_shows_resource_groups() -> None:
    lines = [line.split()[:3] for line in run("list").output.splitlines()]
    assert lines[1:] == [
        ["web", "managed-identity", "shop"],
        ["web", "application", "-"],
        ["web", "managed-identity", "other"],
    ]


def test_each_unreadable_row_is_reported_with_its_own_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = [{"message": f"row {one} is bad", "hint": f"hint {one}"} for one in ("a", "b")]
    pages = {
        "/identities": {"value": [], "after": "2222", "damaged": damaged[:1]},
        "/identities?after=2222": {"value": [], "after": None, "damaged": damaged[1:]},
    }
    monkeypatch.setattr(client, "call_control", lambda _, __, path: pages[path])
    refused = run("show", "web")
    assert isinstance(refused.exception, identity.IdentityNotReadable)
    lines = ["skipped: row a is bad", "  hint a", "skipped: row b is bad", "  hint b"]
    assert refused.stderr.splitlines() == lines


@pytest.mark.processes
def test_unreadable_row_is_reported_and_the_others_are_listed(
    podpass: Podpass, tmp_path: Path
) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text(SEED.replace("vaults:", "  - name: api\nvaults:"))
    podpass.up("--seed", str(seed))
    database = podpass.data_dir / "directory.db"
    corrupt(database, "UPDATE identities SET tags = 'x' WHERE client_id = ?", CLIENT)
    row = f"the row of {CLIENT} in table identities cannot be read"

    listed = podpass("identity", "list", "-o", "json")
    assert listed.returncode == 0
    names = {one["name"] for one in json.loads(listed.stdout)}
    assert "api" in names
    assert "web" not in names
    said, hint = listed.stderr.splitlines()
    assert said == f"skipped: {row}"
    assert "backup" in hint
    assert row in podpass("identity", "list").stderr

    for name in ("web", CLIENT):
        refused = podpass("identity", "show", name)
        assert refused.returncode == 1
        skipped, resolution, said, hint = refused.stderr.splitlines()
        assert skipped == f"skipped: {row}"
        assert "backup" in resolution
        assert said == f"podpass: no readable identity has the name or client id {name}"
        assert "skipped" in hint
    corrupt(database, "UPDATE vaults SET tags = 'x' WHERE name = 'tools-vault'")
    listed = podpass("vault", "list", "-o", "json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    assert "skipped: the row of tools-vault in table vaults cannot be read" in listed.stderr

    shown = podpass("identity", "show", "api")
    assert shown.returncode == 0
    assert row in shown.stderr
