"""Access policies, tokens of users, and the audit of a vault, over TLS."""

from typing import Any

import pytest

from podpass.directory import roles
from podpass.directory.model import AccessPolicy
from podpass.lab.services.vault.model import VaultAccess

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
V = "?api-version=7.4"
ASKED = {
    "get": ("GET", f"/secrets/greeting{V}"),
    "list": ("GET", f"/secrets{V}"),
    "list versions": ("GET", f"/secrets/greeting/versions{V}"),
    "list deleted": ("GET", f"/deletedsecrets{V}"),
    "get deleted": ("GET", f"/deletedsecrets/greeting{V}"),
    "set": ("PUT", f"/secrets/greeting{V}"),
    "update": ("PATCH", f"/secrets/greeting{V}"),
    "delete": ("DELETE", f"/secrets/greeting{V}"),
    "recover": ("POST", f"/deletedsecrets/greeting/recover{V}"),
    "backup": ("POST", f"/secrets/greeting/backup{V}"),
    "restore": ("POST", f"/secrets/restore{V}"),
    "purge": ("DELETE", f"/deletedsecrets/greeting{V}"),
}


def policy(object_id: str, *secrets: str, **how: Any) -> AccessPolicy:
    return AccessPolicy(object_id=object_id, tenant_id=TENANT, secrets=secrets, **how)


@pytest.mark.parametrize(
    ("permission", "opens"),
    [
        ("get", {"get", "get deleted"}),
        ("list", {"list", "list versions", "list deleted"}),
        ("set", {"set", "update"}),
        *((each, {each}) for each in ("delete", "recover", "backup", "restore", "purge")),
        ("all", set(ASKED) - {"purge"}),
        ("nothing", set()),
    ],
)
async def test_access_policy_permission_allows_only_its_operations(
    world: Any, permission: str, opens: set[str]
) -> None:
    who = await world.identity("who", None)
    given = policy(who.object_id, permission)
    await world.vault("demo-vault", access=VaultAccess.POLICIES, policies=(given,))
    token = world.authority.mint(who)
    opened = set()
    for name, (method, path) in ASKED.items():
        status, body, _ = await world.send(method, path, token=token, body={})
        if status != 403:
            opened.add(name)
            continue
        assert body["error"]["code"] == "Forbidden"
        assert body["error"]["innererror"] == {"code": "ForbiddenByPolicy"}
        assert f"oid={who.object_id}" in body["error"]["message"]
        assert "az keyvault set-policy --name demo-vault" in body["error"]["message"]
    assert opened == opens


async def test_role_is_ignored_in_vault_with_access_policies(world: Any, token: str) -> None:
    await world.vault("demo-vault", access=VaultAccess.POLICIES)
    status, body, _ = await world.send("GET", f"/secrets{V}", token=token)
    assert (status, body["error"]["innererror"]["code"]) == (403, "ForbiddenByPolicy")


async def test_access_policy_is_ignored_in_vault_with_roles(world: Any) -> None:
    who = await world.identity("who", None)
    await world.vault("demo-vault", policies=(policy(who.object_id, "all"),))
    token = world.authority.mint(who)
    status, body, _ = await world.send("GET", f"/secrets{V}", token=token)
    assert (status, body["error"]["innererror"]["code"]) == (403, "ForbiddenByRbac")


async def test_access_policy_of_another_tenant_is_ignored(world: Any) -> None:
    """Attack: the administrator of the other tenant chooses its object IDs."""
    who = await world.identity("who", None)
    foreign = AccessPolicy(object_id=who.object_id, tenant_id="other", secrets=("all",))
    await world.vault("demo-vault", access=VaultAccess.POLICIES, policies=(foreign,))
    status, _, _ = await world.send("GET", f"/secrets{V}", token=world.authority.mint(who))
    assert status == 403


async def test_access_policy_is_valid_for_its_vault_only(world: Any) -> None:
    who = await world.identity("who", None)
    open_to_who = (policy(who.object_id, "all"),)
    await world.vault("mine-vault", access=VaultAccess.POLICIES, policies=open_to_who)
    await world.vault("demo-vault", access=VaultAccess.POLICIES)
    token = world.authority.mint(who)
    mine = await world.send("GET", f"/secrets{V}", token=token, host="mine-vault.vault.azure.net")
    assert mine[0] == 200
    assert (await world.send("GET", f"/secrets{V}", token=token))[0] == 403


# -------------------------------------------------------------------------------------------- users


def user_token(world: Any, who: Any, **changes: Any) -> str:
    claims = {
        "idtyp": "user",
        "scp": "user_impersonation",
        "upn": "admin@podpass.example",
        **changes,
    }
    return str(world.authority.mint(who, **claims))


