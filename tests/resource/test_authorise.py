"""Which vault is meant, and which role lets a caller in: the verdicts without their edge."""

from dataclasses import dataclass, field

import pytest

from podpass.directory import roles
from podpass.directory.model import Identity, Vault
from podpass.resource.authorise import authorise, find_vault
from podpass.resource.guard import Principal
from podpass.resource.refusals import Forbidden, VaultNotFound

USER = roles.find_role("Key Vault Secrets User")
CALLER = Principal(app_id="app", object_id="object", tenant_id="t")


def vault(name: str) -> Vault:
    return Vault(name=name, tenant_id="t", location="here", resource_id=f"/vaults/{name}")


@dataclass
class Known:
    """A directory of a few vaults, in which roles are held at one scope."""

    vaults: list[Vault]
    held_at: dict[str, str] = field(default_factory=dict)

    async def find_vault(self, name: str) -> Vault | None:
        return next((each for each in self.vaults if each.name == name), None)

    async def list_vaults(self) -> list[Vault]:
        return self.vaults

    async def roles_at(self, principal_id: str, scope: str) -> tuple[str, ...]:
        held = self.held_at.get(scope)
        return (held,) if held and principal_id == "object" else ()

    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        return Identity(tenant_id=tenant_id, client_id=client_id, object_id="object", name="web")


async def test_a_vault_without_a_name_is_the_only_one() -> None:
    one, two = vault("one"), vault("two")
    assert await find_vault(Known([one]), None) == one
    assert await find_vault(Known([one, two]), "two") == two
    for several, name in (([], None), ([one, two], None), ([one], "two")):
        with pytest.raises(VaultNotFound):
            await find_vault(Known(several), name)


async def test_a_role_counts_where_it_is_held_and_for_what_it_allows() -> None:
    one = vault("one")
    known = Known([one], {"/vaults/one/secrets/mine": USER.id})
    assert await authorise(known, CALLER, one, roles.GET_SECRET, "mine") == USER
    for action, secret in (
        (roles.GET_SECRET, "other"),
        (roles.GET_SECRET, ""),
        (roles.SET_SECRET, "mine"),
    ):
        with pytest.raises(Forbidden, match="for web"):
            await authorise(known, CALLER, one, action, secret)
