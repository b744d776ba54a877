"""The roles and the permissions of access policies for certificates, their issuers and the contacts."""

from typing import Any

import pytest

from podpass.directory.builtin_roles import VAULT_ROLES
from podpass.directory.model import AccessPolicy
from podpass.lab.services.vault.model import VaultAccess
from tests.lab.services.vault.certificates.conftest import POLICY, V, code

READER, OFFICER = "Key Vault Reader", "Key Vault Certificates Officer"
# By operation: the least privileged role, the data action, and the permission of an access policy.
REFUSED = [
    ("GET", "/certificates", READER, "certificates/read", "list"),
    ("GET", "/certificates/c", READER, "certificates/read", "get"),
    ("GET", "/certificates/c/versions", READER, "certificates/read", "list"),
    ("GET", "/certificates/c/policy", READER, "certificates/read", "get"),
    ("GET", "/certificates/c/pending", READER, "certificates/read", "get"),
    ("GET", "/deletedcertificates", READER, "certificates/read", "list"),
    ("GET", "/deletedcertificates/c", READER, "certificates/read", "get"),
    ("POST", "/certificates/c/create", OFFICER, "certificates/create/action", "create"),
    ("POST", "/certificates/c/import", OFFICER, "certificates/import/action", "import"),
    ("POST", "/certificates/c/pending/merge", OFFICER, "certificates/create/action", "create"),
    ("PATCH", "/certificates/c/pending", OFFICER, "certificates/update/action", "update"),
    ("DELETE", "/certificates/c/pending", OFFICER, "certificates/delete", "delete"),
    ("PATCH", "/certificates/c", OFFICER, "certificates/update/action", "update"),
    ("PATCH", "/certificates/c/policy", OFFICER, "certificates/update/action", "update"),
    ("DELETE", "/certificates/c", OFFICER, "certificates/delete", "delete"),
    ("POST", "/certificates/c/backup", OFFICER, "certificates/backup/action", "backup"),
    ("POST", "/certificates/restore", OFFICER, "certificates/restore/action", "restore"),
    ("DELETE", "/deletedcertificates/c", OFFICER, "certificates/purge/action", "purge"),
    ("POST", "/deletedcertificates/c/recover", OFFICER, "certificates/recover/action", "recover"),
    ("GET", "/certificates/issuers", READER, "certificatecas/read", "listissuers"),
    ("GET", "/certificates/issuers/c", READER, "certificatecas/read", "getissuers"),
    ("PUT", "/certificates/issuers/c", OFFICER, "certificatecas/write", "setissuers"),
    ("PATCH", "/certificates/issuers/c", OFFICER, "certificatecas/write", "setissuers"),
    ("DELETE", "/certificates/issuers/c", OFFICER, "certificatecas/delete", "deleteissuers"),
    ("GET", "/certificates/contacts", OFFICER, "certificatecontacts/write", "managecontacts"),
    ("PUT", "/certificates/contacts", OFFICER, "certificatecontacts/write", "managecontacts"),
    ("DELETE", "/certificates/contacts", OFFICER, "certificatecontacts/write", "managecontacts"),
]


@pytest.mark.parametrize(("method", "path", "role", "action", "permission"), REFUSED)
async def test_refusal_names_the_role_and_the_permission_that_grant_the_operation(
    world: Any, method: str, path: str, role: str, action: str, permission: str
) -> None:
    other = await world.identity("other", "Key Vault Crypto Officer")

    async def send() -> tuple[int, Any]:
        token = world.authority.mint(other)
        status, answer, _ = await world.send(method, path + V, token=token, body={})
        return status, answer

    status, answer = await send()
    assert (status, answer["error"]["innererror"]) == (403, {"code": "ForbiddenByRbac"})
    message = answer["error"]["message"]
    assert f"Action: 'Microsoft.KeyVault/vaults/{action}'" in message
    assert f"az role assignment create --role '{role}'" in message
    await world.grant(other, role)
    assert (await send())[0] != 403
    await world.vault("demo-vault", access=VaultAccess.POLICIES)
    status, answer = await send()
    assert (status, answer["error"]["innererror"]) == (403, {"code": "ForbiddenByPolicy"})
    assert f"--certificate-permissions {permission}`" in answer["error"]["message"]
    await _set_permissions(world, other, permission)
    assert (await send())[0] != 403


async def _set_permissions(world: Any, who: Any, *permissions: str) -> None:
    policy = AccessPolicy(
        object_id=who.object_id,
        tenant_id=who.tenant_id,
        document={"certificates": list(permissions)},
    )
    await world.vault("demo-vault", access=VaultAccess.POLICIES, policies=(policy,))


async def test_permission_to_manage_issuers_includes_every_operation_on_issuers_only(
    world: Any,
) -> None:
    other = await world.identity("other", None)
    await _set_permissions(world, other, "manageissuers")
    opened = set()
    for method, path, *_ in REFUSED:
        token = world.authority.mint(other)
        status, _, _ = await world.send(method, path + V, token=token, body={})
        if status != 403:
            opened.add((method, path))
    assert opened == {(method, path) for method, path, *_ in REFUSED if "/issuers" in path}


async def test_certificate_user_reads_certificate_secret_and_key_and_changes_nothing(
    world: Any, call: Any
) -> None:
    await call("POST", "/certificates/c/create", POLICY)
    user = await world.identity("user", "Key Vault Certificate User")
    token = world.authority.mint(user)
    for path in ("/certificates/c", "/secrets/c", "/keys/c", "/secrets", "/certificates/c/policy"):
        assert (await world.send("GET", path + V, token=token))[0] == 200
    refused = [("POST", "/keys/c/sign"), *((method, path) for method, path, *_ in REFUSED)]
    allowed = {"certificates/read"}
    actions = ["keys/sign", *(action for *_, action, _ in REFUSED)]
    for (method, path), action in zip(refused, actions, strict=True):
        status, answer, _ = await world.send(method, path + V, token=token, body={})
        assert (status == 403) is (action not in allowed), (method, path)
        if status == 403:
            assert code(answer) == "Forbidden"


async def test_officer_reads_no_secret_and_uses_no_key(call: Any) -> None:
    await call("POST", "/certificates/c/create", POLICY)
    for method, path in (("GET", "/secrets/c"), ("GET", "/keys/c"), ("POST", "/keys/c/sign")):
        status, refused, _ = await call(method, path, {})
        assert (status, code(refused)) == (403, "Forbidden")


def test_roles_are_ordered_by_privilege() -> None:
    """A refusal names the first role that is sufficient."""
    names = [role.name for role in VAULT_ROLES]
    assert names[-1] == "Key Vault Administrator"
    assert names.index(READER) < names.index("Key Vault Certificate User") < names.index(OFFICER)
