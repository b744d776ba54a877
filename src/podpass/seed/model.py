"""The data types of a seed file, and its parser, which reports every problem with its line.

A parsed `Seed` has passed all checks that do not need the directory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from podpass import names
from podpass.directory import rules
from podpass.directory.model import FederatedCredential, IdentityKind
from podpass.directory.roles import RoleCatalogue
from podpass.guids import is_lower_guid
from podpass.seed.resources import SeedResource, parse_resource
from podpass.seed.section import SeedEntry, SeedSection
from podpass.seed.yaml_reader import Reader, line_of

CLUSTER = "cluster"
_SEED = ("identities", "resources", "administrators")
_IDENTITY = ("name", "kind", "client_id", "federated_credentials")
_CREDENTIAL = ("name", "issuer", "subject", "expression", "audiences", "description")
_KEY_OF_FIELD = {"claimsMatchingExpression": "expression"}
# Replaces `cluster` while the other rules are checked.
_SOME_ISSUER = "https://issuer.example/"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedIdentity:
    """An identity. Credentials with the issuer `cluster` trust the instance's own issuer.

    `credential_lines` are the lines of the credentials, in their order.
    """

    line: int
    name: str
    kind: IdentityKind = IdentityKind.MANAGED_IDENTITY
    client_id: str | None = None
    credentials: tuple[FederatedCredential, ...] = ()
    credential_lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedName:
    """A reference to an identity by name."""

    line: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """The content of a seed file; `entries` are those of the services, by the key of their section."""

    filename: str
    identities: tuple[SeedIdentity, ...] = ()
    resources: tuple[SeedResource, ...] = ()
    administrators: tuple[SeedName, ...] = ()
    sections: Sequence[SeedSection[Any]] = ()
    entries: Mapping[str, Sequence[SeedEntry]] = field(default_factory=dict)


def parse_seed(
    text: str,
    filename: str,
    sections: Sequence[SeedSection[Any]] = (),
    roles: RoleCatalogue | None = None,
) -> Seed:
    """Parse a seed file, with the sections of services and the roles that it may name.

    Raises UsageError with every problem, each with file and line.
    """
    reader = Reader(filename, roles)
    file = _SeedParser(reader)
    known = (*_SEED, *(each.key for each in sections))
    top = reader.read_mapping(reader.load(text), "seed", known)
    identities = [
        file.parse_identity(n) for n in reader.read_list(top.get("identities"), "identities")
    ]
    resources = [
        parse_resource(reader, n) for n in reader.read_list(top.get("resources"), "resources")
    ]
    named: list[SeedIdentity | SeedResource] = [*identities, *resources]
    reader.check_unique("identity", ((i.line, i.name.lower()) for i in named))
    ids = [(i.line, i.client_id) for i in identities if i.client_id]
    ids += [(i.line, i.application_id) for i in resources if i.application_id]
    reader.check_unique("client_id", ids)
    entries = {}
    for section in sections:
        listed = reader.read_list(top.get(section.key), section.key)
        found = entries[section.key] = [section.parse(reader, node) for node in listed]
        reader.check_unique(section.noun, ((each.line, section.unique(each)) for each in found))
    administrators = [
        file.parse_name(n) for n in reader.read_list(top.get("administrators"), "administrators")
    ]
    reader.finish()
    return Seed(
        filename=filename,
        identities=tuple(identities),
        resources=tuple(resources),
        administrators=tuple(administrators),
        sections=sections,
        entries=entries,
    )


class _SeedParser:
    """Parses the parts of a seed file. A part with problems has empty values."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def parse_identity(self, node: yaml.Node) -> SeedIdentity:
        read, line = self._reader, line_of(node)
        entry = read.read_mapping(node, "identity", _IDENTITY, required=("name",))
        given = read.read_text(entry.get("name"), "identity: name")
        name = given or ""
        where = f"identity {name}".rstrip()
        kind = self._parse_kind(entry.get("kind"), where)
        if given is not None and (fault := rules.name_fault(name, kind)):
            read.add_problem(line_of(entry["name"]), f"{where}: {fault.message}")
        credentials, lines = [], []
        listed = read.read_list(
            entry.get("federated_credentials"), f"{where}: federated_credentials"
        )
        for number, child in enumerate(listed):
            credential = self._parse_credential(child, where, kind)
            if credential is not None:
                credentials.append(credential)
                lines.append(line_of(child))
            if number == rules.MAX_CREDENTIALS:
                limit = f"an identity has at most {rules.MAX_CREDENTIALS} federated credentials"
                read.add_problem(line_of(child), f"{where}: {limit}")
        return SeedIdentity(
            line=line,
            name=name,
            kind=kind,
            client_id=self._parse_client_id(entry.get("client_id"), where),
            credentials=tuple(credentials),
            credential_lines=tuple(lines),
        )

    def _parse_kind(self, node: yaml.Node | None, where: str) -> IdentityKind:
        text = self._reader.read_text(node, f"{where}: kind")
        try:
            return IdentityKind(text) if text is not None else IdentityKind.MANAGED_IDENTITY
        except ValueError:
            assert node is not None
            kinds = ", ".join(IdentityKind)
            self._reader.add_problem(line_of(node), f"{where}: kind {text!r}: want one of {kinds}")
            return IdentityKind.MANAGED_IDENTITY

    def _parse_client_id(self, node: yaml.Node | None, where: str) -> str | None:
        text = self._reader.read_text(node, f"{where}: client_id")
        if text is None or node is None:
            return None
        if not is_lower_guid(text.lower()):
            self._reader.add_problem(line_of(node), f"{where}: client_id {text!r}: want a GUID")
        return text.lower()

    def _parse_credential(
        self, node: yaml.Node, identity: str, kind: IdentityKind
    ) -> FederatedCredential | None:
        read = self._reader
        where = f"{identity}: federated credential"
        entry = read.read_mapping(node, where, _CREDENTIAL, required=("name", "issuer"))
        required = ("name", "issuer", "expression" if "expression" in entry else "subject")
        if not {"subject", "expression"} & entry.keys():
            read.add_problem(line_of(node), f"{where}: subject is missing")
        texts = {
            key: read.read_text(entry.get(key), f"{where}: {key}")
            for key in ("name", "issuer", "subject", "expression", "description")
        }
        if any(texts[key] is None for key in required):
            return None
        audiences = [
            read.read_text(child, f"{where}: audiences")
            for child in read.read_list(entry.get("audiences"), f"{where}: audiences")
        ]
        given = tuple(text for text in audiences if text is not None)
        credential = FederatedCredential(
            name=texts["name"] or "",
            issuer=texts["issuer"] or "",
            subject=texts["subject"] or "",
            audiences=given if "audiences" in entry else (names.EXCHANGE_AUDIENCE,),
            description=texts["description"] or "",
            expression=texts["expression"] or "",
        )
        for fault in rules.credential_faults(with_issuer(credential, _SOME_ISSUER), kind):
            culprit = entry.get(_KEY_OF_FIELD.get(fault.field, fault.field), node)
            hint = f", or the word {CLUSTER}" if fault.field == "issuer" else ""
            problem = f"{where} {credential.name}: {fault.message}{hint}"
            read.add_problem(line_of(culprit), problem)
        return credential

    def parse_name(self, node: yaml.Node) -> SeedName:
        name = self._reader.read_text(node, "administrators") or ""
        return SeedName(line=line_of(node), name=name)


def with_issuer(credential: FederatedCredential, issuer: str) -> FederatedCredential:
    """Replace the issuer `cluster` of a credential."""
    if credential.issuer != CLUSTER:
        return credential
    return replace(credential, issuer=issuer)
