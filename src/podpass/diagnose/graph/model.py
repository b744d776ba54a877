"""Data types of the trust graph: the facts that were read, and the graph that is computed from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from podpass import names
from podpass.directory.claims_expression import KubernetesIssuers
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    ResourceInfo,
    RoleAssignment,
    RoleDefinition,
)
from podpass.errors import UsageError
from podpass.kubernetes.service_account.names import subject


class GraphTooLarge(UsageError):
    """The graph has more edges than can be shown."""

    code = "trust_graph_too_large"
    hint = "pass the name of an identity or of a namespace: podpass graph NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """A ServiceAccount of the cluster; client and tenant are its annotations, None without one."""

    namespace: str
    name: str
    client_id: str | None = None
    tenant_id: str | None = None

    @property
    def key(self) -> str:
        """Return the account as NAMESPACE/NAME."""
        return f"{self.namespace}/{self.name}"

    @property
    def subject(self) -> str:
        """Return the `sub` of the account's tokens."""
        return subject(self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySnapshot:
    """What was read of the directory and of Resource Manager.

    `issuers` are those of the tenant's own tokens, which an application may trust; `exchanges` maps (client
    id, credential) to the time of the last exchange, None if no record of exchanges was read; `unread` are
    sentences about what could not be read. `has_all_identities` is false if some identities could not be
    read, and `without_credentials` are the client ids of those whose credentials could not. `roles` has an
    entry for each permission block of a role.
    """

    tenant_id: str
    issuers: tuple[str, ...] = ()
    identities: tuple[Identity, ...] = ()
    assignments: tuple[RoleAssignment, ...] = ()
    roles: tuple[RoleDefinition, ...] = ()
    resources: tuple[ResourceInfo, ...] = ()
    exchanges: Mapping[tuple[str, str], str] | None = None
    has_all_identities: bool = True
    without_credentials: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()

    def permissions_by_role(self) -> Mapping[str, Sequence[RoleDefinition]]:
        """Return the permission blocks of each role; what one excludes limits no other block."""
        found: dict[str, list[RoleDefinition]] = {}
        for each in self.roles:
            found.setdefault(each.id.lower(), []).append(each)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccounts:
    """What was read of the cluster.

    `issuer` is empty and `accounts` None if they could not be read; `audience` is that of the tokens that the
    webhook injects.
    """

    issuer: str = ""
    accounts: tuple[AccountFacts, ...] | None = None
    audience: str = names.EXCHANGE_AUDIENCE
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFacts:
    """Everything that the graph is computed from; `allowed_issuers` is empty if every issuer is allowed.

    `expressions` are the clusters whose expressions the token service uses; None if it is not known.
    """

    cluster: ClusterAccounts
    directory: DirectorySnapshot
    allowed_issuers: frozenset[str] = frozenset()
    expressions: KubernetesIssuers | None = None


class NodeKind(StrEnum):
    """The kinds of nodes, in the order in which a token passes them."""

    ACCOUNT = "account"
    CREDENTIAL = "credential"
    IDENTITY = "identity"
    ROLE = "role"
    RESOURCE = "resource"


class EdgeKind(StrEnum):
    """What an edge means, from its source to its target.

    A token of the source matches a credential; a credential is one of an identity; an identity has a role or
    an access policy; a role or policy applies to a resource; an account names an identity by its annotation.
    """

    MATCHES = "matches"
    TRUSTS = "trusts"
    HOLDS = "holds"
    REACHES = "reaches"
    ANNOTATES = "annotates"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustNode:
    """A node; `details` are its facts by name, as in the JSON output."""

    id: str
    kind: NodeKind
    name: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustEdge:
    """An edge between two nodes, by their ids."""

    source: str
    target: str
    kind: EdgeKind
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFinding:
    """Something that is probably not intended; `node` is the id of the node it is about.

    `command` fixes it, and `note` says what to do before it, or instead if there is no command.
    """

    code: str
    node: str
    object: str
    message: str
    note: str = ""
    command: str = ""

    @property
    def fix(self) -> str:
        """Return note and command as one text."""
        return " ".join(filter(None, (self.note, self.command)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustGraph:
    """The ServiceAccounts, the identities that they can use, and the resources that these reach."""

    tenant_id: str
    issuer: str
    nodes: tuple[TrustNode, ...]
    edges: tuple[TrustEdge, ...]
    findings: tuple[TrustFinding, ...] = ()
    unread: tuple[str, ...] = ()


def identity_id(identity: Identity) -> str:
    """Return the id of an identity's node."""
    return f"identity/{identity.client_id}"


def account_id(key: str) -> str:
    """Return the id of an account's node."""
    return f"account/{key}"


def credential_id(identity: Identity, credential: FederatedCredential) -> str:
    """Return the id of a credential's node."""
    return f"credential/{identity.client_id}/{credential.name}"


def to_document(graph: TrustGraph) -> dict[str, Any]:
    """Return the graph as the document of `podpass graph -o json`."""
    return {
        "tenant_id": graph.tenant_id,
        "issuer": graph.issuer,
        "nodes": [
            {"id": node.id, "kind": str(node.kind), "name": node.name, **node.details}
            for node in graph.nodes
        ],
        "edges": [
            {"from": edge.source, "to": edge.target, "kind": str(edge.kind), **edge.details}
            for edge in graph.edges
        ],
        "findings": [
            {
                "code": each.code,
                "node": each.node,
                "object": each.object,
                "message": each.message,
                "fix": each.fix,
            }
            for each in graph.findings
        ],
        "unread": list(graph.unread),
    }
