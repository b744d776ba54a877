"""Facts of small directories, for tests of the trust graph."""

from typing import Any

from podpass import names
from podpass.diagnose.graph.model import (
    AccountFacts,
    ClusterAccounts,
    DirectorySnapshot,
    TrustFacts,
)
from podpass.directory import resource_ids
from podpass.directory.model import (
    VAULT_TYPE,
    FederatedCredential,
    Identity,
    IdentityKind,
    ResourceInfo,
    RoleAssignment,
)
from podpass.lab.services import create_roles
from podpass.lab.services.vault.model import vault_id

ROLES = create_roles()
TENANT = "11111111-1111-4111-8111-111111111111"
SUBSCRIPTION = "99999999-9999-4999-8999-999999999999"
ISSUER = "https://oic.example/cluster/"
CLIENT = "33333333-3333-4333-8333-000000000001"
OBJECT = "55555555-5555-4555-8555-000000000001"
GROUP = resource_ids.group_id(SUBSCRIPTION, "g")
VAULT = ResourceInfo(id=vault_id(SUBSCRIPTION, "g", "store"), type=VAULT_TYPE, name="store")


def credential(name: str = "web", **changes: Any) -> FederatedCredential:
    """Return a credential for the account default/web, with changes."""
    given = {
        "issuer": ISSUER,
        "subject": "system:serviceaccount:default:web",
        "audiences": (names.EXCHANGE_AUDIENCE,),
        **changes,
    }
    return FederatedCredential(name=name, **given)


def identity(name: str = "web", number: int = 1, **changes: Any) -> Identity:
    """Return a managed identity that trusts default/web, with changes."""
    kind = changes.get("kind", IdentityKind.MANAGED_IDENTITY)
    is_managed = kind is IdentityKind.MANAGED_IDENTITY
    given = {
        "tenant_id": TENANT,
        "client_id": f"{CLIENT[:-1]}{number}",
        "object_id": f"{OBJECT[:-1]}{number}",
        "resource_id": resource_ids.identity_id(SUBSCRIPTION, "g", name) if is_managed else None,
        "credentials": (credential(),),
        **changes,
    }
    return Identity(name=name, **given)


def account(namespace: str = "default", name: str = "web", **changes: Any) -> AccountFacts:
    """Return an account that is annotated with the first identity, with changes."""
    return AccountFacts(namespace=namespace, name=name, **{"client_id": CLIENT, **changes})


def assignment(role: str, scope: str, principal: str = OBJECT) -> RoleAssignment:
    """Return the assignment of a built-in role, by its name."""
    return RoleAssignment(scope=scope, principal_id=principal, role=ROLES.find(role).id)


def facts(
    *,
    accounts: tuple[AccountFacts, ...] | None = (account(),),
    allowed: frozenset[str] = frozenset(),
    **directory: Any,
) -> TrustFacts:
    """Return facts: by default an account that can become one identity, which reads one vault."""
    given = {
        "identities": (identity(),),
        "assignments": (assignment("Key Vault Secrets User", VAULT.id.lower()),),
        "roles": ROLES.all,
        "resources": (VAULT,),
        "issuers": (f"https://{names.LOGIN_HOST}/{TENANT}/v2.0",),
        **directory,
    }
    return TrustFacts(
        cluster=ClusterAccounts(issuer=ISSUER, accounts=accounts),
        directory=DirectorySnapshot(tenant_id=TENANT, **given),
        allowed_issuers=allowed,
    )
