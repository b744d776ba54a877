"""`podpass identity` where a name is not enough."""

from typing import Any

import pytest
from click.testing import CliRunner

from podpass.tools.cli import identity

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
        "/identities": {"value": [row("1111", "shop"), row("2222", None)], "after": "2222"},
        "/identities?after=2222": {"value": [row("3333", "other")], "after": None},
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
