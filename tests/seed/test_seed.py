"""Seeds: the objects that they create, repeated application, and error messages."""

import contextlib
import sqlite3
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from podpass.database import CorruptRowError, Database
from podpass.directory import delegated_permissions
from podpass.directory.model import IdentityKind, RoleAssignment, Tenant
from podpass.directory.resources import GRAPH_APP_ID
from podpass.directory.store.directory import Directory
from podpass.errors import UsageError
from podpass.lab.services import create_directory, parse_seed
from podpass.lab.services.vault.model import RecoveryPolicy, vault_key
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults
from podpass.seed.apply import apply_seed
from tests.directory.database_faults import INVALID_UTF8

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
ISSUER = f"https://eastus.oic.prod-aks.azure.com/{TENANT}/x/"
CLIENT = "11111111-aaaa-4bbb-8ccc-000000000001"
LEDGER = "5a0c6d6e-0000-4000-8000-00000000abcd"
EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "seed.yaml"

SEED = f"""
identities:
  - name: web
    client_id: {CLIENT}
    federated_credentials:
      - {{name: web, issuer: cluster, subject: "system:serviceaccount:default:web"}}
  - name: app
    kind: application
vaults:
  - name: demo-vault
    secrets: {{greeting: hello}}
    access: [{{identity: web, role: key vault secrets user}}]
"""

TWIN = """identities:
- name: web
  federated_credentials:
  - {name: twin, issuer: cluster, subject: "system:serviceaccount:default:web"}
"""


class World:
    """A directory and a store, and seeds applied to them."""

    def __init__(self, directory: Directory, store: VaultStore) -> None:
        self.directory = directory
        self.store = store

    async def apply(self, text: str) -> list[str]:
        """Apply a seed, and return the results other than `unchanged`."""
        applied = await apply_seed(
            parse_seed(text, "seed.yaml"),
            self.directory,
            {"vault": self.store},
            issuer=ISSUER,
            tenant_id=TENANT,
            subscription_id=SUBSCRIPTION,
            clock=lambda: 1_700_000_000.0,
        )
        return [str(one) for one in applied if one.change != "unchanged"]

    async def vault_key(self, name: str = "demo-vault") -> str:
        """Return the id of a vault's secrets."""
        vault = await self.directory.store(Vaults).get(name)
        assert vault is not None
        return vault_key(vault)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with (
        Database(f"sqlite:///{tmp_path}/directory.db") as database,
        create_directory(database) as directory,
        VaultStore(database, tmp_path / "vault.key") as store,
    ):
        await directory.create_tenant(Tenant(id=TENANT))
        yield World(directory, store)


