"""Compute who can become whom and reach what, from the facts. Pure.

An edge exists exactly where the token service would answer an exchange, and where a role or an access policy
applies; `tests/trust_graph/test_exchanges.py` compares the two on random directories.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from podpass.directory import resource_ids, roles
from podpass.directory.model import (
    AccessPolicy,
    FederatedCredential,
    Identity,
    IdentityKind,
    RoleAssignment,
    RoleDefinition,
)
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.directory.rules import MAX_CREDENTIALS
from podpass.trust_graph.model import (
    AccountFacts,
    EdgeKind,
    GraphTooLarge,
    NodeKind,
    ResourceFacts,
    TrustEdge,
    TrustFacts,
    TrustGraph,
    TrustNode,
)

MAX_EDGES = 50_000
# Operations on the secrets of a vault: the name in access policies, and the data action of roles.
OPERATIONS = {
    "get": roles.GET_SECRET,
    "list": roles.READ_METADATA,
    "set": roles.SET_SECRET,
    "delete": roles.DELETE_SECRET,
    "backup": roles.BACKUP_SECRET,
    "restore": roles.RESTORE_SECRET,
    "recover": roles.RECOVER_SECRET,
    "purge": roles.PURGE_SECRET,
}
_ALL, _PURGE = "all", "purge"
_ORDER = {kind: at for at, kind in enumerate(NodeKind)}
_SUBJECT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class CredentialMatch:
    """The owner of tokens that a credential of an identity accepts: an account or a managed identity."""

    owner: AccountFacts | Identity
    credential: FederatedCredential
    identity: Identity


@dataclass(frozen=True, slots=True)
class ResourceAccess:
    """A role or an access policy of an identity at a resource, or at the `part` of it."""

    identity: Identity
    granted: RoleAssignment | AccessPolicy
    role: RoleDefinition | None
    resource: ResourceFacts
    operations: tuple[str, ...]
    part: str = ""


def can_sign_in(identity: Identity) -> bool:
    """Return whether the token service issues tokens for an identity."""
    return identity.enabled and identity.has_principal


def find_matches(facts: TrustFacts) -> Iterator[CredentialMatch]:
    """Yield each credential with the account or managed identity whose tokens match it.

    A pod can request a token with any audience for its account, so the audience of the credential does not
    decide; `is_injected` tells whether the token that the webhook injects has it.
    """
    accounts = {f"{_SUBJECT}{each.namespace}:{each.name}": each for each in _accounts(facts)}
    managed = {
        each.object_id: each
        for each in facts.directory.identities
        if each.kind is IdentityKind.MANAGED_IDENTITY and each.enabled
    }
    own = frozenset(facts.directory.issuers)
    for identity in facts.directory.identities:
        for credential in identity.credentials:
            if credential.issuer in own:
                found = managed.get(credential.subject)
                if found is not None and _accepts_managed(identity, credential, facts):
                    yield CredentialMatch(found, credential, identity)
            elif credential.issuer == facts.cluster.issuer and credential.subject in accounts:
                yield CredentialMatch(accounts[credential.subject], credential, identity)


def is_injected(credential: FederatedCredential, facts: TrustFacts) -> bool:
    """Return whether the credential accepts the audience of the tokens that the webhook injects."""
    return facts.cluster.audience in credential.audiences


def _accepts_managed(
    identity: Identity, credential: FederatedCredential, facts: TrustFacts
) -> bool:
    # As in Entra, only applications accept tokens of a managed identity.
    wanted = {EXCHANGE_APP_ID, facts.cluster.audience}
    return identity.kind is IdentityKind.APPLICATION and not wanted.isdisjoint(credential.audiences)


def _accounts(facts: TrustFacts) -> tuple[AccountFacts, ...]:
    return facts.cluster.accounts or ()


def become(account: AccountFacts, matches: Iterable[CredentialMatch]) -> dict[str, Identity]:
    """Return the identities that a pod of an account can become, by client id; also in several steps."""
    following: dict[int | str, list[Identity]] = defaultdict(list)
    for match in matches:
        if can_sign_in(match.identity):
            following[_owner_key(match.owner)].append(match.identity)
    found: dict[str, Identity] = {}
    waiting = list(following[_owner_key(account)])
    while waiting:
        identity = waiting.pop()
        if identity.client_id not in found:
            found[identity.client_id] = identity
            waiting += following[_owner_key(identity)]
    return found


def _owner_key(owner: AccountFacts | Identity) -> str:
    return f"account/{owner.key}" if isinstance(owner, AccountFacts) else identity_id(owner)


def find_access(facts: TrustFacts, identities: Iterable[Identity]) -> Iterator[ResourceAccess]:
    """Yield each role and access policy of the identities with each resource that it applies to."""
    by_principal = {each.object_id.lower(): each for each in identities if each.has_principal}
    defined = {role.id.lower(): role for role in facts.directory.roles}
    resources = _ResourceTree(facts.directory.resources)
    for assignment in facts.directory.assignments:
        identity = by_principal.get(assignment.principal_id.lower())
        role = defined.get(assignment.role.lower())
        if identity is not None and role is not None:
            for resource in resources.below(assignment.scope):
                operations = _operations_of_role(role, resource)
                if operations or _touches(role, resource):
                    yield ResourceAccess(identity, assignment, role, resource, operations)
            if (around := resources.around(assignment.scope)) is not None:
                part = assignment.scope.rstrip("/")[len(around.id.rstrip("/")) + 1 :]
                operations = _operations_of_role(role, around)
                if operations or _touches(role, around):
                    yield ResourceAccess(identity, assignment, role, around, operations, part)
    for resource in facts.directory.resources:
        if not resource.is_vault or resource.uses_roles:
            continue
        for policy in resource.policies:
            identity = by_principal.get(policy.object_id)
            if identity is not None and _applies(policy, identity):
                yield ResourceAccess(
                    identity, policy, None, resource, _operations_of_policy(policy)
                )


def _applies(policy: AccessPolicy, identity: Identity) -> bool:
    same = (policy.tenant_id, policy.object_id) == (identity.tenant_id, identity.object_id)
    return same and policy.application_id in (None, identity.client_id)


def _operations_of_role(role: RoleDefinition, resource: ResourceFacts) -> tuple[str, ...]:
    if not resource.is_vault or not resource.uses_roles:
        return ()
    return tuple(
        name for name, action in OPERATIONS.items() if roles.allows(role, action, data=True)
    )


def _operations_of_policy(policy: AccessPolicy) -> tuple[str, ...]:
    # `all` is older than `purge` and does not include it.
    return tuple(
        name
        for name in OPERATIONS
        if name in policy.secrets or (_ALL in policy.secrets and name != _PURGE)
    )


def _touches(role: RoleDefinition, resource: ResourceFacts) -> bool:
    """Return whether a role has an action for resources of this type."""
    prefix = f"{resource.type}/".lower()
    for pattern in (*role.actions, *role.data_actions):
        fixed, star, _ = pattern.lower().partition("*")
        if fixed.startswith(prefix) or (star and prefix.startswith(fixed)):
            return True
    return False


class _ResourceTree:
    """Finds the resources at and below a scope in logarithmic time."""

    def __init__(self, resources: Iterable[ResourceFacts]) -> None:
        self._by_id = {each.id.lower().rstrip("/"): each for each in resources}
        self._ids = sorted(self._by_id)

    def below(self, scope: str) -> Iterator[ResourceFacts]:
        """Yield the resources at a scope and below it."""
        lower = scope.lower().rstrip("/")
        if lower in self._by_id:
            yield self._by_id[lower]
        for at in range(bisect_left(self._ids, lower + "/"), len(self._ids)):
            if not self._ids[at].startswith(lower + "/"):
                return
            yield self._by_id[self._ids[at]]

    def around(self, scope: str) -> ResourceFacts | None:
        """Return the resource that a scope is a part of."""
        for parent in resource_ids.scopes_above(scope)[1:]:
            if parent in self._by_id:
                return self._by_id[parent]
        return None


def identity_id(identity: Identity) -> str:
    """Return the id of an identity's node."""
    return f"identity/{identity.client_id}"


