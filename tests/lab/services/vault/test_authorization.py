"""Selection of the vault, and authorization by role or access policy, without HTTP."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from podpass.directory import roles
from podpass.directory.model import AccessPolicy, Identity, RoleDefinition
from podpass.lab.services.vault.authorization import authorize
from podpass.lab.services.vault.errors import Forbidden, ForbiddenByPolicy
from podpass.lab.services.vault.model import CERTIFICATES, KEYS, SECRETS, Kind, Vault, VaultAccess
from podpass.resource.checks import Principal, TokenRefused, check_scope

USER = roles.RoleCatalogue().find("Key Vault Secrets User")
CALLER = Principal(app_id="app", object_id="object", tenant_id="t")


def vault(name: str) -> Vault:
    return Vault(name=name, tenant_id="t", location="here", resource_id=f"/vaults/{name}")


@dataclass
class FakeDirectory:
    """A directory in which the roles are assigned at one scope."""

    held_at: dict[str, RoleDefinition] = field(default_factory=dict)

    async def roles_for(self, principal_id: str, scope: str) -> tuple[RoleDefinition, ...]:
        held = self.held_at.get(scope)
        return (held,) if held and principal_id == "object" else ()

    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        return Identity(tenant_id=tenant_id, client_id=client_id, object_id="object", name="web")


async def authorized_by(
    known: Any,
    who: Principal,
    one: Vault,
    action: str,
    secret: str = "",
    permission: str = "get",
) -> str:
    return await authorize(
        known, who, one, action=action, permission=permission, kind=SECRETS, name=secret
    )


async def test_role_allows_its_actions_in_its_scope() -> None:
    one = vault("one")
    known = FakeDirectory({"/vaults/one/secrets/mine": USER})
    allowed = await authorized_by(known, CALLER, one, roles.GET_SECRET, "mine")
    assert allowed == "role Key Vault Secrets User on vault one"
    for action, secret in (
        (roles.GET_SECRET, "other"),
        (roles.GET_SECRET, ""),
        (roles.SET_SECRET, "mine"),
    ):
        with pytest.raises(Forbidden, match="for web"):
            await authorized_by(known, CALLER, one, action, secret)


async def test_custom_role_allows_data_actions_except_not_data_actions() -> None:
    one = vault("one")
    mine = RoleDefinition(
        id="r",
        name="All but purge",
        data_actions=(f"{roles.SECRETS}/*",),
        not_data_actions=(roles.PURGE_SECRET,),
        built_in=False,
    )
    known = FakeDirectory({"/vaults/one": mine})
    assert (
        await authorized_by(known, CALLER, one, roles.DELETE_SECRET)
        == "role All but purge on vault one"
    )
    with pytest.raises(Forbidden):
        await authorized_by(known, CALLER, one, roles.PURGE_SECRET)


async def test_management_actions_do_not_allow_reading_secrets() -> None:
    """An owner manages the vault; reading a secret requires a role with data actions."""
    one = vault("one")
    owner = RoleDefinition(id="r", name="Owner", actions=("*",))
    with pytest.raises(Forbidden):
        await authorized_by(FakeDirectory({"/vaults/one": owner}), CALLER, one, roles.GET_SECRET)


def vault_with_access_policies(*policies: AccessPolicy) -> Vault:
    return replace(vault("one"), access=VaultAccess.POLICIES, policies=policies)


def policy(*secrets: str, **how: Any) -> AccessPolicy:
    given = {"object_id": "object", "tenant_id": "t", "secrets": secrets, **how}
    return AccessPolicy(**given)


async def test_access_policy_grants_only_its_permissions() -> None:
    one = vault_with_access_policies(policy("get", "list"))
    allowed = await authorized_by(FakeDirectory(), CALLER, one, roles.GET_SECRET, permission="get")
    assert allowed == "access policy of vault one: get"
    for permission in ("set", "delete", "recover", "backup", "restore", "purge", "ge", ""):
        with pytest.raises(ForbiddenByPolicy) as caught:
            await authorized_by(
                FakeDirectory(), CALLER, one, roles.GET_SECRET, permission=permission
            )
        assert "az keyvault set-policy --name one --object-id object" in caught.value.hint


@pytest.mark.parametrize("kind", [SECRETS, KEYS, CERTIFICATES])
async def test_permission_on_one_kind_of_objects_is_none_on_others(kind: Kind) -> None:
    others = {"secrets", "keys", "certificates"} - {kind.plural}
    for names in ({kind.plural}, others):
        given = dict.fromkeys(names, ("get",))
        held = policy(*given.pop("secrets", ()), document=given)
        one = vault_with_access_policies(held)
        known: Any = FakeDirectory()
        asked = authorize(known, CALLER, one, action="", permission="get", kind=kind, name="")
        if names is others:
            with pytest.raises(ForbiddenByPolicy):
                await asked
        else:
            assert await asked


async def test_permission_all_excludes_purge() -> None:
    one = vault_with_access_policies(policy("all"))
    for permission in ("get", "list", "set", "delete", "recover", "backup", "restore"):
        assert await authorized_by(
            FakeDirectory(), CALLER, one, roles.GET_SECRET, permission=permission
        )
    with pytest.raises(ForbiddenByPolicy) as caught:
        await authorized_by(FakeDirectory(), CALLER, one, roles.PURGE_SECRET, permission="purge")
    assert caught.value.facts == {"permission": "purge", "vault": "one"}
    both = vault_with_access_policies(policy("all", "purge"))
    assert await authorized_by(
        FakeDirectory(), CALLER, both, roles.PURGE_SECRET, permission="purge"
    )


@pytest.mark.parametrize(
    "how",
    [{"object_id": "other"}, {"tenant_id": "other"}, {"application_id": "other"}],
)
async def test_access_policy_of_another_caller_is_ignored(how: dict[str, str]) -> None:
    one = vault_with_access_policies(policy("get", **how))
    with pytest.raises(ForbiddenByPolicy, match="appid=app;oid=object;") as caught:
        await authorized_by(FakeDirectory(), CALLER, one, roles.GET_SECRET)
    assert caught.value.facts == {"permission": "get", "vault": "one"}


async def test_policy_with_application_id_applies_only_through_that_application() -> None:
    one = vault_with_access_policies(policy("get", application_id="app"))
    assert await authorized_by(FakeDirectory(), CALLER, one, roles.GET_SECRET)
    through_another = replace(CALLER, app_id="app2")
    with pytest.raises(ForbiddenByPolicy, match="appid=app2;oid=object;"):
        await authorized_by(FakeDirectory(), through_another, one, roles.GET_SECRET)


async def test_vault_uses_either_roles_or_access_policies() -> None:
    by_policy = vault_with_access_policies()
    with pytest.raises(ForbiddenByPolicy) as refused:
        await authorized_by(
            FakeDirectory({"/vaults/one": USER}), CALLER, by_policy, roles.GET_SECRET
        )
    assert refused.value.facts == {"permission": "get", "vault": "one"}
    by_role = replace(vault_with_access_policies(policy("get")), access=VaultAccess.ROLES)
    with pytest.raises(Forbidden) as caught:
        await authorized_by(FakeDirectory(), CALLER, by_role, roles.GET_SECRET)
    assert caught.value.inner_code == "ForbiddenByRbac"


def test_user_token_requires_user_impersonation_scope() -> None:
    user = replace(CALLER, is_user=True, scopes=frozenset({"user_impersonation"}))
    check_scope(user)
    check_scope(CALLER)
    with pytest.raises(TokenRefused):
        check_scope(replace(user, scopes=frozenset({"openid"})))