def list_problems(text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse_seed(text, "seed.yaml")
    assert caught.value.code == "usage"
    assert "seed.yaml" in caught.value.hint
    return caught.value.message.splitlines()


async def test_seed_creates_all_its_objects(world: World) -> None:
    assert await world.apply(SEED) == [
        "identity web created",
        "federated credential web/web created",
        "identity app created",
        "vault demo-vault created",
        "secret demo-vault/greeting created",
        "role Key Vault Secrets User on demo-vault for web created",
    ]
    web = await world.directory.find_identity(TENANT, CLIENT)
    assert web is not None
    assert web.resource_id == (
        f"/subscriptions/{SUBSCRIPTION}/resourcegroups/podpass/providers"
        "/Microsoft.ManagedIdentity/userAssignedIdentities/web"
    )
    [credential] = web.credentials
    assert credential.issuer == ISSUER
    assert credential.audiences == ("api://AzureADTokenExchange",)
    vault = await world.directory.store(Vaults).get("demo-vault")
    assert vault is not None
    assert await world.directory.roles_at(web.object_id, vault.resource_id)
    [app] = await world.directory.list_identities(TENANT, "app")
    assert (app.kind, app.resource_id) == (IdentityKind.APPLICATION, None)


async def test_repeated_application_of_a_seed_changes_nothing(world: World) -> None:
    await world.apply(SEED)
    before = await world.directory.list_identities(TENANT)
    assert await world.apply(SEED) == []
    assert await world.directory.list_identities(TENANT) == before
    collection = await world.vault_key()
    versions = await world.store.page_versions(collection, "greeting", after=0, limit=9)
    assert len(versions) == 1


RESOURCE = """
resources:
  - name: ledger
    application_id: 5a0c6d6e-0000-4000-8000-00000000abcd
    uris: ["https://ledger.example.test/", "api://ledger"]
"""


async def test_resource_of_a_seed_gets_tokens(world: World) -> None:
    assert await world.apply(RESOURCE) == ["identity ledger created"]
    for name in ("https://ledger.example.test", "api://ledger/", LEDGER):
        found = await world.directory.find_resource(TENANT, name)
        assert found is not None
        assert (found.app_id, found.display_name, found.token_version) == (LEDGER, "ledger", 1)
    assert await world.apply(RESOURCE) == []
    more = RESOURCE.replace("api://ledger", "api://more") + "    permissions: [Entries.Read]\n"
    assert await world.apply(more) == ["identity ledger updated"]
    stored = await world.directory.find_identity(TENANT, LEDGER)
    assert stored is not None
    assert len(stored.identifier_uris) == 3
    names = [one.value for one in delegated_permissions.of_application(stored)]
    assert names == ["user_impersonation", "Entries.Read"]


async def test_resource_that_another_application_owns_is_refused(world: World) -> None:
    await world.apply(RESOURCE)
    other = "resources: [{name: other, uris: [api://LEDGER]}]"
    with pytest.raises(UsageError, match="api://LEDGER belongs to ledger"):
        await world.apply(other)
    same = f"resources: [{{name: other, uris: [api://x], application_id: {LEDGER}}}]"
    with pytest.raises(UsageError, match="belongs to ledger"):
        await world.apply(same)
    await world.apply("identities: [{name: managed}]")
    with pytest.raises(UsageError, match="exists already as managed-identity"):
        await world.apply("resources: [{name: managed, uris: [api://x]}]")


async def test_generated_client_id_does_not_change(world: World) -> None:
    seed = "identities: [{name: web}]"
    await world.apply(seed)
    [first] = await world.directory.list_identities(TENANT)
    await world.apply(seed)
    assert await world.directory.list_identities(TENANT) == [first]


async def test_changes_are_reported_and_unnamed_objects_stay(world: World) -> None:
    await world.apply(SEED)
    changed = """
identities:
  - name: web
    federated_credentials:
      - {name: web, issuer: cluster, subject: "system:serviceaccount:default:other"}
      - {name: github, issuer: "https://token.example", subject: s, audiences: ["api://x"]}
vaults:
  - name: demo-vault
    location: westeurope
    secrets: {greeting: hello again}
"""
    assert await world.apply(changed) == [
        "federated credential web/web updated",
        "federated credential web/github created",
        "vault demo-vault updated",
        "secret demo-vault/greeting updated",
    ]
    assert len(await world.directory.assignments.list()) == 1
    assert len(await world.directory.list_identities(TENANT)) == 2


async def test_deleted_secret_is_recovered(world: World) -> None:
    await world.apply(SEED)
    collection = await world.vault_key()
    await world.store.delete(collection, "greeting", 1.0, RecoveryPolicy())
    assert await world.apply(SEED) == ["secret demo-vault/greeting created"]
    found = await world.store.get(collection, "greeting")
    assert found is not None
    assert found.value.reveal() == "hello"


async def test_objects_of_a_seed_are_in_an_existing_group(world: World) -> None:
    await world.apply(SEED)
    group = await world.directory.groups.get(SUBSCRIPTION, "podpass")
    assert group is not None
    assert group.location == "eastus"
    web = await world.directory.find_identity(TENANT, CLIENT)
    assert web is not None
    assert web.location == "eastus"


async def test_deleted_vault_is_recovered_with_its_secrets(world: World) -> None:
    await world.apply(SEED)
    collection = await world.vault_key()
    await world.directory.store(Vaults).delete("demo-vault")
    assert await world.apply(SEED) == [
        "vault demo-vault created",
        "role Key Vault Secrets User on demo-vault for web created",
    ]
    assert await world.vault_key() == collection


async def test_seed_does_not_change_vault_attributes_that_it_cannot_set(world: World) -> None:
    await world.apply(SEED)
    tagged = await world.directory.store(Vaults).change(
        "demo-vault", lambda old: replace(old, tags={"made": "by hand"}, purge_protection=True)
    )
    assert await world.apply(SEED) == []
    assert await world.directory.store(Vaults).get("demo-vault") == tagged


async def test_identity_in_the_group_of_the_seed_is_preferred(world: World) -> None:
    await world.apply(SEED)
    web = await world.directory.find_identity(TENANT, CLIENT)
    assert web is not None
    assert web.resource_id is not None
    other = replace(
        web,
        client_id=str(uuid.uuid4()),
        object_id=str(uuid.uuid4()),
        resource_id=web.resource_id.replace("/podpass/", "/elsewhere/"),
    )
    await world.directory.identities.put(other)
    assert await world.apply(SEED) == []


async def test_role_can_be_assigned_to_an_identity_of_an_earlier_seed(world: World) -> None:
    await world.apply(SEED)
    more = "vaults: [{name: other, access: [{identity: app, role: Key Vault Reader}]}]"
    assert "role Key Vault Reader on other for app created" in await world.apply(more)
    vault = await world.directory.store(Vaults).get("other")
    assert vault is not None
    [app] = await world.directory.list_identities(TENANT, "app")
    [given] = await world.directory.assignments.list(at=vault.resource_id)
    assert isinstance(given, RoleAssignment)
    assert given.principal_id == app.object_id


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "identities: [{name: web, client_id: 99999999-aaaa-4bbb-8ccc-000000000001}]",
            f"seed.yaml:1: identity web: its client_id is {CLIENT} and cannot change",
        ),
        (
            f"\nidentities: [{{name: other, client_id: {CLIENT}}}]",
            f"seed.yaml:2: identity other: client_id {CLIENT} belongs to web",
        ),
        (
            "identities: [{name: web, kind: application}]",
            "seed.yaml:1: identity web: exists already as managed-identity",
        ),
        (
            "vaults:\n- name: new-vault\n  access:\n  - {identity: wbe, role: Key Vault Reader}",
            "seed.yaml:4: vault new-vault: access: no identity 'wbe'; existing identities: app, web",
        ),
        (TWIN, f"seed.yaml:2: identity web: web already trusts issuer {ISSUER} and subject"),
    ],
)
async def test_seed_that_cannot_be_applied_changes_nothing(
    world: World, text: str, said: str
) -> None:
    await world.apply(SEED)
    before = await world.directory.list_identities(TENANT)
    vaults = await world.directory.store(Vaults).list()
    with pytest.raises(UsageError) as caught:
        await world.apply(text)
    assert caught.value.message.startswith(said)
    assert await world.directory.list_identities(TENANT) == before
    assert await world.directory.store(Vaults).list() == vaults


