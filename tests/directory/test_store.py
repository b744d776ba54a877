"""The directory store: reads, writes, lists and a restart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from podpass.database import Database, DatabaseUnusable
from podpass.directory import errors, resources
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    IdentityKind,
    ResourcePrincipal,
    RoleAssignment,
    Tenant,
    Vault,
    WriteResult,
)
from podpass.directory.store.directory import Directory

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
OTHER = "6d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
USER = "4633458b-17de-408a-b874-0445c86b69e6"
MakeIdentity = Callable[..., Identity]
MakeCredential = Callable[..., FederatedCredential]


@pytest.mark.parametrize("name", [TENANT, TENANT.upper(), "contoso.example", "Contoso.EXAMPLE"])
async def test_tenant_is_found_by_id_or_domain_without_case(
    directory: Directory, name: str
) -> None:
    found = await directory.find_tenant(name)
    assert found is not None
    assert found.id == TENANT


@pytest.mark.parametrize(
    "name", ["", OTHER, "example", "x" * 5000, "conto\u017fo.example", "common"]
)
async def test_unknown_name_finds_no_tenant(directory: Directory, name: str) -> None:
    assert await directory.find_tenant(name) is None


async def test_character_with_an_ascii_lower_case_does_not_match(directory: Directory) -> None:
    """The Kelvin sign becomes an ASCII k in lower case."""
    await directory.create_tenant(Tenant(id=OTHER, domains=("kelvin.example",)))
    await directory.vaults.put(
        Vault(name="kelvin", tenant_id=OTHER, location="x", resource_id="/x")
    )
    assert await directory.find_tenant("KELVIN.example") is not None
    assert await directory.find_vault("KELVIN") is not None
    assert await directory.find_tenant("\u212aelvin.example") is None
    assert await directory.find_vault("\u212aelvin") is None


async def test_tenant_is_created_once(directory: Directory) -> None:
    tenant = Tenant(id=TENANT, display_name="Contoso", domains=("contoso.example",))
    assert await directory.create_tenant(tenant) is WriteResult.UNCHANGED
    with pytest.raises(errors.Conflict, match="the tenant exists with other values"):
        await directory.create_tenant(replace(tenant, display_name="Fabrikam"))
    with pytest.raises(errors.Conflict, match="another entry already has this name or id"):
        await directory.create_tenant(Tenant(id=OTHER, domains=("contoso.example",)))
    assert len(await directory.list_tenants()) == 1


async def test_identity_belongs_to_one_tenant(
    directory: Directory, make_identity: MakeIdentity
) -> None:
    """Attack group 20: an application of one tenant is not visible in another tenant."""
    await directory.create_tenant(Tenant(id=OTHER))
    made = make_identity()
    assert await directory.identities.put(made) is WriteResult.CREATED
    found = await directory.find_identity(TENANT, made.client_id.upper())
    assert found is not None
    assert found.object_id == made.object_id
    assert await directory.find_identity(OTHER, made.client_id) is None


async def test_change_is_visible_to_the_next_read(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    made = make_identity()
    await directory.identities.put(made)
    before = await directory.find_identity(TENANT, made.client_id)
    assert before is not None
    assert before.credentials == ()
    await directory.identities.put_credential(TENANT, made.client_id, make_credential())
    found = await directory.find_identity(TENANT, made.client_id)
    assert found is not None
    assert [one.name for one in found.credentials] == ["web"]
    assert await directory.identities.delete_credential(TENANT, made.client_id, "web")
    assert not await directory.identities.delete_credential(TENANT, made.client_id, "web")
    assert await directory.find_identity(TENANT, made.client_id) == before
    assert await directory.identities.delete(TENANT, made.client_id)
    assert not await directory.identities.delete(TENANT, made.client_id)
    assert await directory.find_identity(TENANT, made.client_id) is None


async def test_credential_is_stored_byte_for_byte(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    given = make_credential(
        issuer=" https://Issuer.Example/A ",
        subject="System:ServiceAccount:default:Wéb ",
        audiences=(" API://x ",),
        description="for tests",
    )
    made = make_identity()
    await directory.identities.put(made)
    await directory.identities.put_credential(TENANT, made.client_id, given)
    found = await directory.find_identity(TENANT, made.client_id)
    assert found is not None
    [kept] = found.credentials
    assert replace(kept, id="", created=0) == given


async def test_credential_is_created_updated_or_unchanged(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    made = make_identity()
    await directory.identities.put(made)

    async def put(credential: FederatedCredential) -> WriteResult:
        return await directory.identities.put_credential(TENANT, made.client_id, credential)

    assert await put(make_credential()) is WriteResult.CREATED
    assert await put(make_credential()) is WriteResult.UNCHANGED
    assert await put(make_credential(subject="other")) is WriteResult.UPDATED


async def test_credential_over_the_limit_of_20_is_refused_and_the_others_stay(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    twenty = tuple(make_credential(f"name-{number:02}") for number in range(20))
    made = make_identity(credentials=twenty)
    await directory.identities.put(made)
    with pytest.raises(errors.TooManyCredentials):
        await directory.identities.put_credential(
            TENANT, made.client_id, make_credential("one-more")
        )
    # A change of one of the twenty is accepted.
    changed = make_credential("name-00", subject="other")
    assert (
        await directory.identities.put_credential(TENANT, made.client_id, changed)
        is WriteResult.UPDATED
    )
    found = await directory.find_identity(TENANT, made.client_id)
    assert found is not None
    assert len(found.credentials) == 20


async def test_two_credentials_may_swap_their_values(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    one, two = make_credential("one", subject="a"), make_credential("two", subject="b")
    made = make_identity(credentials=(one, two))
    await directory.identities.put(made)
    swapped = (replace(one, subject="b"), replace(two, subject="a"))
    assert await directory.identities.put(replace(made, credentials=swapped)) is WriteResult.UPDATED


async def test_duplicate_issuer_and_subject_is_refused(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    made = make_identity(credentials=(make_credential("one", subject="s"),))
    await directory.identities.put(made)
    with pytest.raises(errors.TrustNotUnique):
        await directory.identities.put_credential(
            TENANT, made.client_id, make_credential("two", subject="s")
        )


async def test_immutable_attributes_of_an_identity_cannot_change(
    directory: Directory, make_identity: MakeIdentity
) -> None:
    made = make_identity()
    await directory.identities.put(made)
    for field, changed in (
        ("object_id", replace(made, object_id=OTHER)),
        ("resource_id", replace(made, resource_id=OTHER)),
    ):
        with pytest.raises(errors.Conflict) as caught:
            await directory.identities.put(changed)
        assert caught.value.facts["fields"] == [field]
    with pytest.raises(errors.Conflict, match="another entry already has this name or id"):
        await directory.identities.put(make_identity(object_id=made.object_id))
    assert made.resource_id is not None
    same = make_identity(resource_id=made.resource_id.upper())
    with pytest.raises(errors.Conflict, match="another entry already has this name or id"):
        await directory.identities.put(same)


async def test_write_to_a_missing_object_is_refused(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    with pytest.raises(errors.NotFound):
        await directory.identities.put(make_identity(tenant_id=OTHER))
    with pytest.raises(errors.NotFound):
        await directory.identities.put_credential(TENANT, OTHER, make_credential())
    with pytest.raises(errors.Conflict, match="another entry already has this name or id"):
        await directory.vaults.put(
            Vault(name="demo-vault", tenant_id=OTHER, location="x", resource_id="/x")
        )


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        ("https://vault.azure.net", 1),
        ("https://vault.azure.net/", 1),
        ("cfa8b339-82a2-471a-a3c9-0fc0be7a4093", 1),
        ("CFA8B339-82A2-471A-A3C9-0FC0BE7A4093", 1),
        ("https://graph.microsoft.com", 1),
        ("https://management.azure.com/", 1),
        ("https://management.core.windows.net/", 1),
        ("https://storage.azure.com", 1),
    ],
)
async def test_resources_of_microsoft_are_found(
    directory: Directory, uri: str, version: int
) -> None:
    found = await directory.find_resource(TENANT, uri)
    assert found is not None
    assert found.token_version == version


@pytest.mark.parametrize(
    "uri", ["", "/", "https://vault.azure.net//", "https://vault.azure.net.evil", "api://", OTHER]
)
async def test_unknown_uri_is_not_a_resource(directory: Directory, uri: str) -> None:
    assert await directory.find_resource(TENANT, uri) is None


async def test_application_is_a_resource_of_its_own_tenant(
    directory: Directory, make_identity: MakeIdentity
) -> None:
    await directory.create_tenant(Tenant(id=OTHER))
    app = make_identity("an app", kind=IdentityKind.APPLICATION, resource_id=None)
    await directory.identities.put(app)
    for uri in (f"api://{app.client_id}", f"api://{app.client_id}/", app.client_id.upper()):
        found = await directory.find_resource(TENANT, uri)
        assert found is not None
        assert (found.app_id, found.token_version) == (app.client_id, 2)
        assert await directory.find_resource(OTHER, uri) is None
    await directory.identities.put(replace(app, enabled=False))
    assert await directory.find_resource(TENANT, app.client_id) is None


async def test_managed_identity_is_not_a_resource(
    directory: Directory, make_identity: MakeIdentity
) -> None:
    made = make_identity()
    await directory.identities.put(made)
    assert await directory.find_resource(TENANT, f"api://{made.client_id}") is None


async def test_instance_url_can_be_added_to_a_resource(tmp_path: Path) -> None:
    direct = ResourcePrincipal(
        app_id=resources.VAULT_APP_ID,
        uris=("https://localhost:18445/",),
        display_name="vault, direct",
        token_version=1,
    )
    async with Directory(
        Database(f"sqlite:///{tmp_path}/d.db"), extra_resources=[direct]
    ) as directory:
        assert await directory.find_resource(TENANT, "https://localhost:18445") == direct
        by_id = await directory.find_resource(TENANT, resources.VAULT_APP_ID)
        assert by_id is not None
        assert by_id.display_name == "Azure Key Vault"


async def test_role_applies_at_its_scope_and_below(directory: Directory) -> None:
    scope = "/subscriptions/s/vaults/Demo"
    given = RoleAssignment(scope=scope, principal_id="p", role="Key Vault Secrets User")
    assert await directory.assign_role(given) is WriteResult.CREATED
    assert await directory.assign_role(replace(given, role=USER)) is WriteResult.UNCHANGED
    assert await directory.roles_at("p", scope + "/secrets/x") == (USER,)
    assert await directory.roles_at("p", "/subscriptions/s/vaults/demo2") == ()
    assert await directory.roles_at("q", scope) == ()
    [held] = await directory.assignments.list(at=scope)
    assert await directory.assignments.delete(held.name, scope) == held
    assert await directory.assignments.delete(held.name, scope) is None
    assert await directory.roles_at("p", scope) == ()


async def test_role_assignments_are_deleted_with_their_principal_or_vault(
    directory: Directory, make_identity: MakeIdentity
) -> None:
    made = make_identity()
    vault = Vault(name="demo-vault", tenant_id=TENANT, location="eastus", resource_id="/v/Demo")
    given = RoleAssignment(scope="/v/demo", principal_id=made.object_id, role=USER)
    await directory.identities.put(made)
    await directory.vaults.put(vault)
    await directory.assign_role(given)
    await directory.identities.delete(TENANT, made.client_id)
    assert await directory.assignments.list() == []
    await directory.assign_role(given)
    assert await directory.vaults.delete("demo-vault")
    assert not await directory.vaults.delete("demo-vault")
    assert await directory.assignments.list(at="/v/DEMO") == []


async def test_location_of_a_vault_can_change_but_not_its_tenant_or_id(
    directory: Directory,
) -> None:
    vault = Vault(name="demo-vault", tenant_id=TENANT, location="eastus", resource_id="/v/demo")
    assert await directory.vaults.put(vault) is WriteResult.CREATED
    assert await directory.vaults.put(vault) is WriteResult.UNCHANGED
    assert await directory.vaults.put(replace(vault, location="westus")) is WriteResult.UPDATED
    with pytest.raises(errors.Conflict, match="the vault has another tenant or resource id"):
        await directory.vaults.put(replace(vault, resource_id="/v/other"))
    with pytest.raises(errors.InvalidValue):
        await directory.vaults.put(replace(vault, name="Bad Name"))
    found = await directory.find_vault("DEMO-vault")
    assert found is not None
    assert found.location == "westus"


async def test_lists_apply_their_filters(directory: Directory) -> None:
    await directory.create_tenant(Tenant(id=OTHER))
    for name, tenant in (("mine", TENANT), ("theirs", OTHER)):
        resource_id = f"/v/{name}"
        await directory.vaults.put(
            Vault(name=name, tenant_id=tenant, location="x", resource_id=resource_id)
        )
        await directory.assign_role(RoleAssignment(scope=resource_id, principal_id="p", role=USER))
    assert [vault.name for vault in await directory.list_vaults()] == ["mine", "theirs"]
    assert [vault.name for vault in await directory.list_vaults(OTHER)] == ["theirs"]
    assert len(await directory.assignments.list()) == 2
    assert [one.scope for one in await directory.assignments.list(at="/v/mine")] == ["/v/mine"]


async def test_all_data_is_present_after_a_restart(
    database_url: str, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    url = database_url
    made = make_identity(credentials=(make_credential(),))
    async with Directory(Database(url)) as directory:
        await directory.create_tenant(Tenant(id=TENANT))
        await directory.identities.put(made)
        written = await directory.list_identities(TENANT)
    async with Directory(Database(url)) as directory:
        assert await directory.list_identities(TENANT) == written
        assert [one.client_id for one in written] == [made.client_id]


async def test_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, but long enough to look at" * 50)
    with pytest.raises(DatabaseUnusable):
        await Directory(Database(f"sqlite:///{tmp_path}/text.db")).open()