def account_id(key: str) -> str:
    """Return the id of an account's node."""
    return f"account/{key}"


def credential_id(identity: Identity, credential: FederatedCredential) -> str:
    """Return the id of a credential's node."""
    return f"credential/{identity.client_id}/{credential.name}"


def build_graph(facts: TrustFacts, focus: str = "") -> TrustGraph:
    """Build the graph: all, or the part around an identity or a namespace.

    Shapes:  `focus` is a name, or `identity/NAME` or `namespace/NAME`.
    Errors:  UsageError for a name that is neither; GraphTooLarge.
    """
    from podpass.trust_graph.findings import find_findings
    from podpass.trust_graph.focus import select

    matches = list(find_matches(facts))
    identities, accounts = select(facts, matches, focus)
    builder = _GraphBuilder(facts)
    chosen = {each.client_id for each in identities}
    for account in accounts:
        builder.add_account(account, chosen)
    for identity in identities:
        builder.add_identity(identity)
    keys = {each.key for each in accounts}
    for match in matches:
        is_shown = isinstance(match.owner, Identity) or match.owner.key in keys
        if match.identity.client_id in chosen and is_shown:
            builder.add_match(match)
    for access in find_access(facts, identities):
        builder.add_access(access)
    return TrustGraph(
        tenant_id=facts.directory.tenant_id,
        issuer=facts.cluster.issuer,
        nodes=tuple(sorted(builder.nodes.values(), key=lambda node: _ORDER[node.kind])),
        edges=tuple(builder.edges),
        findings=tuple(
            each for each in find_findings(facts, matches) if each.node in builder.nodes
        ),
        unread=(*facts.cluster.unread, *facts.directory.unread),
    )


