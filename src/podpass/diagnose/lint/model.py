"""Data types of `podpass lint`."""

from collections.abc import Sequence
from dataclasses import dataclass

from podpass.diagnose.lint.policies import IssuerPolicy
from podpass.directory.model import FederatedCredential, IdentityKind

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedIdentity:
    """An identity with its credentials. An identity of a seed has lines, and no ids."""

    name: str
    kind: IdentityKind
    credentials: tuple[FederatedCredential, ...]
    object_id: str = ""
    resource_id: str = ""
    line: int | None = None
    credential_lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFacts:
    """What is checked: all identities of a seed or of a directory, and the policies of the tenant."""

    identities: Sequence[LintedIdentity]
    policies: Sequence[IssuerPolicy] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """What a rule found; `code` is the name of the rule, `credential` is empty for the identity itself.

    `level` is `error`, `warning`, or `note` for what an exemption allows.
    """

    code: str
    identity: str
    credential: str
    message: str
    fix: str
    level: str = ERROR
    line: int | None = None