async def test_expression_that_the_issuer_does_not_allow_is_refused_with_its_line(
    world: World,
) -> None:
    text = """identities:
  - name: web
    federated_credentials:
      - name: every-branch
        issuer: https://token.actions.githubusercontent.com
        expression: claims['sub'] matches 'repo:contoso:*'
      - name: preview
        issuer: cluster
        expression: claims['sub'] matches 'system:serviceaccount:env-*:web'
"""
    with pytest.raises(UsageError) as caught:
        await world.apply(text)
    assert (
        "seed.yaml:2: identity web: federated credential every-branch: invalid"
        in caught.value.message
    )
    assert await world.apply("") == []
    with pytest.raises(UsageError, match="with --flexible-kubernetes"):
        await world.apply(
            text.replace("repo:contoso:*'", "repo:contoso:*' and claims['repository_id'] eq '2'")
        )


async def test_credential_limit_counts_existing_credentials(world: World) -> None:
    def seed(first: int, last: int) -> str:
        lines = "\n".join(
            f"    - {{name: name-{n}, issuer: cluster, subject: s{n}}}" for n in range(first, last)
        )
        return f"identities:\n- name: web\n  federated_credentials:\n{lines}\n"

    await world.apply(seed(0, 20))
    with pytest.raises(UsageError) as caught:
        await world.apply(seed(20, 21))
    assert "at most 20 federated credentials" in caught.value.message