class _GraphBuilder:
    """Collects nodes and edges, in the order of the facts."""

    def __init__(self, facts: TrustFacts) -> None:
        self._facts = facts
        self.nodes: dict[str, TrustNode] = {}
        self.edges: list[TrustEdge] = []

    def add_account(self, account: AccountFacts, shown: set[str]) -> None:
        node = account_id(account.key)
        details = {"client_id": account.client_id, "tenant_id": account.tenant_id}
        self._add(TrustNode(id=node, kind=NodeKind.ACCOUNT, name=account.key, details=details))
        if account.client_id is not None and account.client_id.lower() in shown:
            self._join(node, f"identity/{account.client_id.lower()}", EdgeKind.ANNOTATES)

    def add_identity(self, identity: Identity) -> None:
        node = identity_id(identity)
        details = {
            "kind_of_identity": str(identity.kind),
            "client_id": identity.client_id,
            "principal_id": identity.object_id,
            "resource_id": identity.resource_id,
            "can_sign_in": can_sign_in(identity),
            "credentials": len(identity.credentials),
            "credential_limit": MAX_CREDENTIALS,
        }
        self._add(TrustNode(id=node, kind=NodeKind.IDENTITY, name=identity.name, details=details))
        for credential in identity.credentials:
            self._add_credential(identity, credential)

    def _add_credential(self, identity: Identity, credential: FederatedCredential) -> None:
        node = credential_id(identity, credential)
        exchanges = self._facts.directory.exchanges
        details = {
            "issuer": credential.issuer,
            "subject": credential.subject,
            "audiences": list(credential.audiences),
            "last_exchange": None
            if exchanges is None
            else exchanges.get((identity.client_id, credential.name)),
        }
        self._add(
            TrustNode(id=node, kind=NodeKind.CREDENTIAL, name=credential.name, details=details)
        )
        self._join(node, identity_id(identity), EdgeKind.TRUSTS)

    def add_match(self, match: CredentialMatch) -> None:
        if isinstance(match.owner, AccountFacts):
            injected = is_injected(match.credential, self._facts)
            source = account_id(match.owner.key)
        else:
            injected, source = False, identity_id(match.owner)
        self._join(
            source,
            credential_id(match.identity, match.credential),
            EdgeKind.MATCHES,
            injected_token=injected,
        )

    def add_access(self, access: ResourceAccess) -> None:
        granted = access.granted
        if isinstance(granted, RoleAssignment) and access.role is not None:
            node = f"role/{granted.principal_id}/{granted.role}{granted.scope}"
            name, scope = access.role.name, granted.scope
        else:
            node, name = f"policy/{access.identity.object_id}/{access.resource.id}", "access policy"
            scope = access.resource.id
        if node not in self.nodes:
            self._add(TrustNode(id=node, kind=NodeKind.ROLE, name=name, details={"scope": scope}))
            self._join(identity_id(access.identity), node, EdgeKind.HOLDS)
        resource = f"resource/{access.resource.id.lower()}"
        details = {"resource_id": access.resource.id, "type": access.resource.type}
        self._add(
            TrustNode(
                id=resource, kind=NodeKind.RESOURCE, name=access.resource.name, details=details
            )
        )
        self._join(
            node,
            resource,
            EdgeKind.REACHES,
            operations=list(access.operations),
            part=access.part,
        )

    def _add(self, node: TrustNode) -> None:
        self.nodes.setdefault(node.id, node)

    def _join(self, source: str, target: str, kind: EdgeKind, **details: object) -> None:
        if len(self.edges) >= MAX_EDGES:
            raise GraphTooLarge(f"the graph has more than {MAX_EDGES} edges")
        self.edges.append(TrustEdge(source=source, target=target, kind=kind, details=details))