async def test_user_token_and_application_token_are_both_accepted(world: Any, officer: Any) -> None:
    token = user_token(world, officer)
    status, _, _ = await world.send(
        "PUT", f"/secrets/a{V}", token=token, body={"value": "by a user"}
    )
    assert status == 200
    (entry, *_) = await world.directory.audit.list(limit=1)
    assert (entry.actor, entry.actor_name) == (officer.object_id, "admin@podpass.example")


async def test_error_names_user_without_role(world: Any) -> None:
    reader = await world.identity("reader", None)
    status, body, _ = await world.send("GET", f"/secrets{V}", token=user_token(world, reader))
    assert status == 403
    assert "for admin@podpass.example" in body["error"]["message"]
    # A seed file assigns roles to identities only; a role of a user is assigned with az.
    assert "seed" not in body["error"]["message"]
    given = f"--assignee-object-id {reader.object_id} --assignee-principal-type User"
    assert given in body["error"]["message"]


@pytest.mark.parametrize(
    "changes",
    [
        {"scp": "openid profile"},
        {"scp": "user_impersonation_too"},
        {"scp": ["user_impersonation"]},
        {"idtyp": "app"},
    ],
)
async def test_user_token_with_another_scope_is_refused(
    world: Any, officer: Any, changes: dict[str, Any]
) -> None:
    token = user_token(world, officer, **changes)
    status, body, headers = await world.send("GET", f"/secrets{V}", token=token)
    assert (status, body["error"]["code"]) == (401, "Unauthorized")
    assert headers["WWW-Authenticate"].startswith("Bearer authorization=")


async def test_policy_for_user_and_application_requires_that_application(
    world: Any, officer: Any
) -> None:
    through = policy(officer.object_id, "list", application_id="az")
    await world.vault("demo-vault", access=VaultAccess.POLICIES, policies=(through,))
    by_az, by_other = (user_token(world, officer, appid=app) for app in ("az", "other"))
    assert (await world.send("GET", f"/secrets{V}", token=by_az))[0] == 200
    assert (await world.send("GET", f"/secrets{V}", token=by_other))[0] == 403


# -------------------------------------------------------------------------------------------- audit


async def test_audit_has_every_change_and_no_value(world: Any, token: str) -> None:
    officer = world.identities["officer"]
    before = len(await world.directory.audit.list(limit=999))
    secret = {"value": "the-value"}
    _, made, _ = await world.send("PUT", f"/secrets/a{V}", token=token, body=secret)
    await world.send("PATCH", f"/secrets/a{V}", token=token, body={"tags": {"x": "y"}})
    _, blob, _ = await world.send("POST", f"/secrets/a/backup{V}", token=token)
    for method, path, body in (
        ("DELETE", f"/secrets/a{V}", None),
        ("POST", f"/deletedsecrets/a/recover{V}", None),
        ("DELETE", f"/secrets/a{V}", None),
        ("DELETE", f"/deletedsecrets/a{V}", None),
        ("POST", f"/secrets/restore{V}", blob),
    ):
        assert (await world.send(method, path, token=token, body=body))[0] in (200, 204)
    entries = (await world.directory.audit.list(limit=999))[::-1][before:]
    assert [entry.action for entry in entries] == [
        roles.SET_SECRET,
        roles.UPDATE_SECRET,
        roles.DELETE_SECRET,
        roles.RECOVER_SECRET,
        roles.DELETE_SECRET,
        roles.PURGE_SECRET,
        roles.RESTORE_SECRET,
    ]
    assert {(entry.actor, entry.actor_name) for entry in entries} == {
        (officer.object_id, "officer")
    }
    assert entries[0].target == made["id"]
    assert entries[5].target == "https://demo-vault.vault.azure.net/deletedsecrets/a"
    assert "the-value" not in str(entries)


async def test_audit_has_no_refused_and_no_read_operation(world: Any, token: str) -> None:
    reader = world.authority.mint(await world.identity("reader", "Key Vault Reader"))
    before = len(await world.directory.audit.list(limit=999))
    for method, path, body, who in (
        ("PUT", f"/secrets/a{V}", {"value": "x"}, reader),
        ("PUT", f"/secrets/a{V}", {"value": 7}, token),
        ("DELETE", f"/secrets/a{V}", None, token),
        ("GET", f"/secrets{V}", None, token),
    ):
        await world.send(method, path, token=who, body=body)
    assert len(await world.directory.audit.list(limit=999)) == before


async def test_audit_has_request_id_of_caller(world: Any, token: str) -> None:
    headers = {"x-ms-client-request-id": "abc-123"}
    body = {"value": "x"}
    await world.send("PUT", f"/secrets/a{V}", token=token, body=body, headers=headers)
    (entry, *_) = await world.directory.audit.list(limit=1)
    assert entry.correlation_id == "abc-123"
