"""The language of flexible federated credentials, version 1, and what each issuer allows in it. Pure.

    claims['sub'] matches 'repo:contoso/*' and claims['repository_id'] eq '1234'

Every clause must hold. `eq` compares the whole claim; in `matches`, `?` stands for one character and `*` for
any number of characters. Case matters.

Source: https://learn.microsoft.com/entra/workload-id/workload-identities-flexible-federated-identity-credentials
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from podpass.directory.errors import InvalidExpression
from podpass.kubernetes.service_account.names import USERNAME_PREFIX

LANGUAGE_VERSION = 1
GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
# A subject has at most 600 characters; an expression names up to three claims.
MAX_CHARS = 1024
# Each `*` is a search through the claim, and nothing of the token is verified yet.
MAX_WILDCARDS = 16
# The time to find a part with `?` is proportional to the length of the claim times that of the part. Any
# caller can send a long claim, and an identity has up to 20 expressions.
MAX_SEARCHED = 32
_MAX_CLAIM_CHARS = 2048
# An entry takes 0.7 kB. If more expressions are in use than the cache has entries, each exchange parses them.
_CACHED_EXPRESSIONS = 16_384

# One space between the parts. A quote inside a value is not defined by Entra's documentation: refused.
_CLAUSE = re.compile(r"claims\['([A-Za-z_][A-Za-z0-9_.-]{0,63})'\] (eq|matches) '([^']{1,600})'")
_AND = " and "
_STARS = re.compile(r"\*+")
_EXAMPLE = "claims['sub'] matches 'repo:contoso/app:*' and claims['repository_id'] eq '1234'"

_ANY_OPERATOR = ("eq", "matches")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """A condition on one claim. `parts` are the texts between the `*` of its value."""

    claim: str
    operator: str
    value: str
    parts: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """Return a text with which every matching claim begins."""
        return self.parts[0].partition("?")[0]

    @property
    def suffix(self) -> str:
        """Return a text with which every matching claim ends."""
        return self.parts[-1].rpartition("?")[2]

    def holds(self, claims: Mapping[str, Any]) -> bool:
        """Compare the whole claim. A claim that is no text never matches."""
        given = claims.get(self.claim)
        if not isinstance(given, str) or len(given) > _MAX_CLAIM_CHARS:
            return False
        if self.operator == "eq":
            return given == self.value
        first, *others = self.parts
        if not others:
            return len(given) == len(first) and _find(first, given) == 0
        *middle, last = others
        start, end = len(first), len(given) - len(last)
        if start > end or _find(first, given[:start]) != 0 or _find(last, given[end:]) != 0:
            return False
        # The first match of each part is enough: it leaves the longest rest. So no search starts again.
        for part in middle:
            place = _find(part, given[start:end])
            if place < 0:
                return False
            start += place + len(part)
        return True

    def describe_difference(self, claims: Mapping[str, Any]) -> str:
        """Say where the claim differs from the clause, for a clause that does not hold."""
        given = claims.get(self.claim)
        if not isinstance(given, str):
            return f"{self}: the token has no text claim {self.claim}"
        place = self.find_difference(given)
        if place is None:
            return f"{self}: the token has '{given}', which does not match after the first '*'"
        if place == len(self.value):
            return f"{self}: the token has '{given}', which is longer"
        return f"{self}: the token has '{given}', which differs at character {place + 1}"

    def find_difference(self, given: str) -> int | None:
        """Return the first position that differs in a text that does not match; None if it is after a `*`."""
        is_pattern = self.operator == "matches"
        fixed = self.value.partition("*")[0] if is_pattern else self.value
        for place, want in enumerate(fixed):
            if place >= len(given) or not (given[place] == want or (is_pattern and want == "?")):
                return place
        return len(fixed) if fixed == self.value else None

    def __str__(self) -> str:
        return f"claims['{self.claim}'] {self.operator} '{self.value}'"


@lru_cache(4096)
def parse(expression: str) -> tuple[Clause, ...]:
    """Parse an expression.

    Raises InvalidExpression.
    """
    if len(expression) > MAX_CHARS:
        raise InvalidExpression(f"it is longer than {MAX_CHARS} characters")
    clauses = []
    place = 0
    while True:
        found = _CLAUSE.match(expression, place)
        if found is None:
            raise InvalidExpression(
                f"character {place + 1} does not begin a clause such as {_EXAMPLE}: one space between the "
                "parts, the operator eq or matches, and no quote inside a value"
            )
        claim, operator, value = found.groups()
        parts = tuple(_STARS.split(value)) if operator == "matches" else (value,)
        if any("?" in part and len(part) > MAX_SEARCHED for part in parts[1:-1]):
            raise InvalidExpression(
                f"a part with '?' between two '*' is longer than {MAX_SEARCHED} characters"
            )
        clauses.append(Clause(claim=claim, operator=operator, value=value, parts=parts))
        place = found.end()
        if place == len(expression):
            break
        if not expression.startswith(_AND, place):
            raise InvalidExpression(
                f"after the clause that ends at character {place} only ' and ' and another clause can follow"
            )
        place += len(_AND)
    if sum(one.value.count("*") for one in clauses if one.operator == "matches") > MAX_WILDCARDS:
        raise InvalidExpression(f"it has more than {MAX_WILDCARDS} wildcards '*'")
    return tuple(clauses)


def _find(part: str, given: str) -> int:
    """Return the index of the first match of a part in a text; -1 if there is none."""
    if "?" not in part:
        return given.find(part)
    found = _compile(part).search(given)
    return found.start() if found else -1


@lru_cache(1024)
def _compile(part: str) -> re.Pattern[str]:
    return re.compile("".join("." if char == "?" else re.escape(char) for char in part), re.DOTALL)


def failing_clauses(expression: str, claims: Mapping[str, Any]) -> Sequence[Clause]:
    """Return the clauses that do not hold for the claims of a token; none if the expression matches.

    Raises InvalidExpression.
    """
    return [one for one in parse(expression) if not one.holds(claims)]


def _check_nothing(_: Mapping[str, Sequence[Clause]]) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRule:
    """What expressions for one issuer may contain: operators by claim, and a check of the whole."""

    operators: Mapping[str, Collection[str]]
    check: Callable[[Mapping[str, Sequence[Clause]]], str | None] = _check_nothing


def _check_github(clauses: Mapping[str, Sequence[Clause]]) -> str | None:
    if "sub" in clauses and ("repository_id" in clauses or "repository_owner_id" in clauses):
        return None
    return "it needs a clause for sub and one for repository_id or repository_owner_id"


def _check_gitlab(clauses: Mapping[str, Sequence[Clause]]) -> str | None:
    if "sub" not in clauses:
        return "it needs a clause for sub"
    by_id = all(one.value.startswith("project_id:") for one in clauses["sub"])
    if by_id or "project_id" in clauses:
        return None
    return "it needs a clause for project_id, because sub does not begin with project_id:"


_RULES = {
    re.escape(GITHUB_ISSUER): IssuerRule(
        operators={
            "sub": _ANY_OPERATOR,
            "job_workflow_ref": _ANY_OPERATOR,
            "repository_id": ("eq",),
            "repository_owner_id": ("eq",),
        },
        check=_check_github,
    ),
    r"https://gitlab\.com|https://gitlab\.[a-z0-9.-]+\.(?:com|ca)": IssuerRule(
        operators={"sub": _ANY_OPERATOR, "project_id": ("eq",)}, check=_check_gitlab
    ),
    r"https://app\.(?:eu\.)?terraform\.io": IssuerRule(operators={"sub": _ANY_OPERATOR}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesIssuers:
    """The clusters whose ServiceAccounts expressions may match; Entra allows none.

    `allow_wide` permits a pattern that does not fix the beginning of the namespace.
    """

    issuers: frozenset[str] = frozenset()
    allow_wide: bool = False


NO_KUBERNETES = KubernetesIssuers()


@lru_cache(_CACHED_EXPRESSIONS)
def usable_clauses(
    issuer: str, expression: str, kubernetes: KubernetesIssuers = NO_KUBERNETES
) -> Sequence[Clause]:
    """Return the clauses of a stored expression; none if they do not parse or are not allowed.

    A stored expression of a public issuer stays valid if the issuer's rules change, as in Entra.
    """
    try:
        if not is_public_issuer(issuer):
            check_expression(issuer, expression, kubernetes)
        return parse(expression)
    except InvalidExpression:
        return ()


def is_public_issuer(issuer: str) -> bool:
    """Return whether Entra allows expressions for an issuer."""
    return _find_public_rule(issuer) is not None


def check_expression(
    issuer: str, expression: str, kubernetes: KubernetesIssuers = NO_KUBERNETES
) -> None:
    """Check that an expression can be stored for an issuer.

    Raises InvalidExpression.
    """
    clauses: dict[str, list[Clause]] = {}
    for clause in parse(expression):
        clauses.setdefault(clause.claim, []).append(clause)
    rule = _find_rule(issuer, kubernetes)
    for claim, each in clauses.items():
        allowed = rule.operators.get(claim)
        if allowed is None:
            raise InvalidExpression(
                f"the claim {claim} is not allowed for issuer {issuer}; allowed: {', '.join(rule.operators)}"
            )
        for clause in each:
            if clause.operator not in allowed:
                raise InvalidExpression(
                    f"the claim {claim} of issuer {issuer} allows only {' and '.join(allowed)}"
                )
    if reason := rule.check(clauses):
        raise InvalidExpression(f"{reason} (issuer {issuer})")


def _find_rule(issuer: str, kubernetes: KubernetesIssuers) -> IssuerRule:
    if issuer in kubernetes.issuers:
        check = _check_nothing if kubernetes.allow_wide else _check_service_accounts
        return IssuerRule(operators={"sub": _ANY_OPERATOR}, check=check)
    if (rule := _find_public_rule(issuer)) is not None:
        return rule
    raise InvalidExpression(
        f"issuer {issuer} cannot be used with expressions; GitHub Actions, GitLab and HCP Terraform can, and "
        "the clusters that podpass allows with --flexible-kubernetes"
    )


def _find_public_rule(issuer: str) -> IssuerRule | None:
    return next((rule for pattern, rule in _RULES.items() if re.fullmatch(pattern, issuer)), None)


def _check_service_accounts(clauses: Mapping[str, Sequence[Clause]]) -> str | None:
    """Require a namespace prefix up to a separator, so that no tenant can create a matching namespace.

    `env-*` admits every namespace whose name begins with `env-`; `e*` would admit `evil`, and `*:sa` every
    namespace of the cluster.
    """
    for clause in clauses["sub"]:
        namespace, colon, _ = clause.value.removeprefix(USERNAME_PREFIX).partition(":")
        if not clause.value.startswith(USERNAME_PREFIX) or not colon:
            return f"sub must have the form {USERNAME_PREFIX}NAMESPACE:NAME"
        fixed = re.split(r"[*?]", namespace)[0] if clause.operator == "matches" else namespace
        if fixed != namespace and not re.fullmatch(r"[a-z0-9][a-z0-9-]*-", fixed):
            return (
                f"the namespace {namespace} must begin with a fixed text that ends with '-', such as env-*; "
                "the operator can allow wider patterns with --allow-wide"
            )
    return None
