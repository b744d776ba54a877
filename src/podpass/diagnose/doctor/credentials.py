"""Compare the token of a workload with federated credentials, letter by letter. Pure.

Entra searches for a credential with the issuer, then the audience, then the subject of the token, and
compares bytes. The credential that was meant is the one that differs only in a slash, in case or in a few
characters. `compare` reports all credentials of identities: rows of `podpass identity list -o json`.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any
from urllib.parse import urlsplit

from podpass.directory.claims_expression import Clause, failing_clauses, parse
from podpass.directory.errors import InvalidExpression
from podpass.directory.model import FederatedCredential
from podpass.kubernetes.service_account.names import USERNAME_PREFIX

Row = Mapping[str, Any]
ISSUER, AUDIENCE, SUBJECT = "issuer", "audience", "subject"
EXPRESSION = "expression"  # in place of a subject
MEMBERS = (ISSUER, AUDIENCE, SUBJECT, EXPRESSION)
_EXCHANGE = "api://azureadtokenexchange"
_NEAR_CHARS = 2
_MAX_COMPARED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedToken:
    """What the token of a workload presents; a credential has one audience, a token may have several.

    `claims` are those besides these, which only expressions compare.
    """

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def compared_claims(self) -> Mapping[str, Any]:
        """Return the claims that an expression can compare."""
        return {**self.claims, "sub": self.subject}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A member of a credential that differs from the token; `cause` is a clause about the reason."""

    member: str
    expected: str
    presented: str
    cause: str
    is_near: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """No credential matches: the one that was meant, and its differences in the order of the check."""

    credential: FederatedCredential
    differences: tuple[Difference, ...]

    @property
    def member(self) -> str:
        """Return the member that is named first."""
        return self.differences[0].member

    @property
    def is_near(self) -> bool:
        """Return whether the credential is a near match: each difference is small."""
        return all(each.is_near for each in self.differences)


def find_mismatch(
    credentials: Sequence[FederatedCredential], presented: PresentedToken
) -> Mismatch | None:
    """Return the credential that was most likely meant; None if one matches, or if there is none."""
    compared = [
        Mismatch(credential=each, differences=_compare(each, presented))
        for each in credentials[:_MAX_COMPARED]
    ]
    if not compared or any(not each.differences for each in compared):
        return None
    return min(compared, key=_rank)


def rank(
    credential: FederatedCredential, presented: PresentedToken
) -> tuple[bool, int, int, float]:
    """Return a key that sorts the credential that was most likely meant first, and a match before it."""
    return _rank(Mismatch(credential=credential, differences=_compare(credential, presented)))


def matches(credential: FederatedCredential, presented: PresentedToken) -> bool:
    """Return whether issuer, audience, and subject or expression match a token."""
    return not _compare(credential, presented)


def is_flexible(credential: FederatedCredential) -> bool:
    """Return whether a credential has an expression in place of a subject."""
    return not credential.subject


def _rank(one: Mismatch) -> tuple[bool, int, int, float]:
    """Order mismatches: near ones first, then those that pass more of the checks, then the most similar."""
    if not one.differences:
        return False, 0, 0, 0.0
    unlike = sum(1 - _similarity(each.expected, each.presented) for each in one.differences)
    progress = MEMBERS.index(one.member)
    return not one.is_near, len(one.differences), -progress, unlike


def _similarity(one: str, other: str) -> float:
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    return matcher.quick_ratio()  # the exact ratio takes quadratic time


def _compare(credential: FederatedCredential, presented: PresentedToken) -> tuple[Difference, ...]:
    given = _choose_audience(credential.audiences, presented.audiences)
    pairs = {ISSUER: (credential.issuer, presented.issuer), AUDIENCE: given}
    if not is_flexible(credential):
        pairs[SUBJECT] = (credential.subject, presented.subject)
    found = tuple(
        _describe(member, expected, actual)
        for member, (expected, actual) in pairs.items()
        if expected != actual
    )
    return (
        (*found, *_compare_expression(credential, presented)) if is_flexible(credential) else found
    )


