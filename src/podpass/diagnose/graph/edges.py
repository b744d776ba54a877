"""Compute which credential accepts whose tokens, and which resources an identity reaches. Pure.

A match exists exactly where the token service would answer an exchange, and an access where a role or an
access policy applies; `tests/diagnose/graph/test_exchanges.py` compares the two on random directories.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from podpass.diagnose.graph.model import AccountFacts, GraphTooLarge, TrustFacts
from podpass.directory import resource_ids, roles
from podpass.directory.claims_expression import Clause, KubernetesIssuers, parse, usable_clauses
from podpass.directory.errors import InvalidExpression
from podpass.directory.model import (
    AccessPolicy,
    FederatedCredential,
    Identity,
    IdentityKind,
    ResourceInfo,
    RoleAssignment,
    RoleDefinition,
)
from podpass.directory.resources import EXCHANGE_APP_ID

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
# Comparisons of expressions with subjects: about two seconds.
MAX_COMPARISONS = 1_000_000


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
    resource: ResourceInfo
    operations: tuple[str, ...]
    part: str = ""


def can_sign_in(identity: Identity) -> bool:
    """Return whether the token service issues tokens for an identity."""
    return identity.enabled and identity.has_principal


def find_matches(facts: TrustFacts) -> Iterator[CredentialMatch]:
    """Yield each credential with the account or managed identity whose tokens match it.

    A pod can request a token with any audience for its account, so the audience of the credential does not
    decide; `is_injected` returns whether the token that the webhook injects has it.
    """
    accounts = {each.subject: each for each in _accounts(facts)}
    search = _ExpressionSearch(accounts, facts.expressions)
    managed = {
        each.object_id: each
        for each in facts.directory.identities
        if each.kind is IdentityKind.MANAGED_IDENTITY and each.enabled
    }
    own = frozenset(facts.directory.issuers)
    for identity in facts.directory.identities:
        for credential in identity.credentials:
            if credential.issuer in own:
                owner = managed.get(credential.subject)
                if owner is not None and _accepts_managed(identity, credential, facts):
                    yield CredentialMatch(owner, credential, identity)
            elif credential.issuer == facts.cluster.issuer:
                found: Iterable[str] = {credential.subject} & accounts.keys()
                if credential.expression:
                    found = search.find(credential)
                for each in found:
                    yield CredentialMatch(accounts[each], credential, identity)


class _ExpressionSearch:
    """Finds the subjects that an expression matches; compares only those of its fixed beginning or end."""

    def __init__(self, subjects: Iterable[str], allowed: KubernetesIssuers | None) -> None:
        self._allowed = allowed
        self._sorted = sorted(subjects)
        self._reversed = sorted(each[::-1] for each in self._sorted)
        self._comparisons = 0

    def find(self, credential: FederatedCredential) -> Sequence[str]:
        """Return the subjects that match. Raises GraphTooLarge after too many comparisons in all."""
        clauses = self._usable(credential)
        # Tokens of a cluster have no other claim that an expression may compare.
        if not clauses or any(clause.claim != "sub" for clause in clauses):
            return ()
        first = _list_prefixed(self._sorted, max((each.prefix for each in clauses), key=len))
        suffix = max((each.suffix for each in clauses), key=len)
        last = _list_prefixed(self._reversed, suffix[::-1])
        compared = first if len(first) <= len(last) else [each[::-1] for each in last]
        self._comparisons += len(compared)
        if self._comparisons > MAX_COMPARISONS:
            raise GraphTooLarge(
                f"the expressions need more than {MAX_COMPARISONS} comparisons with ServiceAccounts",
                hint="begin or end the patterns of the credentials with more fixed text",
            )
        return [each for each in compared if all(one.holds({"sub": each}) for one in clauses)]

    def _usable(self, credential: FederatedCredential) -> Sequence[Clause]:
        """Return the clauses that the token service compares: none for a cluster that it does not allow."""
        if self._allowed is not None:
            return usable_clauses(credential.issuer, credential.expression, self._allowed)
        try:
            return parse(credential.expression)
        except InvalidExpression:
            return ()


def _list_prefixed(texts: Sequence[str], prefix: str) -> Sequence[str]:
    """Return those of sorted texts that begin with a prefix, in logarithmic time."""

    def beginning(text: str) -> str:
        return text[: len(prefix)]

    start = bisect_left(texts, prefix)
    return texts[start : bisect_right(texts, prefix, lo=start, key=beginning)]


def is_injected(credential: FederatedCredential, facts: TrustFacts) -> bool:
    """Return whether the credential accepts the audience of the tokens that the webhook injects."""
    return facts.cluster.audience in credential.audiences


def _accepts_managed(
    identity: Identity, credential: FederatedCredential, facts: TrustFacts
) -> bool:
    # As in Entra, only applications accept tokens of a managed identity, and only those of its endpoint: a
    # pod that became the identity by a federated credential cannot become the application.
    wanted = {EXCHANGE_APP_ID, facts.cluster.audience}
    return identity.kind is IdentityKind.APPLICATION and not wanted.isdisjoint(credential.audiences)


def _accounts(facts: TrustFacts) -> tuple[AccountFacts, ...]:
    return facts.cluster.accounts or ()


def find_access(facts: TrustFacts, identities: Iterable[Identity]) -> Iterator[ResourceAccess]:
    """Yield each role and access policy of the identities with each resource that it applies to."""
    by_principal = {each.object_id.lower(): each for each in identities if each.has_principal}
    defined = facts.directory.permissions_by_role()
    resources = _ResourceTree(facts.directory.resources)
    for assignment in facts.directory.assignments:
        identity = by_principal.get(assignment.principal_id.lower())
        role = defined.get(assignment.role.lower())
        if identity is not None and role:
            for resource in resources.list_below(assignment.scope):
                operations = _operations_of_role(role, resource)
                if operations or _has_action_for(role, resource):
                    yield ResourceAccess(identity, assignment, role[0], resource, operations)
            if (parent := resources.find_resource_of(assignment.scope)) is not None:
                part = assignment.scope.rstrip("/")[len(parent.id.rstrip("/")) + 1 :]
                operations = _operations_of_role(role, parent)
                if operations or _has_action_for(role, parent):
                    yield ResourceAccess(identity, assignment, role[0], parent, operations, part)
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


def _operations_of_role(role: Sequence[RoleDefinition], resource: ResourceInfo) -> tuple[str, ...]:
    if not resource.is_vault or not resource.uses_roles:
        return ()
    return tuple(
        name for name, action in OPERATIONS.items() if roles.is_permitted(role, action, data=True)
    )


def _operations_of_policy(policy: AccessPolicy) -> tuple[str, ...]:
    # `all` is older than `purge` and does not include it.
    return tuple(
        name
        for name in OPERATIONS
        if name in policy.secrets or (_ALL in policy.secrets and name != _PURGE)
    )


def _has_action_for(role: Sequence[RoleDefinition], resource: ResourceInfo) -> bool:
    """Return whether a role has an action for resources of this type."""
    prefix = f"{resource.type}/".lower()
    patterns = (one for each in role for one in (*each.actions, *each.data_actions))
    for pattern in patterns:
        fixed, star, _ = pattern.lower().partition("*")
        if fixed.startswith(prefix) or (star and prefix.startswith(fixed)):
            return True
    return False


class _ResourceTree:
    """Finds the resources at and below a scope in logarithmic time."""

    def __init__(self, resources: Iterable[ResourceInfo]) -> None:
        self._by_id = {each.id.lower().rstrip("/"): each for each in resources}
        self._ids = sorted(self._by_id)

    def list_below(self, scope: str) -> Iterator[ResourceInfo]:
        """Yield the resources at a scope and below it."""
        lower = scope.lower().rstrip("/")
        if lower in self._by_id:
            yield self._by_id[lower]
        for below in _list_prefixed(self._ids, lower + "/"):
            yield self._by_id[below]

    def find_resource_of(self, scope: str) -> ResourceInfo | None:
        """Return the resource that a scope is a part of."""
        for parent in resource_ids.scopes_above(scope)[1:]:
            if parent in self._by_id:
                return self._by_id[parent]
        return None