_APP = f"identities:\n- {{name: app, kind: application, client_id: {CLIENT}}}\n"
_WITHOUT_ID = SEED.replace(f"    client_id: {CLIENT}\n", "")


@pytest.mark.parametrize(
    ("text", "table", "change"),
    [
        *(
            (text, "identities", change)
            for text in (SEED, _WITHOUT_ID)
            for change in (
                "document = '{not json' WHERE name = 'web'",
                f"name = {INVALID_UTF8} WHERE name = 'web'",
                f"name = {INVALID_UTF8}, name_key = {INVALID_UTF8} WHERE name = 'web'",
                "name = 'we' || char(1), name_key = 'we' || char(1) WHERE name = 'web'",
                "name = 'wxb', name_key = 'wxb' WHERE name = 'web'",
                "client_id = 'zz' WHERE name = 'web'",
                "object_id = 'zz' WHERE name = 'web'",
                f"name = {INVALID_UTF8} WHERE name = 'app'",
            )
        ),
        (_APP, "identities", "name = char(27), name_key = char(27)"),
        (SEED, "federated_credentials", "name = 'w' || char(1)"),
        (SEED, "federated_credentials", "name = 'other', subject = 'x*'"),
        (SEED, "federated_credentials", f"name = {INVALID_UTF8}"),
        *((SEED, "vaults", f"name = {name}") for name in (INVALID_UTF8, "'de mo'", "'demo-vaulx'")),
    ],
)
async def test_corrupt_row_is_not_reported_as_an_error_of_the_seed(
    world: World, tmp_path: Path, text: str, table: str, change: str
) -> None:
    """A changed file, or a second identity with this name, would not help."""
    await world.apply(text)
    with contextlib.closing(sqlite3.connect(tmp_path / "directory.db")) as database, database:
        database.execute(f"UPDATE {table} SET {change}")
    world.directory.clear_caches()
    with pytest.raises(CorruptRowError, match=f"in table {table} cannot be read") as caught:
        await world.apply(text)
    assert "seed.yaml" not in caught.value.hint
    assert caught.value.message.isprintable()
    assert text != _APP or CLIENT in caught.value.message


async def test_conflict_of_the_seed_with_an_existing_identity_is_reported_with_its_line(
    world: World,
) -> None:
    await world.apply(SEED)
    other = SEED.replace("name: web\n", "name: web2\n").replace("identity: web,", "identity: web2,")
    with pytest.raises(UsageError, match=f"seed.yaml:3: .*client_id {CLIENT} belongs to web"):
        await world.apply(other)
    upper = "identities:\n- name: WEB\n"
    with pytest.raises(UsageError, match=r"seed.yaml:2: .*its resource id belongs to web"):
        await world.apply(upper)


async def test_example_seed_can_be_applied(world: World) -> None:
    assert len(await world.apply(EXAMPLE.read_text())) == 5