def _compare_expression(
    credential: FederatedCredential, presented: PresentedToken
) -> Iterator[Difference]:
    """Yield a difference for each clause that does not hold."""
    claims = presented.compared_claims
    try:
        failing = failing_clauses(credential.expression, claims)
    except InvalidExpression as exc:
        cause = f"the expression cannot be read: {exc.message}"
        yield Difference(
            member=EXPRESSION,
            expected=credential.expression,
            presented=presented.subject,
            cause=cause,
            is_near=False,
        )
        return
    for each in failing:
        given = claims.get(each.claim)
        yield Difference(
            member=EXPRESSION,
            expected=each.value,
            presented=given if isinstance(given, str) else "",
            cause=each.describe_difference(claims),
            is_near=False,
        )


def _choose_audience(wanted: Sequence[str], given: Sequence[str]) -> tuple[str, str]:
    """Return the audiences to compare: equal ones if there are any, else the first of each."""
    for each in given:
        if each in wanted:
            return each, each
    return next(iter(wanted), ""), next(iter(given), "")


def _describe(member: str, expected: str, presented: str) -> Difference:
    cause = _find_common_cause(expected, presented)
    if cause:
        return Difference(
            member=member, expected=expected, presented=presented, cause=cause, is_near=True
        )
    return Difference(
        member=member,
        expected=expected,
        presented=presented,
        cause=_CAUSES[member](expected, presented),
        is_near=_differs_in_few(expected, presented),
    )


def _find_common_cause(expected: str, presented: str) -> str:
    """Return the cause of a difference that is easily overlooked; empty if there is none."""
    if expected.strip() == presented.strip():
        return "white space at an end differs"
    if expected.rstrip("/") == presented.rstrip("/"):
        if expected.endswith("/") and presented.endswith("/"):
            return "the number of slashes at the end differs"
        return f"only the {'credential' if expected.endswith('/') else 'token'} ends with a slash"
    if expected.casefold() == presented.casefold():
        return "only the case of letters differs"
    if unicodedata.normalize("NFKC", expected) == unicodedata.normalize("NFKC", presented):
        return "characters look alike and are not the same"
    return ""


def _differs_in_few(expected: str, presented: str) -> bool:
    """Return whether two texts differ in one place of a few characters."""
    start = common_prefix(expected, presented)
    rest, other = expected[start:], presented[start:]
    end = common_prefix(rest[::-1], other[::-1])
    return max(len(rest), len(other)) - end <= _NEAR_CHARS


def common_prefix(one: str, other: str) -> int:
    """Return the number of equal characters at the start."""
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return position
    return min(len(one), len(other))


def _issuer_cause(expected: str, presented: str) -> str:
    try:
        wanted, given = urlsplit(expected), urlsplit(presented)
    except ValueError:
        return "it is not a URL"
    if wanted.scheme != given.scheme and expected.partition(":")[2] == presented.partition(":")[2]:
        return f"the scheme is {wanted.scheme or 'missing'}"
    if expected.endswith("/.well-known/openid-configuration"):
        return "it is the URL of the discovery document, not the issuer"
    if wanted.netloc == given.netloc:
        return "it is another path of the same host, as of another cluster"
    return "it is the issuer of another cluster"


def _subject_cause(expected: str, presented: str) -> str:
    if "*" in expected:
        return "Entra compares subjects without wildcards"
    if not expected.startswith(USERNAME_PREFIX):
        if expected.replace("/", ":") == presented.removeprefix(USERNAME_PREFIX):
            return f"a subject begins with {USERNAME_PREFIX}"
        return "it is not the subject of a ServiceAccount"
    namespace, _, account = presented.removeprefix(USERNAME_PREFIX).partition(":")
    wanted_namespace, _, wanted_account = expected.removeprefix(USERNAME_PREFIX).partition(":")
    if (wanted_namespace, wanted_account) == (account, namespace):
        return "namespace and ServiceAccount are exchanged"
    if wanted_account == account:
        return "it is the subject of another namespace"
    if wanted_namespace == namespace:
        return "it is the subject of another ServiceAccount"
    return "it is the subject of another namespace and ServiceAccount"


def _audience_cause(expected: str, presented: str) -> str:
    both = (expected.casefold(), presented.casefold())
    if all(each.startswith(_EXCHANGE) for each in both):
        return "it is the audience of another cloud"
    return "it is another audience"


_CAUSES: Mapping[str, Callable[[str, str], str]] = {
    ISSUER: _issuer_cause,
    SUBJECT: _subject_cause,
    AUDIENCE: _audience_cause,
}


