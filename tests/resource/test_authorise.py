"""Which vault is meant, and which role or policy lets a caller in: the verdicts without their edge."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from podpass.directory import roles
from podpass.directory.model import (
    AccessPolicy,
    Identity,
    RoleDefinition,
    Vault,
    VaultAccess,
)
from podpass.resource.authorization import authorise, check_scope, find_vault
from podpass.resource.checks import Principal, TokenRefused
from podpass.resource.errors import Forbidden, ForbiddenByPolicy, VaultNotFound

USER = roles.find_role("Key Vault Secrets User")
CALLER = Principal(app_id="app", object_id="object", tenant_id="t")


def vault(name: str) -> Vault:
    return Vault(name=name, tenant_id="t", location="here", resource_id=f"/vaults/{name}")


@dataclass
class Known:
    """A directory of a few vaults, in which roles are held at one scope."""

    known: list[Vault]
    held_at: dict[str, RoleDefinition] = field(default_factory=dict)
    # A verdict neither looks at deleted vaults nor records anything.
    vaults: Any = None

    async def find_vault(self, name: str) -> Vault | None:
        return next((each for each in self.known if each.name == name), None)

    async def list_vaults(self) -> list[Vault]:
        return self.known

    async def roles_for(self, principal_id: str, scope: str) -> tuple[RoleDefinition, ...]:
        held = self.held_at.get(scope)
        return (held,) if held and principal_id == "object" else ()

    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        return Identity(tenant_id=tenant_id, client_id=client_id, object_id="object", name="web")


async def may(
    known: Known, who: Principal, one: Vault, action: str, secret: str = "", permission: str = "get"
) -> str:
    return await authorise(known, who, one, action=action, permission=permission, secret=secret)


async def test_a_vault_without_a_name_is_the_only_one() -> None:
    one, two = vault("one"), vault("two")
    assert await find_vault(Known([one]), None) == one
    assert await find_vault(Known([one, two]), "two") == two
    for several, name in (([], None), ([one, two], None), ([one], "two")):
        with pytest.raises(VaultNotFound):
            await find_vault(Known(several), name)


async def test_a_role_counts_where_it_is_held_and_for_what_it_allows() -> None:
    one = vault("one")
    known = Known([one], {"/vaults/one/secrets/mine": USER})
    allowed = await may(known, CALLER, one, roles.GET_SECRET, "mine")
    assert allowed == "role Key Vault Secrets User on vault one"
    for action, secret in (
        (roles.GET_SECRET, "other"),
        (roles.GET_SECRET, ""),
        (roles.SET_SECRET, "mine"),
    ):
        with pytest.raises(Forbidden, match="for web"):
            await may(known, CALLER, one, action, secret)


async def test_a_role_of_ones_own_counts_and_what_it_takes_away_does_too() -> None:
    one = vault("one")
    mine = RoleDefinition(
        id="r",
        name="All but purge",
        data_actions=(f"{roles.SECRETS}/*",),
        not_data_actions=(roles.PURGE_SECRET,),
        built_in=False,
    )
    known = Known([one], {"/vaults/one": mine})
    assert await may(known, CALLER, one, roles.DELETE_SECRET) == "role All but purge on vault one"
    with pytest.raises(Forbidden):
        await may(known, CALLER, one, roles.PURGE_SECRET)


async def test_management_actions_open_no_secret() -> None:
    """An owner manages the vault; what lies in it takes a role with data actions."""
    one = vault("one")
    owner = RoleDefinition(id="r", name="Owner", actions=("*",))
    with pytest.raises(Forbidden):
        await may(Known([one], {"/vaults/one": owner}), CALLER, one, roles.GET_SECRET)


def guarded(*policies: AccessPolicy) -> Vault:
    return replace(vault("one"), access=VaultAccess.POLICIES, policies=policies)


def policy(*secrets: str, **how: Any) -> AccessPolicy:
    given = {"object_id": "object", "tenant_id": "t", "secrets": secrets, **how}
    return AccessPolicy(**given)


async def test_a_policy_gives_what_it_names_and_nothing_else() -> None:
    one = guarded(policy("get", "list"))
    allowed = await may(Known([one]), CALLER, one, roles.GET_SECRET, permission="get")
    assert allowed == "access policy of vault one: get"
    for permission in ("set", "delete", "recover", "backup", "restore", "purge", "ge", ""):
        with pytest.raises(ForbiddenByPolicy) as caught:
            await may(Known([one]), CALLER, one, roles.GET_SECRET, permission=permission)
        assert "az keyvault set-policy --name one --object-id object" in caught.value.hint


async def test_all_is_everything_but_purge() -> None:
    one = guarded(policy("all"))
    for permission in ("get", "list", "set", "delete", "recover", "backup", "restore"):
        assert await may(Known([one]), CALLER, one, roles.GET_SECRET, permission=permission)
    with pytest.raises(ForbiddenByPolicy) as caught:
        await may(Known([one]), CALLER, one, roles.PURGE_SECRET, permission="purge")
    assert caught.value.facts == {"permission": "purge", "vault": "one"}
    both = guarded(policy("all", "purge"))
    assert await may(Known([both]), CALLER, both, roles.PURGE_SECRET, permission="purge")


@pytest.mark.parametrize(
    "how",
    [{"object_id": "other"}, {"tenant_id": "other"}, {"application_id": "other"}],
)
async def test_a_policy_for_another_is_none(how: dict[str, str]) -> None:
    one = guarded(policy("get", **how))
    with pytest.raises(ForbiddenByPolicy, match="appid=app;oid=object;") as caught:
        await may(Known([one]), CALLER, one, roles.GET_SECRET)
    assert caught.value.facts == {"permission": "get", "vault": "one"}


async def test_a_policy_with_an_application_is_for_the_user_through_it() -> None:
    one = guarded(policy("get", application_id="app"))
    assert await may(Known([one]), CALLER, one, roles.GET_SECRET)
    through_another = replace(CALLER, app_id="app2")
    with pytest.raises(ForbiddenByPolicy, match="appid=app2;oid=object;"):
        await may(Known([one]), through_another, one, roles.GET_SECRET)


async def test_a_vault_goes_by_roles_or_by_policies_and_never_by_both() -> None:
    by_policy = guarded()
    with pytest.raises(ForbiddenByPolicy) as refused:
        await may(Known([by_policy], {"/vaults/one": USER}), CALLER, by_policy, roles.GET_SECRET)
    assert refused.value.facts == {"permission": "get", "vault": "one"}
    by_role = replace(guarded(policy("get")), access=VaultAccess.ROLES)
    with pytest.raises(Forbidden) as caught:
        await may(Known([by_role]), CALLER, by_role, roles.GET_SECRET)
    assert caught.value.inner_code == "ForbiddenByRbac"


def test_a_users_token_must_be_for_using_vaults() -> None:
    user = replace(CALLER, is_user=True, scopes=frozenset({"user_impersonation"}))
    check_scope(user)
    check_scope(CALLER)
    with pytest.raises(TokenRefused):
        check_scope(replace(user, scopes=frozenset({"openid"})))