def test_every_problem_is_reported_with_its_line() -> None:
    text = """\
identitees: []
identities:
  - nam: web
  - name: web
    kind: robot
    client_id: 7
    federated_credentials:
      - {name: w, issuer: "http://x", subject: "a:*", audiences: []}
      - {issuer: cluster}
  - name: web
vaults:
  - name: Demo
    secrets: {a_b: x, ok: 7, ok2: [1]}
    access:
      - {identity: web, role: Ownerr}
      - {identity: web, rolle: x}
"""
    found = list_problems(text)
    assert [int(line.split(":")[1]) for line in found] == sorted(
        int(line.split(":")[1]) for line in found
    )
    expected = [
        "seed.yaml:1: seed: unknown key 'identitees'; did you mean identities?",
        "seed.yaml:3: identity: unknown key 'nam'; did you mean name?",
        "seed.yaml:3: identity: name is missing",
        "seed.yaml:5: identity web: kind 'robot': want one of managed-identity, application",
        "seed.yaml:6: identity web: client_id: want text, not a number: put it in quotes",
        "seed.yaml:10: identity web is already in line 4",
        "seed.yaml:13: vault Demo: secret ok: want text, not a number: put it in quotes",
        "seed.yaml:13: vault Demo: secret ok2: want text, not a list",
        "seed.yaml:16: vault Demo: access: unknown key 'rolle'; did you mean role?",
        "seed.yaml:16: vault Demo: access: role is missing",
    ]
    assert set(expected) <= set(found)
    begins = [
        "seed.yaml:8: identity web: federated credential w: name 'w': want 3 to 120",
        "seed.yaml:8: identity web: federated credential w: issuer 'http://x': want an https URL, or",
        "seed.yaml:8: identity web: federated credential w: subject 'a:*': subjects are compared",
        "seed.yaml:8: identity web: federated credential w: want exactly one audience, not 0",
        "seed.yaml:9: identity web: federated credential: name is missing",
        "seed.yaml:9: identity web: federated credential: subject is missing",
        "seed.yaml:12: vault Demo: name 'Demo': want 3 to 24",
        "seed.yaml:13: vault Demo: secret a_b: A name is 1 to 127",
        "seed.yaml:15: vault Demo: access: role 'Ownerr' does not exist; did you mean Owner?",
    ]
    for begin in begins:
        assert any(line.startswith(begin) for line in found), begin
    assert len(found) == len(expected) + len(begins)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("identities: [", "seed.yaml:1: not YAML"),
        ("a: b: c", "seed.yaml:1: not YAML"),
        ("identities: []\n---\nvaults: []\n", "seed.yaml:2: not YAML"),
        ("identities: []\n\x00", "seed.yaml:1: not YAML: it contains a character"),
        ("- name: web", "seed.yaml:1: seed: want a mapping (key: value), not a list"),
        ("identities: web", "seed.yaml:1: identities: want a list (- ...), not text"),
        ("identities: {name: web}", "seed.yaml:1: identities: want a list (- ...), not a mapping"),
        ("identities: [web]", "seed.yaml:1: identity: want a mapping (key: value), not text"),
        ("identities: [{name: web, name: web}]", "seed.yaml:1: identity: duplicate key 'name'"),
        ("7: x", "seed.yaml:1: seed: key: want text, not a number"),
        ("a: &x [1]\nb: *x", "seed.yaml:2: aliases (*x) are not supported: repeat the value"),
        ("a: !!python/object:os.system x", "seed.yaml:1: seed: unknown key 'a'"),
        ("identities: [{name: !!binary aGk=}]", "seed.yaml:1: identity: name: want text"),
        ("a: " + "[" * 5000, "seed.yaml:1: nested too deep"),
        ("x" * (1024 * 1024 + 1), "seed.yaml:1: longer than"),
        ("resources: [{name: x}]", "seed.yaml:1: resource: uris is missing"),
        ("resources: [{name: x, uris: []}]", "seed.yaml:1: resource x: want at least one URI"),
        (
            "resources: [{name: x, uris: [https://vault.azure.net/]}]",
            "seed.yaml:1: resource x: https://vault.azure.net/ belongs to Azure Key Vault",
        ),
        (
            "resources: [{name: x, uris: [https://a.documents.azure.com]}]",
            "seed.yaml:1: resource x: https://a.documents.azure.com belongs to Azure Cosmos DB",
        ),
        (
            "resources: [{name: x, uris: [api://x], permissions: [a b]}]",
            "seed.yaml:1: resource x: permission 'a b': want letters",
        ),
        ("resources: [{name: '', uris: [api://x]}]", "seed.yaml:1: resource: name '': want 1 to"),
        ("resources: [{name: x, uris: ['']}]", "seed.yaml:1: resource x: identifier URI '': want"),
        (
            "resources: [{name: x, uris: [api://x], permissions: ['']}]",
            "seed.yaml:1: resource x: permission '': want letters",
        ),
        (
            f"resources: [{{name: x, uris: [api://x], application_id: {GRAPH_APP_ID}}}]",
            f"seed.yaml:1: resource x: application_id {GRAPH_APP_ID} belongs to Microsoft Graph",
        ),
        (
            "vaults: [{name: demo, secrets: {a: x, A: y}}]",
            "seed.yaml:1: vault demo: secret a is already",
        ),
    ],
)
def test_invalid_seed_file_is_refused(text: str, said: str) -> None:
    assert list_problems(text)[0].startswith(said)