def describe_position(expected: str, presented: str) -> str:
    """Return the first character that differs, such as `character 31 is "W" and not "w"`."""
    start = common_prefix(expected, presented)
    wanted, given = _character(expected, start), _character(presented, start)
    return f"character {start + 1} is {wanted} and not {given}"


def _character(text: str, position: int) -> str:
    if position >= len(text):
        return "missing"
    char = text[position]
    if "!" <= char <= "~":
        return f'"{char}"'
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialComparison:
    """The comparison of one credential with the assertion.

    `expected` and `presented` map the credential's MEMBERS to their texts; `differs` names the members that
    differ. `clauses` are those of its expression.
    """

    identity: str
    client_id: str
    credential: str
    expected: Mapping[str, str]
    presented: Mapping[str, str]
    differs: tuple[str, ...]
    clauses: tuple["ClauseComparison", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseComparison:
    """One clause next to the claim of the assertion; `difference` is empty if it holds."""

    clause: Clause
    presented: str | None
    difference: str


def read_presented(claims: Mapping[str, Any]) -> PresentedToken | None:
    """Read issuer, subject and audiences of claims or of a logged request; None if one is missing."""
    audiences = claims.get("aud") or ()
    listed = [audiences] if isinstance(audiences, str) else list(audiences)
    if not claims.get("iss") or not claims.get("sub") or not listed:
        return None
    return PresentedToken(
        issuer=str(claims["iss"]),
        subject=str(claims["sub"]),
        audiences=tuple(str(each) for each in listed),
        claims=claims,
    )


def compare(identities: Iterable[Row], presented: PresentedToken) -> list[CredentialComparison]:
    """Compare every credential, the one that was most likely meant first."""
    pairs = [
        (identity, credential)
        for identity in identities
        for credential in identity["federated_credentials"]
    ]
    pairs.sort(key=lambda pair: rank(_read_credential(pair[1]), presented))
    return [_compare_one(*pair, presented) for pair in pairs]


def _read_credential(row: Row) -> FederatedCredential:
    return FederatedCredential(
        name=row["name"],
        issuer=row["issuer"],
        subject=row["subject"],
        audiences=tuple(row["audiences"]),
        expression=row.get("expression", ""),
    )


def _compare_one(identity: Row, row: Row, presented: PresentedToken) -> CredentialComparison:
    credential = _read_credential(row)
    wanted = credential.audiences
    audience = next((each for each in presented.audiences if each in wanted), None)
    expected = {
        ISSUER: credential.issuer,
        AUDIENCE: audience or ", ".join(wanted),
    }
    given = {
        ISSUER: presented.issuer,
        AUDIENCE: audience or ", ".join(presented.audiences),
    }
    clauses = tuple(_compare_clauses(credential.expression, presented))
    if is_flexible(credential):
        expected[EXPRESSION] = credential.expression
        # The claims that the expression names.
        compared = {each.clause.claim: each.presented for each in clauses}
        given[EXPRESSION] = ", ".join(f"{name}={text}" for name, text in compared.items())
    else:
        expected[SUBJECT], given[SUBJECT] = credential.subject, presented.subject
    different = {each.member for each in _compare(credential, presented)}
    return CredentialComparison(
        identity=identity["name"],
        client_id=identity["client_id"],
        credential=credential.name,
        expected=expected,
        presented=given,
        differs=tuple(name for name in MEMBERS if name in different),
        clauses=clauses,
    )


def _compare_clauses(expression: str, presented: PresentedToken) -> Iterator[ClauseComparison]:
    claims = presented.compared_claims
    try:
        clauses = parse(expression)
    except InvalidExpression:
        return
    for each in clauses:
        text = claims.get(each.claim)
        yield ClauseComparison(
            clause=each,
            presented=text if isinstance(text, str) else None,
            difference="" if each.holds(claims) else each.describe_difference(claims),
        )


def mark_differences(expected: str, presented: str) -> str:
    """Return a line with a caret under each character of `presented` that differs."""
    marks = [" "] * (len(presented) + 1)
    matcher = SequenceMatcher(None, expected, presented, autojunk=False)
    for kind, _, _, begin, end in matcher.get_opcodes():
        if kind != "equal":
            # Missing characters are marked where they should be.
            for position in range(begin, max(end, begin + 1)):
                marks[position] = "^"
    return "".join(marks).rstrip()
