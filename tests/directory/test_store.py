"""The directory store: identities by every name, changes, lists, pages and a restart."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podpass.database import Database, DatabaseUnusable
from podpass.directory import errors, resources
from podpass.directory.model import (
    AppRoleAssignment,
    FederatedCredential,
    Identity,
    IdentityKind,
    KeyCredential,
    PasswordCredential,
    ResourcePrincipal,
    RoleAssignment,
    Tenant,
    WriteResult,
)
from podpass.directory.store.directory import Directory
from podpass.directory.store.identities import Condition
from podpass.guids import is_lower_guid
from podpass.lab.services.vault.model import Vault
from podpass.lab.services.vault.vaults import Vaults

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
    await directory.store(Vaults).put(
        Vault(name="kelvin", tenant_id=OTHER, location="x", resource_id="/x")
    )
    assert await directory.find_tenant("KELVIN.example") is not None
    assert await directory.store(Vaults).get("KELVIN") is not None
    assert await directory.find_tenant("\u212aelvin.example") is None
    assert await directory.store(Vaults).get("\u212aelvin") is None


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
        await directory.store(Vaults).put(
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
    await directory.store(Vaults).put(vault)
    await directory.assign_role(given)
    await directory.identities.delete(TENANT, made.client_id)
    assert await directory.assignments.list() == []
    await directory.assign_role(given)
    assert await directory.store(Vaults).delete("demo-vault")
    assert not await directory.store(Vaults).delete("demo-vault")
    assert await directory.assignments.list(at="/v/DEMO") == []


async def test_location_of_a_vault_can_change_but_not_its_tenant_or_id(
    directory: Directory,
) -> None:
    vault = Vault(name="demo-vault", tenant_id=TENANT, location="eastus", resource_id="/v/demo")
    assert await directory.store(Vaults).put(vault) is WriteResult.CREATED
    assert await directory.store(Vaults).put(vault) is WriteResult.UNCHANGED
    assert (
        await directory.store(Vaults).put(replace(vault, location="westus")) is WriteResult.UPDATED
    )
    with pytest.raises(errors.Conflict, match="the vault has another tenant or resource id"):
        await directory.store(Vaults).put(replace(vault, resource_id="/v/other"))
    with pytest.raises(errors.InvalidValue):
        await directory.store(Vaults).put(replace(vault, name="Bad Name"))
    found = await directory.store(Vaults).get("DEMO-vault")
    assert found is not None
    assert found.location == "westus"


async def test_lists_apply_their_filters(directory: Directory) -> None:
    await directory.create_tenant(Tenant(id=OTHER))
    for name, tenant in (("mine", TENANT), ("theirs", OTHER)):
        resource_id = f"/v/{name}"
        await directory.store(Vaults).put(
            Vault(name=name, tenant_id=tenant, location="x", resource_id=resource_id)
        )
        await directory.assign_role(RoleAssignment(scope=resource_id, principal_id="p", role=USER))
    assert [vault.name for vault in await directory.store(Vaults).list()] == ["mine", "theirs"]
    assert [vault.name for vault in await directory.store(Vaults).list(OTHER)] == ["theirs"]
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


SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"


def password(key_id: int, begins: float = 0) -> PasswordCredential:
    return PasswordCredential(
        key_id=str(uuid.UUID(int=key_id)),
        display_name="ci",
        hint="abc",
        digest=b"d" * 32,
        begins=begins,
        expires=begins + 9,
    )


@pytest.fixture
def make_app(make_identity: MakeIdentity) -> MakeIdentity:
    def make(name: str = "an app", **changes: Any) -> Identity:
        return make_identity(
            name, **({"kind": IdentityKind.APPLICATION, "resource_id": None} | changes)
        )

    return make


async def put(directory: Directory, identity: Identity) -> Identity:
    await directory.identities.put(identity)
    found = await directory.identities.get(identity.tenant_id, identity.client_id)
    assert found is not None
    return found


async def test_application_is_read_back_with_all_its_attributes(
    directory: Directory, make_app: MakeIdentity, make_credential: MakeCredential
) -> None:
    key = KeyCredential(
        key_id=str(uuid.uuid4()),
        display_name="signing",
        certificate=b"der",
        thumbprint="x5t",
        begins=1,
        expires=2,
    )
    made = make_app(
        unique_name="an-app",
        identifier_uris=("https://b.example/api", "api://a"),
        credentials=(make_credential("two", subject="2"), make_credential("one", subject="1")),
        passwords=(password(2, begins=5), password(3, begins=1)),
        keys=(key,),
        tags={"a": "b"},
        document={"signInAudience": "AzureADMyOrg", "appRoles": []},
        principal={"alternativeNames": ["x"]},
    )
    found = await put(directory, made)
    assert found.identifier_uris == made.identifier_uris
    assert [one.name for one in found.credentials] == ["one", "two"]
    assert [one.begins for one in found.passwords] == [1, 5]
    assert (found.keys, found.document, found.principal) == (
        made.keys,
        made.document,
        made.principal,
    )
    assert found.application_id
    assert is_lower_guid(found.application_id)
    assert found.created > 0
    assert await directory.identities.put(found) is WriteResult.UNCHANGED
    assert "digest" not in repr(found)


async def test_identity_is_found_by_each_name_only_in_its_tenant(
    directory: Directory, make_app: MakeIdentity, make_identity: MakeIdentity
) -> None:
    await directory.create_tenant(Tenant(id=OTHER))
    app = await put(
        directory, make_app(unique_name="An-app", identifier_uris=("https://A.example/api/",))
    )
    managed = await put(directory, make_identity())
    assert app.application_id is not None
    assert managed.resource_id is not None
    names: list[tuple[dict[str, str], Identity]] = [
        ({"object_id": app.object_id.upper()}, app),
        ({"application_id": app.application_id.upper()}, app),
        ({"unique_name": "An-app"}, app),
        ({"identifier_uri": "https://a.example/API"}, app),
        ({"resource_id": managed.resource_id.upper()}, managed),
    ]
    for name, identity in names:
        assert await directory.identities.find(TENANT, **name) == identity
        assert await directory.identities.find(OTHER, **name) is None
    assert await directory.identities.find(TENANT, unique_name="an-app") is None


async def test_identity_is_found_with_its_matching_federated_credential(
    directory: Directory, make_app: MakeIdentity, make_credential: MakeCredential
) -> None:
    one, two = make_credential("one", subject="1"), make_credential("two", subject="2")
    made = await put(directory, make_app(credentials=(one, two), passwords=(password(2),)))
    asked = (made.tenant_id, made.client_id.upper(), one.issuer, "2")
    assert await directory.find_trusting(*asked) == made, "kept whole, so no part is asked for"
    directory._session.clear_caches()
    found = await directory.find_trusting(*asked)
    assert found is not None
    assert [each.name for each in found.credentials] == ["two"]
    assert found.credentials[0] == made.credentials[1]
    for name in ("tenant_id", "client_id", "object_id", "name", "kind", "resource_id"):
        assert getattr(found, name) == getattr(made, name)
    assert (found.enabled, found.has_principal, found.created) == (True, True, made.created)
    for place, other in ((0, OTHER), (1, OTHER), (1, "web")):
        strange = (*asked[:place], other, *asked[place + 1 :])
        assert await directory.find_trusting(*strange) is None
    for place, other in (
        (2, "https://x"),
        (3, "3"),
        (3, "2 "),
        (3, "x" * 601),
        (3, "2\0"),
        (3, "\ud800"),
    ):
        directory._session.clear_caches()
        strange = (*asked[:place], other, *asked[place + 1 :])
        assert await directory.find_trusting(*strange) == made, "all it trusts say what is wrong"


async def test_each_identity_is_found_with_its_own_credential_in_its_own_tenant(
    directory: Directory, make_app: MakeIdentity, make_credential: MakeCredential
) -> None:
    """Fails without one condition of the join: a token would be issued to another identity."""
    await directory.create_tenant(Tenant(id=OTHER))
    shared = str(uuid.uuid4())
    made = [
        make_app(
            f"app {number}",
            tenant_id=tenant,
            client_id=shared if number == 0 else str(uuid.uuid4()),
            object_id=str(uuid.uuid4()),
            credentials=(make_credential(f"of-{number}", subject="same"),),
        )
        for tenant in (OTHER, TENANT)
        for number in range(3)
    ]
    for each in made:
        await directory.identities.put(each)
    for each in made:
        [credential] = each.credentials
        found = await directory.find_trusting(
            each.tenant_id, each.client_id, credential.issuer, "same"
        )
        assert found is not None
        assert (found.tenant_id, found.object_id) == (each.tenant_id, each.object_id)
        assert [one.name for one in found.credentials] == [credential.name]


async def test_requests_with_invented_subjects_do_not_fill_the_cache(
    directory: Directory, make_app: MakeIdentity, make_credential: MakeCredential
) -> None:
    made = make_app(credentials=(make_credential("one", subject="1"),))
    await directory.identities.put(made)
    for number in range(50):
        await directory.find_trusting(
            made.tenant_id, str(uuid.uuid4()), made.credentials[0].issuer, str(number)
        )
    assert not directory.identities._trusting._values
    assert directory.identities._trusting._size == 8192


async def test_removed_credential_is_not_served_from_the_cache(
    directory: Directory, make_app: MakeIdentity, make_credential: MakeCredential
) -> None:
    made = make_app(credentials=(make_credential("one", subject="1"),))
    asked = (made.tenant_id, made.client_id, made.credentials[0].issuer, "1")
    await directory.identities.put(made)
    assert await directory.find_trusting(*asked)
    await directory.identities.put(replace(made, enabled=False))
    found = await directory.find_trusting(*asked)
    assert found is not None
    assert not found.enabled
    await directory.identities.put(replace(made, credentials=()))
    found = await directory.find_trusting(*asked)
    assert found is not None
    assert not found.credentials
    await directory.identities.delete(made.tenant_id, made.client_id)
    assert await directory.find_trusting(*asked) is None


async def test_unique_name_or_uri_of_another_application_is_refused(
    directory: Directory, make_app: MakeIdentity
) -> None:
    first = await put(directory, make_app(unique_name="an-app", identifier_uris=("api://one",)))
    for changes in (
        {"unique_name": "an-app"},
        {"identifier_uris": ("API://one/",)},
        {"application_id": first.application_id},
        {"object_id": first.object_id},
    ):
        with pytest.raises(errors.Conflict, match="another entry already has this name or id"):
            await directory.identities.put(make_app(**changes))
    assert await directory.identities.count(TENANT) == 1


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("identifier_uris", ("no uri",), "invalid_value"),
        ("identifier_uris", ("api://x*",), "invalid_value"),
        ("identifier_uris", ("api://a", "API://A/"), "invalid_value"),
        ("identifier_uris", tuple(f"api://{n}" for n in range(51)), "too_many"),
        ("identifier_uris", ("api://\u212aelvin",), "invalid_value"),
        ("unique_name", "-x", "invalid_value"),
        ("passwords", tuple(password(n) for n in range(101)), "too_many"),
        ("passwords", (password(1), password(1)), "invalid_value"),
        ("application_id", "x", "invalid_value"),
        ("name", "x" * 257, "invalid_value"),
    ],
)
async def test_invalid_application_is_refused(
    directory: Directory, make_app: MakeIdentity, field: str, value: Any, code: str
) -> None:
    with pytest.raises(errors.DirectoryError) as caught:
        await directory.identities.put(make_app(**{field: value}))
    assert (caught.value.code, caught.value.facts["field"]) == (code, field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("passwords", (password(1),)),
        ("identifier_uris", ("api://x",)),
        ("unique_name", "x"),
        ("has_principal", False),
        ("tags", {f"t{n}": "" for n in range(51)}),
    ],
)
async def test_managed_identity_with_a_secret_or_uri_is_refused(
    directory: Directory, make_identity: MakeIdentity, field: str, value: Any
) -> None:
    with pytest.raises(errors.InvalidValue):
        await directory.identities.put(make_identity(**{field: value}))


async def test_name_and_location_of_a_managed_identity_cannot_change(
    directory: Directory, make_identity: MakeIdentity
) -> None:
    made = await put(directory, make_identity(location="eastus"))
    for fixed, changes in (
        ("name", {"name": "other"}),
        ("location", {"location": "westus"}),
        ("name", {"unique_name": None, "name": "b2b"}),
    ):
        with pytest.raises(errors.Conflict) as caught:
            await directory.identities.put(replace(made, **changes))
        assert caught.value.facts["fields"] == [fixed]


async def test_unique_name_of_an_application_cannot_change(
    directory: Directory, make_app: MakeIdentity
) -> None:
    made = await put(directory, make_app())
    named = await put(directory, replace(made, unique_name="an-app", name="renamed"))
    assert named.name == "renamed"
    for other in ("other", None):
        with pytest.raises(errors.Conflict) as caught:
            await directory.identities.put(replace(named, unique_name=other))
        assert caught.value.facts["fields"] == ["unique_name"]


async def test_application_with_a_service_principal_is_a_resource_by_its_uris(
    directory: Directory, make_app: MakeIdentity
) -> None:
    made = await put(
        directory,
        make_app(
            identifier_uris=("https://api.example/orders",),
            document={"api": {"requestedAccessTokenVersion": None}},
        ),
    )
    for uri in ("https://api.example/orders", "https://api.example/orders/", made.client_id):
        found = await directory.find_resource(TENANT, uri)
        assert found is not None
        assert (found.app_id, found.token_version) == (made.client_id, 1)
    assert await directory.find_resource(OTHER, "https://api.example/orders") is None
    await directory.identities.put(replace(made, has_principal=False))
    assert await directory.find_resource(TENANT, "https://api.example/orders") is None
    assert await directory.find_resource(TENANT, made.client_id) is None


async def test_application_cannot_take_a_uri_of_microsoft(
    directory: Directory, make_app: MakeIdentity
) -> None:
    """A token request for the vault must never be answered with a token for an application."""
    await put(directory, make_app(identifier_uris=("https://vault.azure.net",)))
    found = await directory.find_resource(TENANT, "https://vault.azure.net")
    assert found is not None
    assert found.display_name == "Azure Key Vault"


async def test_change_that_raises_changes_nothing(
    directory: Directory, make_app: MakeIdentity
) -> None:
    made = await put(directory, make_app())
    changed = await directory.identities.change(
        TENANT, made.client_id.upper(), lambda old: replace(old, name="new name")
    )
    assert changed.name == "new name"

    def fail(_: Identity) -> Identity:
        raise errors.Conflict("the etag is another")

    for step, why in (
        (fail, "the etag is another"),
        (lambda old: replace(old, client_id=OTHER), "ids of an identity cannot change"),
    ):
        with pytest.raises(errors.Conflict, match=why):
            await directory.identities.change(TENANT, made.client_id, step)
    with pytest.raises(errors.NotFound):
        await directory.identities.change(TENANT, OTHER, lambda old: old)
    assert await directory.identities.get(TENANT, made.client_id) == changed


async def test_writing_a_credential_keeps_its_id_and_the_other_credentials(
    directory: Directory,
    make_identity: MakeIdentity,
    make_credential: MakeCredential,
    clock: list[float],
) -> None:
    one, two = make_credential("one", subject="1"), make_credential("two", subject="2")
    before = await put(directory, make_identity(credentials=(one, two)))
    clock[0] += 100
    new = make_credential("two", subject="3")
    await directory.identities.put_credential(TENANT, before.client_id, new)
    after = await directory.identities.get(TENANT, before.client_id)
    assert after is not None
    assert after.credentials[0] == before.credentials[0]
    assert after.credentials[1] == replace(before.credentials[1], subject="3")
    assert len({one.id for one in after.credentials} - {""}) == 2


async def test_removing_a_service_principal_deletes_its_assignments(
    directory: Directory, make_app: MakeIdentity
) -> None:
    """A later service principal must not get the old assignments."""
    api = await put(directory, make_app("api"))
    made = await put(directory, make_app())
    given = RoleAssignment(scope=SUB, principal_id=made.object_id, role="Reader")
    await directory.assign_role(given)
    await directory.app_roles.put(
        AppRoleAssignment(
            id="",
            principal_id=made.object_id,
            principal_type="ServicePrincipal",
            resource_id=api.object_id,
            app_role_id=str(uuid.uuid4()),
        )
    )
    without = await directory.identities.change(
        TENANT, made.client_id, lambda old: replace(old, has_principal=False)
    )
    again = await directory.identities.change(
        TENANT, made.client_id, lambda old: replace(old, has_principal=True)
    )
    assert len({made.object_id, without.object_id}) == 2
    assert again.object_id == without.object_id
    assert await directory.assignments.list() == []
    assert await directory.app_roles.list(resource_id=api.object_id) == []


async def test_pages_list_every_identity_once_in_every_order(
    directory: Directory, make_app: MakeIdentity, make_identity: MakeIdentity
) -> None:
    apps = [make_app(f"App {number % 3}", has_principal=number != 4) for number in range(7)]
    managed = [
        make_identity(
            f"mi-{number}",
            resource_id=f"{SUB}/resourcegroups/G{number % 2}/providers/x/mi-{number}",
        )
        for number in range(4)
    ]
    await directory.identities.put_many([*apps, *managed])

    async def ids(size: int, **wanted: Any) -> list[str]:
        found: list[Identity] = []
        while True:
            last = found[-1] if found else None
            after = (last.resource_id if "group" in wanted else last.client_id) if last else None
            page = await directory.identities.page(TENANT, after=after, limit=size, **wanted)
            found += page
            if len(page) < size:
                return [one.client_id for one in found]

    every = sorted(one.client_id for one in [*apps, *managed])
    named = [one for one in apps if one.name == "App 1"]
    begins = (Condition(field="name", op="startswith", value="aPP 1"),)
    for size in (1, 3, 100):
        assert await ids(size) == every
        assert set(await ids(size, principals=True)) == set(every) - {apps[4].client_id}
        assert set(await ids(size, kind=IdentityKind.MANAGED_IDENTITY)) == {
            one.client_id for one in managed
        }
        assert await ids(size, where=begins) == sorted(one.client_id for one in named)
        assert await ids(size, group=f"{SUB}/resourceGroups/g1") == [
            managed[1].client_id,
            managed[3].client_id,
        ]
        assert len(await ids(size, group=SUB)) == 4
    assert await directory.identities.count(TENANT, where=begins) == len(named)
    assert await directory.identities.count(TENANT, kind=IdentityKind.APPLICATION) == 7


async def test_page_by_name_after_a_deleted_identity_is_refused(directory: Directory) -> None:
    begins = (Condition(field="name", op="startswith", value="an"),)
    with pytest.raises(errors.PageExpired):
        await directory.identities.page(TENANT, where=begins, after=OTHER)


async def test_filter_conditions_compare_text_as_graph_does(
    directory: Directory, make_app: MakeIdentity
) -> None:
    one = await put(directory, make_app("Ünder_score%", identifier_uris=("https://a.example/x",)))
    two = await put(directory, make_app("under score", unique_name="two"))

    async def found(field: Any, op: Any, value: str | tuple[str, ...]) -> set[str]:
        condition = Condition(field=field, op=op, value=value)
        page = await directory.identities.page(TENANT, where=(condition,))
        return {identity.client_id for identity in page}

    assert await found("name", "eq", "üNDER_SCORE%") == {one.client_id}
    assert await found("name", "startswith", "under_") == set()
    assert await found("name", "startswith", "%") == set()
    assert await found("name", "in", ("under score", "x")) == {two.client_id}
    assert await found("name", "ne", "under score") == {one.client_id}
    assert await found("client_id", "in", (one.client_id.upper(), OTHER)) == {one.client_id}
    assert await found("unique_name", "eq", "two") == {two.client_id}
    assert await found("unique_name", "ne", "two") == {one.client_id}
    assert await found("identifier_uri", "eq", "HTTPS://a.example/x/") == {one.client_id}
    assert await found("identifier_uri", "startswith", "https://a") == {one.client_id}
    assert await found("identifier_uri", "ne", "https://a.example/x") == {two.client_id}


async def test_put_many_writes_all_identities_or_none(
    directory: Directory, make_app: MakeIdentity
) -> None:
    old = await put(directory, make_app("old"))
    bad = make_app("bad", object_id=old.object_id)
    with pytest.raises(errors.Conflict, match="another entry already has this name or id"):
        await directory.identities.put_many([make_app("new"), bad])
    assert await directory.identities.count(TENANT) == 1
    kept = await put(directory, make_app("kept"))
    older = replace(old, name="older")
    done = await directory.identities.put_many([older, make_app("new"), kept])
    assert done == [WriteResult.UPDATED, WriteResult.CREATED, WriteResult.UNCHANGED]
    with pytest.raises(errors.Conflict, match="listed twice"):
        await directory.identities.put_many([older, old])
    with pytest.raises(errors.NotFound):
        await directory.identities.put_many([make_app(tenant_id=OTHER)])
