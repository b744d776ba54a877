"""The rules of `podpass lint`: a function for each, and one table. Pure.

A rule returns what is wrong with a credential of an identity, or None.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from podpass.diagnose.lint.model import ERROR, NOTE, WARNING, LintedIdentity, LintFacts, LintFinding
from podpass.diagnose.lint.policies import Exemption, IssuerPolicy
from podpass.directory.claims_expression import Clause, check_expression, is_public_issuer, parse
from podpass.directory.errors import InvalidExpression
from podpass.directory.model import FederatedCredential, IdentityKind
from podpass.directory.rules import MAX_CREDENTIALS
from podpass.directory.well_known_resources import EXCHANGE_APP_ID
from podpass.guids import is_guid

_GITHUB = "https://token.actions.githubusercontent.com"
_ENTRA = re.compile(r"https://login\.[a-z.]+/[0-9a-f-]{36}/v2\.0", re.IGNORECASE)
_GITHUB_BY_ID = re.compile(r"repo:[^/:@]+@[^/:@]+/[^/:@]+@[^/:@]+")
# What the subject of an expression contains before its first wildcard, so that only one owner can match.
_OWNER = re.compile(
    r"repo:[^*?/@]+[/@]|project_path:[^*?/]+/|project_id:[0-9]+:|organization:[^*?:]+:"
)
_IDS = ("repository_id", "repository_owner_id", "project_id")
# The exact issuers of services whose issuers are often written with another ending or case.
_EXACT_ISSUERS = (
    re.compile(r"https://token\.actions\.githubusercontent\.com(?:/[a-z0-9-]+)?"),
    re.compile(r"https://gitlab\.com"),
    re.compile(r"https://app\.(?:eu\.)?terraform\.io"),
    re.compile(r"https://vstoken\.dev\.azure\.com/[0-9a-f-]{36}"),
    re.compile(r"https://login\.microsoftonline\.com/[0-9a-f-]{36}/v2\.0"),
    re.compile(r"https://[a-z0-9-]+\.oic\.prod-aks\.azure\.com/[0-9a-f-]{36}/[0-9a-f-]{36}/"),
)

Find = Callable[[LintFacts, LintedIdentity, FederatedCredential], str | None]


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
        for credential in identity.credentials:
            for rule in RULES:
                if (message := rule.find(facts, identity, credential)) is not None:
                    yield LintFinding(
                        code=rule.code,
                        identity=identity.name,
                        credential=credential.name,
                        message=message,
                        fix=rule.fix,
                        level=rule.level,
                        line=identity.line,
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


def _find_github_name(
    _facts: LintFacts, _identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    if credential.issuer != _GITHUB:
        return None
    for subject in _subjects(credential):
        if subject.startswith("repo:") and not _GITHUB_BY_ID.match(subject):
            return (
                f"{subject} names the repository, not its id: repositories that were created or moved since"
                " July 2026 have subjects with ids, and another owner can take a name"
            )
    return None


def _find_gitlab_path(
    _facts: LintFacts, _identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    for subject in _subjects(credential):
        if subject.startswith("project_path:"):
            return f"{subject} names the path of the project, which changes when it is moved"
    return None


def _find_connection_name(
    _facts: LintFacts, _identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    if credential.subject.startswith("sc://"):
        return f"{credential.subject} names the service connection, which can be deleted and created again"
    return None


def _find_wildcard(
    _facts: LintFacts, _identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    if "*" in credential.subject or "?" in credential.subject:
        return f"{credential.subject} is compared exactly, so its wildcard matches nothing"
    return None


def _find_open_pattern(
    _facts: LintFacts, _identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    clauses = _clauses(credential)
    if not is_public_issuer(credential.issuer) or any(each.claim in _IDS for each in clauses):
        return None
    subjects = [each for each in clauses if each.claim == "sub"]
    if not subjects or any(each.operator == "eq" or _OWNER.match(each.value) for each in subjects):
        return None
    return f"{credential.expression} also matches other names and ids that begin the same"


def _find_refused_expression(
    _facts: LintFacts, _identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    if not credential.expression:
        return None
    try:
        check_expression(credential.issuer, credential.expression)
    except InvalidExpression as exc:
        return exc.message
    return None


def _find_other_issuer(
    _facts: LintFacts, _identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    issuer = credential.issuer
    bare = issuer.strip().lower().rstrip("/")
    for exact in _EXACT_ISSUERS:
        if exact.fullmatch(issuer):
            return None
        for wanted in (bare, f"{bare}/"):
            if exact.fullmatch(wanted):
                return f"the issuer {issuer} differs from {wanted}, as it is in the tokens"
    return None


def _find_audience(
    _facts: LintFacts, _identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    if len(credential.audiences) != 1:
        return f"it has {len(credential.audiences)} audiences; exactly one is allowed"
    if credential.audiences[0].lower() == EXCHANGE_APP_ID:
        return f"{EXCHANGE_APP_ID} is the aud of the tokens, but not the audience of a credential"
    return None


def _refusals(
    facts: LintFacts, identity: LintedIdentity, credential: FederatedCredential
) -> Iterator[tuple[IssuerPolicy, Exemption | None, str]]:
    """Yield each policy that refuses the issuer, the exemption from it, and the reason."""
    # The policies are for managed identities: Azure Policy does not see applications.
    if identity.kind is not IdentityKind.MANAGED_IDENTITY or credential.issuer == "cluster":
        return
    resource_id = f"{identity.resource_id}/federatedIdentityCredentials/{credential.name}"
    for policy in facts.policies:
        is_used = policy.is_enabled and policy.applies_to(resource_id)
        if is_used and (reason := policy.find_refusal(credential.issuer)) is not None:
            yield policy, policy.find_exemption(resource_id), reason


def _find_policy(
    facts: LintFacts, identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    for policy, exemption, reason in _refusals(facts, identity, credential):
        if exemption is None and policy.is_enforced:
            return f"{policy} refuses {credential.issuer}: {reason}"
    return None


def _find_unenforced_policy(
    facts: LintFacts, identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    for policy, exemption, reason in _refusals(facts, identity, credential):
        if exemption is None and not policy.is_enforced:
            return (
                f"{policy} would refuse {credential.issuer}, but its enforcementMode is DoNotEnforce:"
                f" {reason}"
            )
    return None


def _find_exemption(
    facts: LintFacts, identity: LintedIdentity, credential: FederatedCredential
) -> str | None:
    for policy, exemption, reason in _refusals(facts, identity, credential):
        if exemption is not None:
            return (
                f"{policy} would refuse {credential.issuer}, but the exemption {exemption.text} of"
                f" {exemption.scope} applies: {reason}"
            )
    return None


def _find_second_hop(
    facts: LintFacts, identity: LintedIdentity, credential: FederatedCredential
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
        _find_policy,
        "change the parameters of the policy's assignment, or use another issuer",
    ),
    LintRule(
        "policy_not_enforced",
        _find_unenforced_policy,
        "use another issuer, or change the parameters before the assignment is enforced",
        level=WARNING,
    ),
    LintRule(
        "policy_exempted",
        _find_exemption,
        "none is needed while the exemption is valid",
        level=NOTE,
    ),
    LintRule(
        "second_hop",
        _find_second_hop,
        "add a credential for the pod's ServiceAccount to the application itself",
    ),
)
