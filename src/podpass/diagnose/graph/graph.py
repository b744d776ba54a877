"""Build the trust graph, complete or for one identity or namespace. Pure."""

from collections.abc import Sequence
from difflib import get_close_matches

from podpass.diagnose.graph.edges import (
    CredentialMatch,
    ResourceAccess,
    can_sign_in,
    find_access,
    find_matches,
    is_injected,
)
from podpass.diagnose.graph.findings import find_findings
from podpass.diagnose.graph.model import (
    AccountFacts,
    EdgeKind,
    GraphTooLarge,
    NodeKind,
    TrustEdge,
    TrustFacts,
    TrustGraph,
    TrustNode,
    account_id,
    credential_id,
    identity_id,
)
from podpass.directory.model import FederatedCredential, Identity, RoleAssignment
from podpass.directory.rules import MAX_CREDENTIALS
from podpass.errors import UsageError
from podpass.kubernetes.service_account.names import subject

MAX_EDGES = 50_000
_ORDER = {kind: at for at, kind in enumerate(NodeKind)}
_IDENTITY, _NAMESPACE = "identity", "namespace"


def build_graph(facts: TrustFacts, focus: str = "") -> TrustGraph:
    """Build the graph: all, or the part around an identity or a namespace.

    `focus` is a name, or `identity/NAME` or `namespace/NAME`. Raises UsageError for a name that is neither;
    GraphTooLarge.
    """
    matches = list(find_matches(facts))
    identities, accounts = _select(facts, matches, focus)
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
        self._names = {each.client_id: each.name for each in facts.directory.identities}
        self.nodes: dict[str, TrustNode] = {}
        self.edges: list[TrustEdge] = []

    def add_account(self, account: AccountFacts, shown: set[str]) -> None:
        node = account_id(account.key)
        details = {
            "client_id": account.client_id,
            "identity": self._names.get((account.client_id or "").lower()),
            "tenant_id": account.tenant_id,
        }
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
            "expression": credential.expression,
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
            node, resource, EdgeKind.REACHES, operations=list(access.operations), part=access.part
        )

    def _add(self, node: TrustNode) -> None:
        self.nodes.setdefault(node.id, node)

    def _join(self, source: str, target: str, kind: EdgeKind, **details: object) -> None:
        if len(self.edges) >= MAX_EDGES:
            raise GraphTooLarge(f"the graph has more than {MAX_EDGES} edges")
        self.edges.append(TrustEdge(source=source, target=target, kind=kind, details=details))


def _select(
    facts: TrustFacts, matches: Sequence[CredentialMatch], focus: str
) -> tuple[list[Identity], list[AccountFacts]]:
    """Return the identities and accounts to show.

    Without a focus, these are all identities, and the accounts that have an annotation or that a credential
    names. The part around an identity has the identities that it can become or that can become it. The part
    around a namespace has the identities that its accounts name or can become, and all their accounts.

    Raises UsageError for a name that is neither an identity nor a namespace, or both.
    """
    accounts = facts.cluster.accounts or ()
    if not focus:
        named = {each.owner.key for each in matches if isinstance(each.owner, AccountFacts)}
        shown = [each for each in accounts if each.client_id is not None or each.key in named]
        return list(facts.directory.identities), shown
    kind, name = _resolve(facts, focus)
    if kind == _IDENTITY:
        start = {each.client_id for each in _named(facts, name)}
        chosen = _connected(start, matches, backwards=True) | _connected(start, matches)
        return _with_accounts(facts, matches, chosen, frozenset())
    inside = {each.key for each in accounts if each.namespace == name}
    start = {
        each.identity.client_id
        for each in matches
        if isinstance(each.owner, AccountFacts) and each.owner.key in inside
    }
    start |= {each.client_id.lower() for each in accounts if each.key in inside and each.client_id}
    prefix = subject(name, "")
    start |= {
        identity.client_id
        for identity in facts.directory.identities
        if any(
            each.issuer == facts.cluster.issuer and each.subject.startswith(prefix)
            for each in identity.credentials
        )
    }
    return _with_accounts(facts, matches, _connected(start, matches), frozenset(inside))


def _with_accounts(
    facts: TrustFacts, matches: Sequence[CredentialMatch], chosen: set[str], inside: frozenset[str]
) -> tuple[list[Identity], list[AccountFacts]]:
    named = {
        each.owner.key
        for each in matches
        if isinstance(each.owner, AccountFacts) and each.identity.client_id in chosen
    }
    accounts = [
        each
        for each in facts.cluster.accounts or ()
        if each.key in named
        or (each.client_id or "").lower() in chosen
        or (each.key in inside and each.client_id is not None)
    ]
    return [each for each in facts.directory.identities if each.client_id in chosen], accounts


def _connected(
    start: set[str], matches: Sequence[CredentialMatch], *, backwards: bool = False
) -> set[str]:
    """Return the client ids that can be reached from some identities by tokens of managed identities."""
    steps: dict[str, list[str]] = {}
    for each in matches:
        if isinstance(each.owner, Identity):
            source, target = each.owner.client_id, each.identity.client_id
            if backwards:
                source, target = target, source
            steps.setdefault(source, []).append(target)
    found, waiting = set(start), list(start)
    while waiting:
        for following in steps.get(waiting.pop(), ()):
            if following not in found:
                found.add(following)
                waiting.append(following)
    return found


def _named(facts: TrustFacts, name: str) -> list[Identity]:
    return [
        each
        for each in facts.directory.identities
        if each.name == name or each.client_id == name.lower()
    ]


def _resolve(facts: TrustFacts, focus: str) -> tuple[str, str]:
    kind, slash, rest = focus.partition("/")
    if not slash:
        kind, rest = "", focus
    elif kind not in (_IDENTITY, _NAMESPACE):
        raise UsageError(
            f"{focus[:100]!r} is neither identity/NAME nor namespace/NAME",
            hint="pass the name or client id of an identity, or the name of a namespace",
        )
    namespaces = sorted({each.namespace for each in facts.cluster.accounts or ()})
    is_identity, is_namespace = bool(_named(facts, rest)), rest in namespaces
    if kind:
        is_identity, is_namespace = (
            is_identity and kind == _IDENTITY,
            is_namespace and kind == _NAMESPACE,
        )
    if is_identity and is_namespace:
        raise UsageError(
            f"{rest} is the name of an identity and of a namespace",
            hint=f"pass identity/{rest} or namespace/{rest}",
        )
    if not is_identity and not is_namespace:
        known = [*(each.name for each in facts.directory.identities), *namespaces]
        near = get_close_matches(rest, known, n=3)
        proposal = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(
            f"{rest[:100]!r} is the name of no identity and of no namespace with ServiceAccounts",
            hint=f"{proposal}without a name, `podpass graph` prints all",
        )
    return (_IDENTITY if is_identity else _NAMESPACE), rest