@pytest.mark.parametrize("separator", ["", "---\n"])
def test_kubernetes_manifest_is_refused_with_the_command_for_it(separator: str) -> None:
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n"
    with pytest.raises(UsageError) as refused:
        parse_seed(account + separator + account if separator else account, "app.yaml")
    assert refused.value.message == "app.yaml is a Kubernetes manifest, not a seed file"
    assert refused.value.hint.endswith("kubectl apply -f app.yaml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "identities:\nvaults:\n", "{}", "null"])
def test_empty_seed_changes_nothing(text: str) -> None:
    seed = parse_seed(text, "seed.yaml")
    assert (seed.identities, [*seed.entries["vaults"]]) == ((), [])


def test_problems_never_show_a_secret() -> None:
    text = "vaults: [{name: demo, secrets: {a: 31337, b: {c: 31337}, d: [31337]}}]"
    assert "31337" not in "\n".join(list_problems(text))
    assert "hidden-value" not in repr(
        parse_seed("vaults: [{name: demo, secrets: {a: hidden-value}}]", "seed.yaml")
    )


def test_more_than_20_credentials_are_reported_at_the_line_of_the_21st() -> None:
    lines = "\n".join(f"  - {{name: name-{n}, issuer: cluster, subject: s{n}}}" for n in range(22))
    text = f"identities:\n- name: web\n  federated_credentials:\n{lines}\n"
    assert list_problems(text) == [
        "seed.yaml:24: identity web: an identity has at most 20 federated credentials"
    ]


async def test_objects_and_secrets_of_a_seed_are_in_the_audit_log(world: World) -> None:
    await world.apply(SEED)
    before = await world.directory.audit.list()
    [entry] = [one for one in before if one.action.endswith("/secrets/setSecret/action")]
    secret = await world.store.get(await world.vault_key(), "greeting")
    assert secret is not None
    assert entry.target == f"https://demo-vault.vault.azure.net/secrets/greeting/{secret.version}"
    assert entry.actor_name == "podpass"
    assert "hello" not in repr(before)
    await world.apply(SEED)
    assert await world.directory.audit.list() == before
    await world.apply(SEED.replace("hello", "changed"))
    assert len(await world.directory.audit.list()) == len(before) + 1


TARGETS = """targets:
- {name: acc, type: microsoft.storage/storageaccounts}
- {name: ai, type: Microsoft.CognitiveServices/accounts, kind: OpenAI, location: westeurope}
- {name: cache1, type: Microsoft.Cache/redis}
"""


async def test_targets_of_a_seed_are_stored_once(world: World) -> None:
    assert await world.apply(TARGETS) == [
        f"target {name} created" for name in ("acc", "ai", "cache1")
    ]
    assert await world.apply(TARGETS) == []
    acc, ai, cache = sorted(
        await world.directory.other_resources.page(SUBSCRIPTION), key=lambda one: one.name
    )
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/podpass/providers"
    assert acc.resource_id == f"{group}/Microsoft.Storage/storageAccounts/acc"
    assert (ai.location, ai.document["kind"]) == ("westeurope", "OpenAI")
    assert cache.document["properties"]["redisConfiguration"] == {"aadEnabled": "True"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("targets:\n- {name: a.b, type: Microsoft.Cache/redis}\n", "want 1 to 63 letters"),
        ("targets:\n- {name: a, type: Microsoft.Sql/servers}\n", "want one of Microsoft.Storage"),
        ("targets:\n- {name: ai, type: Microsoft.Cache/redis, size: 1}\n", "size"),
        (TARGETS + "- {name: ACC, type: Microsoft.Storage/storageAccounts}\n", "already in line 2"),
    ],
    ids=["name", "type", "key", "twice"],
)
async def test_invalid_target_is_refused_with_its_line(
    world: World, text: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        await world.apply(text)
    assert await world.directory.other_resources.page(SUBSCRIPTION) == []


async def test_target_in_another_location_is_refused_before_anything_changes(world: World) -> None:
    await world.apply(TARGETS)
    moved = SEED + TARGETS.replace("westeurope", "eastus")
    with pytest.raises(UsageError, match="target ai: is in westeurope"):
        await world.apply(moved)
    assert await world.directory.store(Vaults).get("demo-vault") is None
