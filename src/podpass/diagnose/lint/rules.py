"""The rules of `podpass lint`: a function for each, and one table. Pure.

A rule returns what is wrong with a credential of an identity, or None.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat

from podpass.diagnose.lint.model import ERROR, NOTE, WARNING, LintedIdentity, LintFacts, LintFinding
from podpass.directory.claims_expression import (
    GITHUB_ISSUER,
    Clause,
    check_expression,
    is_public_issuer,
    parse,
)
from podpass.directory.errors import InvalidExpression
from podpass.directory.model import FederatedCredential, IdentityKind
from podpass.directory.rules import MAX_CREDENTIALS
from podpass.directory.well_known_resources import EXCHANGE_APP_ID
from podpass.guids import is_guid

_ENTRA = re.compile(r"https://login\.[a-z.]+/[0-9a-f-]{36}/v2\.0", re.IGNORECASE)
_GITHUB_BY_ID = re.compile(r"repo:[^/:@]+@[^/:@]+/[^/:@]+@[^/:@]+")
# What the subject of an expression contains before its first wildcard, so that only one owner can match.
_OWNER = re.compile(
    r"repo:[^*?/@]+[/@]|project_path:[^*?/]+/|project_id:[0-9]+:|organization:[^*?:]+:"
)
_IDS = ("repository_id", "repository_owner_id", "project_id")
# The exact issuers of services whose issuers are often written with another ending or case.
_EXACT_ISSUERS = (
    re.compile(re.escape(GITHUB_ISSUER) + "(?:/[a-z0-9-]+)?"),
    re.compile(r"https://gitlab\.com"),
    re.compile(r"https://app\.(?:eu\.)?terraform\.io"),
    re.compile(r"https://vstoken\.dev\.azure\.com/[0-9a-f-]{36}"),
    re.compile(r"https://login\.microsoftonline\.com/[0-9a-f-]{36}/v2\.0"),
    re.compile(r"https://[a-z0-9-]+\.oic\.prod-aks\.azure\.com/[0-9a-f-]{36}/[0-9a-f-]{36}/"),
)

Find = Callable[[FederatedCredential, LintedIdentity, LintFacts], str | None]


@dataclass(frozen=True, slots=True)
class LintRule:
    """A rule: its code, its function, and what to do about a finding."""

    code: str
    find: Find
    fix: str
    level: str = ERROR


def find_all(facts: LintFacts) -> Iterator[LintFinding]:
    """Yield the findings of all rules, in the order of the identities."""
    for identity in facts.identities:
        used = len(identity.credentials)
        if used > MAX_CREDENTIALS:
            yield LintFinding(
                code="too_many_credentials",
                identity=identity.name,
                credential="",
                message=f"it has {used} federated credentials; at most {MAX_CREDENTIALS} are allowed",
                fix="use another identity, or an expression in place of several subjects",
                line=identity.line,
            )
        lines = identity.credential_lines or repeat(None)
        for credential, line in zip(identity.credentials, lines, strict=False):
            for rule in RULES:
                if (message := rule.find(credential, identity, facts)) is not None:
                    yield LintFinding(
                        code=rule.code,
                        identity=identity.name,
                        credential=credential.name,
                        message=message,
                        fix=rule.fix,
                        level=rule.level,
                        line=line,
                    )


def _clauses(credential: FederatedCredential) -> Sequence[Clause]:
    try:
        return parse(credential.expression) if credential.expression else ()
    except InvalidExpression:
        return ()


def _subjects(credential: FederatedCredential) -> list[str]:
    """Return the subject, or the values of the clauses for it."""
    if credential.subject:
        return [credential.subject]
    return [each.value for each in _clauses(credential) if each.claim == "sub"]


def _find_github_name(credential: FederatedCredential, *_: object) -> str | None:
    if credential.issuer != GITHUB_ISSUER:
        return None
    for subject in _subjects(credential):
        if subject.startswith("repo:") and not _GITHUB_BY_ID.match(subject):
            return (
                f"{subject} names the repository, not its id: repositories that were created or moved since"
                " July 2026 have subjects with ids, and another owner can take a name"
            )
    return None


def _find_gitlab_path(credential: FederatedCredential, *_: object) -> str | None:
    for subject in _subjects(credential):
        if subject.startswith("project_path:"):
            return f"{subject} names the path of the project, which changes when it is moved"
    return None


def _find_connection_name(credential: FederatedCredential, *_: object) -> str | None:
    if credential.subject.startswith("sc://"):
        return f"{credential.subject} names the service connection, which can be deleted and created again"
    return None


def _find_wildcard(credential: FederatedCredential, *_: object) -> str | None:
    if "*" in credential.subject or "?" in credential.subject:
        return f"{credential.subject} is compared exactly, so its wildcard matches nothing"
    return None


def _find_open_pattern(credential: FederatedCredential, *_: object) -> str | None:
    clauses = _clauses(credential)
    if not is_public_issuer(credential.issuer) or any(each.claim in _IDS for each in clauses):
        return None
    subjects = [each for each in clauses if each.claim == "sub"]
    if not subjects or any(each.operator == "eq" or _OWNER.match(each.value) for each in subjects):
        return None
    return f"{credential.expression} also matches other names and ids that begin the same"


def _find_refused_expression(credential: FederatedCredential, *_: object) -> str | None:
    if not credential.expression:
        return None
    try:
        check_expression(credential.issuer, credential.expression)
    except InvalidExpression as exc:
        return exc.message
    return None


def _find_other_issuer(credential: FederatedCredential, *_: object) -> str | None:
    issuer = credential.issuer
    bare = issuer.strip().lower().rstrip("/")
    for exact in _EXACT_ISSUERS:
        if exact.fullmatch(issuer):
            return None
        for wanted in (bare, f"{bare}/"):
            if exact.fullmatch(wanted):
                return f"the issuer {issuer} differs from {wanted}, as it is in the tokens"
    return None


def _find_audience(credential: FederatedCredential, *_: object) -> str | None:
    if len(credential.audiences) != 1:
        return f"it has {len(credential.audiences)} audiences; exactly one is allowed"
    if credential.audiences[0].lower() == EXCHANGE_APP_ID:
        return f"{EXCHANGE_APP_ID} is the aud of the tokens, but not the audience of a credential"
    return None


def _find_refusal(
    level: str, credential: FederatedCredential, identity: LintedIdentity, facts: LintFacts
) -> str | None:
    """Return the first refusal of the issuer by a policy, if an error, a warning or a note is due for it."""
    # The policies are for managed identities: Azure Policy does not see applications.
    if identity.kind is not IdentityKind.MANAGED_IDENTITY or credential.issuer == "cluster":
        return None
    resource_id = f"{identity.resource_id}/federatedIdentityCredentials/{credential.name}"
    for policy in facts.policies:
        reason = policy.find_refusal(credential.issuer)
        if reason is None or not policy.is_enabled or not policy.applies_to(resource_id):
            continue
        exemption = policy.find_exemption(resource_id)
        found, verb, but = ERROR, "refuses", ""
        if exemption is not None:
            found, verb = NOTE, "would refuse"
            but = f", but the exemption {exemption.text} of {exemption.scope} applies"
        elif not policy.is_enforced:
            found, verb = WARNING, "would refuse"
            but = ", but its enforcementMode is DoNotEnforce"
        if found == level:
            return f"{policy} {verb} {credential.issuer}{but}: {reason}"
    return None


def _find_second_hop(
    credential: FederatedCredential, identity: LintedIdentity, facts: LintFacts
) -> str | None:
    if not _ENTRA.fullmatch(credential.issuer) or not is_guid(credential.subject):
        return None
    for other in facts.identities:
        is_federated = other.kind is IdentityKind.MANAGED_IDENTITY and other.credentials
        # A seed has no object ids: any of its identities may be the subject.
        if is_federated and other.object_id.lower() in ("", credential.subject.lower()):
            return (
                f"a pod that becomes {other.name} by a federated credential cannot become {identity.name}"
                " with its token: AADSTS700231"
            )
    return None


RULES = (
    LintRule(
        "github_by_name",
        _find_github_name,
        "use the prefix that `gh api repos/OWNER/REPO/actions/oidc/customization/sub` prints as"
        " sub_claim_prefix",
    ),
    LintRule(
        "gitlab_by_path",
        _find_gitlab_path,
        "set ci_id_token_sub_claim_components of the project to project_id, ref_type, ref, and use"
        " project_id:ID:ref_type:branch:ref:NAME",
    ),
    LintRule(
        "connection_by_name",
        _find_connection_name,
        "use the issuer and the subject that Azure DevOps shows for a new connection: Entra's issuer and a"
        " subject with ids; `podpass run --as azure-devops:ORGANIZATION_ID/CONNECTION_ID` tries it",
    ),
    LintRule(
        "wildcard_in_subject",
        _find_wildcard,
        "create one credential for each subject, or use an expression",
    ),
    LintRule(
        "open_pattern",
        _find_open_pattern,
        "write the name of the organization up to its separator before the first wildcard",
    ),
    LintRule(
        "expression_refused",
        _find_refused_expression,
        "correct the expression, or create one credential for each subject",
    ),
    LintRule(
        "issuer_differs",
        _find_other_issuer,
        "create the credential again with the exact issuer; a trailing slash counts",
    ),
    LintRule("wrong_audience", _find_audience, "use the audience api://AzureADTokenExchange alone"),
    LintRule(
        "policy_refuses_issuer",
        partial(_find_refusal, ERROR),
        "change the parameters of the policy's assignment, or use another issuer",
    ),
    LintRule(
        "policy_not_enforced",
        partial(_find_refusal, WARNING),
        "use another issuer, or change the parameters before the assignment is enforced",
        level=WARNING,
    ),
    LintRule(
        "policy_exempted",
        partial(_find_refusal, NOTE),
        "none is needed while the exemption is valid",
        level=NOTE,
    ),
    LintRule(
        "second_hop",
        _find_second_hop,
        "add a credential for the pod's ServiceAccount to the application itself",
    ),
)
