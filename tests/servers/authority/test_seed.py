"""`podpass authority seed`: a new database, a repeated seed, and errors before any change."""

import asyncio
import json
from pathlib import Path

import click
import pytest

from podpass.cli.authority import command as authority_command
from podpass.database import Database
from podpass.directory.resources import GRAPH_APP_ID
from podpass.directory.store.directory import Directory
from podpass.settings.authority_process import default_subscription_id
from tests.servers.authority.running import SEED, TENANT, Authority

pytestmark = pytest.mark.processes

ISSUER = "https://issuer.example/"
WEB = """
identities:
  - name: web
    federated_credentials:
      - {name: web, issuer: cluster, subject: "system:serviceaccount:default:web"}
"""


@pytest.fixture
def unseeded_authority(authority: Authority) -> Authority:
    (authority.folder / "authority.db").unlink()
    return authority


def _seed(
    authority: Authority, text: str, *arguments: str, tenant: str | None = TENANT
) -> tuple[int, str, str]:
    path = authority.folder / "seed.yaml"
    path.write_text(text)
    where = ["--database", authority.database]
    where += ["--tenant-id", tenant] if tenant else []
    done = authority.command("seed", "-f", str(path), *where, *arguments)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


async def _read_permissions(url: str, name: str) -> tuple[list[str], set[str], list[str]]:
    async with Database(url) as database, Directory(database) as directory:
        (found,) = await directory.list_identities(TENANT, name)
        held = await directory.assignments.list_for_principal(found.object_id)
        roles = await directory.app_roles.roles_of(found.object_id, GRAPH_APP_ID)
        page = await directory.audit.list(since=0, limit=100)
        return [one.scope for one in held], set(roles), [entry.actor_name for entry in page]


def test_seed_creates_database_tenant_and_identities(unseeded_authority: Authority) -> None:
    code, out, _ = _seed(unseeded_authority, WEB, "--cluster-issuer", ISSUER, "-o", "json")
    assert code == 0
    done = json.loads(out)
    assert done["tenant_id"] == TENANT
    assert done["changed"] == ["identity web created", "federated credential web/web created"]
    assert set(done["identities"]) == {"web"}


def test_repeated_seed_changes_nothing_and_needs_no_tenant(unseeded_authority: Authority) -> None:
    assert _seed(unseeded_authority, SEED.replace(", app", ""))[0] == 0
    code, out, err = _seed(unseeded_authority, SEED.replace(", app", ""), tenant=None)
    assert (code, out) == (0, "")
    assert "no changes" in err


def test_administrators_own_the_subscription_and_manage_graph(
    unseeded_authority: Authority,
) -> None:
    code, out, _ = _seed(unseeded_authority, SEED.replace(", app", ""))
    assert code == 0
    assert "administrator ops created" in out
    scopes, roles, actors = asyncio.run(_read_permissions(unseeded_authority.database, "ops"))
    assert scopes == [f"/subscriptions/{default_subscription_id(TENANT)}"]
    assert {"Application.ReadWrite.All", "Directory.ReadWrite.All"} <= roles
    assert set(actors) == {"podpass authority seed"}


def test_identities_of_a_seed_are_listed_with_their_client_ids(
    unseeded_authority: Authority,
) -> None:
    listing = ["identities", "--database", unseeded_authority.database]
    missing = unseeded_authority.command(*listing)
    assert missing.returncode != 0
    assert not (unseeded_authority.folder / "authority.db").exists()
    _, out, _ = _seed(unseeded_authority, WEB, "--cluster-issuer", ISSUER, "-o", "json")
    other = TENANT.replace("1", "2")
    status, _, said = _seed(unseeded_authority, SEED.replace(", app", ""), tenant=other)
    assert (status, "authority identities`" in said) == (0, True)
    done = unseeded_authority.command(*listing, "--tenant-id", TENANT, "-o", "json")
    [web] = json.loads(done.stdout)
    assert (web["name"], web["tenant_id"]) == ("web", TENANT)
    assert web["client_id"] == json.loads(out)["identities"]["web"]
    assert web["federated_credentials"][0]["issuer"] == ISSUER
    table = unseeded_authority.command(*listing).stdout
    assert [line.split()[0] for line in table.splitlines()] == ["NAME", "ops", "web"]
    unknown = unseeded_authority.command(*listing, "--tenant-id", TENANT.replace("1", "3"))
    assert unknown.returncode == 2
    assert f"it has: {TENANT}, {other}" in unknown.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WEB, "--cluster-issuer"),
        ("vaults: [{name: demo-vault}]", "unknown key 'vaults'"),
        ("administrators: [unknown]", "no identity 'unknown'"),
        ("administrator: [ops]", "unknown key 'administrator'; did you mean administrators?"),
        ("administrators: [3]", "want text, not a number"),
    ],
)
def test_invalid_seed_is_refused_with_line_before_any_change(
    unseeded_authority: Authority, text: str, said: str
) -> None:
    code, out, err = _seed(unseeded_authority, text)
    assert (code, out) == (2, "")
    assert said in err
    assert "seed.yaml:" in err


def test_new_database_requires_tenant_id(unseeded_authority: Authority) -> None:
    code, _, err = _seed(unseeded_authority, SEED, tenant=None)
    assert code == 2
    assert "the seed needs one tenant, the database has: none" in err


def test_tenant_id_that_is_no_guid_is_refused(unseeded_authority: Authority) -> None:
    code, _, err = _seed(unseeded_authority, SEED, tenant="Contoso")
    assert code == 2
    assert "--tenant-id 'Contoso' is not a GUID" in err
    assert not Path(unseeded_authority.folder / "authority.db").exists()


def test_long_help_has_summary_of_each_command() -> None:
    context = click.Context(authority_command)
    printed = authority_command.get_help(context)
    for name in authority_command.list_commands(context):
        command = authority_command.get_command(context, name)
        assert command is not None
        assert (command.help or "").splitlines()[0].rstrip(".")[:40] in " ".join(printed.split())
