"""Write the trust graph as text. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from podpass.diagnose.graph.drawing import describe_scope
from podpass.diagnose.graph.model import EdgeKind, NodeKind, TrustEdge, TrustGraph, TrustNode
from podpass.directory.model import VAULT_TYPE


class Line(NamedTuple):
    """One line: its indentation, its text, and whether it may be wrapped; a command is copied as one line."""

    indent: int
    text: str
    wraps: bool = True


def describe(graph: TrustGraph) -> Iterator[Line]:
    """Yield the lines: the paths, then findings and what could not be read."""
    yield from describe_paths(graph)
    yield from _describe_findings(graph)
    if graph.unread:
        yield Line(0, "Not read, and therefore not in the graph:")
        yield from (Line(2, f"- {each}") for each in graph.unread)


def describe_paths(graph: TrustGraph) -> Iterator[Line]:
    """Yield the lines for each identity: which accounts can become it, and its resources."""
    index = _Index(graph)
    identities = sorted(index.of_kind(NodeKind.IDENTITY), key=lambda node: (node.name, node.id))
    for identity in identities:
        yield from _describe_identity(index, identity)
        yield Line(0, "")
    if not identities:
        yield Line(0, "No identity was found.")
        yield Line(0, "")
    yield from _describe_accounts_without(index)


def _describe_identity(index: "_Index", identity: TrustNode) -> Iterator[Line]:
    details = identity.details
    kind = str(details["kind_of_identity"]).replace("-", " ")
    state = "" if details["can_sign_in"] else ", disabled"
    used = f"{details['credentials']} of {details['credential_limit']} credentials"
    yield Line(0, f"{identity.name}: {kind}, client id {details['client_id']}, {used}{state}")
    credentials = [index.nodes[each.source] for each in index.into(identity.id, EdgeKind.TRUSTS)]
    for credential in credentials:
        owners = index.into(credential.id, EdgeKind.MATCHES)
        for owner in owners:
            text = f"<- {_describe_owner(index, owner)}, by credential {credential.name}"
            yield Line(2, text)
        expression = credential.details["expression"]
        if expression or not owners:
            subject, issuer = credential.details["subject"], credential.details["issuer"]
            issuer = "this cluster" if issuer == index.issuer else issuer
            # A later ServiceAccount can match an expression, too.
            who = "every token that matches" if expression else "nothing that was read"
            text = f"<- {who}, by credential {credential.name}: {subject or expression} of {issuer}"
            yield Line(2, text)
    if not credentials:
        yield Line(2, "<- nothing: it has no federated credential")
    for held in index.out_of(identity.id, EdgeKind.HOLDS):
        yield from _describe_role(index, index.nodes[held.target])


def _describe_owner(index: "_Index", edge: TrustEdge) -> str:
    owner = index.nodes[edge.source]
    if owner.kind is NodeKind.IDENTITY:
        return f"managed identity {owner.name}"
    note = (
        "" if edge.details["injected_token"] else " (not with the injected token: other audience)"
    )
    return f"ServiceAccount {owner.name}{note}"


def _describe_role(index: "_Index", role: TrustNode) -> Iterator[Line]:
    scope = describe_scope(str(role.details["scope"]))
    for edge in index.out_of(role.id, EdgeKind.REACHES):
        resource = index.nodes[edge.target]
        kind = str(resource.details["type"]).rpartition("/")[2]
        part = f", only {edge.details['part']}" if edge.details["part"] else ""
        operations = ", ".join(edge.details["operations"])
        what = f"{operations} secrets" if operations else _describe_other_actions(resource)
        by = (
            f"{role.name}"
            if role.details["scope"] == resource.details["resource_id"].lower()
            else f"{role.name} at {scope}"
        )
        yield Line(2, f"-> {kind} {resource.name}{part}: {what} ({by})")


def _describe_other_actions(resource: TrustNode) -> str:
    """Describe a role without operations on secrets; the graph evaluates data actions of vaults only."""
    is_vault = str(resource.details["type"]).lower() == VAULT_TYPE.lower()
    return "management only" if is_vault else "actions of the role"


def _describe_accounts_without(index: "_Index") -> Iterator[Line]:
    without = [
        node
        for node in index.of_kind(NodeKind.ACCOUNT)
        if not index.out_of(node.id, EdgeKind.MATCHES)
    ]
    if without:
        yield Line(0, "ServiceAccounts that can become no identity:")
        for node in sorted(without, key=lambda each: each.name):
            yield Line(2, f"{node.name}, annotated with {node.details['client_id']}")
        yield Line(0, "")


def _describe_findings(graph: TrustGraph) -> Iterator[Line]:
    if not graph.findings:
        yield Line(0, "No findings.")
        return
    yield Line(0, f"Findings: {len(graph.findings)}")
    for each in graph.findings:
        yield Line(2, f"{each.code}: {each.object}: {each.message}")
        yield Line(4, f"fix: {each.fix}", wraps=False)


class _Index:
    """Nodes by id, and edges by their ends."""

    def __init__(self, graph: TrustGraph) -> None:
        self.issuer = graph.issuer
        self.nodes = {node.id: node for node in graph.nodes}
        self._out: dict[str, list[TrustEdge]] = {}
        self._in: dict[str, list[TrustEdge]] = {}
        for edge in graph.edges:
            self._out.setdefault(edge.source, []).append(edge)
            self._in.setdefault(edge.target, []).append(edge)

    def of_kind(self, kind: NodeKind) -> list[TrustNode]:
        return [node for node in self.nodes.values() if node.kind is kind]

    def out_of(self, node: str, kind: EdgeKind) -> list[TrustEdge]:
        return _of_kind(self._out.get(node, ()), kind)

    def into(self, node: str, kind: EdgeKind) -> list[TrustEdge]:
        return _of_kind(self._in.get(node, ()), kind)


def _of_kind(edges: Iterable[TrustEdge], kind: EdgeKind) -> list[TrustEdge]:
    return [each for each in edges if each.kind is kind]
