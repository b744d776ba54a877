"""Compare an assertion with the federated credentials of identities, for a report of all of them. Pure.

An identity is a row of `podpass identity list -o json`. `doctor.credential_difference` decides which
credential was meant.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from podpass.diagnose.doctor.credential_difference import MEMBERS, PresentedToken, rank
from podpass.directory.model import FederatedCredential

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialComparison:
    """One credential next to the assertion.

    `expected` and `presented` map each of MEMBERS to its text; `differs` names the members that differ.
    """

    identity: str
    client_id: str
    credential: str
    expected: Mapping[str, str]
    presented: Mapping[str, str]
    differs: tuple[str, ...]


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
    )


def _compare_one(identity: Row, credential: Row, presented: PresentedToken) -> CredentialComparison:
    wanted = credential["audiences"]
    audience = next((each for each in presented.audiences if each in wanted), None)
    expected = {
        "issuer": credential["issuer"],
        "audience": audience or ", ".join(wanted),
        "subject": credential["subject"],
    }
    given = {
        "issuer": presented.issuer,
        "audience": audience or ", ".join(presented.audiences),
        "subject": presented.subject,
    }
    return CredentialComparison(
        identity=identity["name"],
        client_id=identity["client_id"],
        credential=credential["name"],
        expected=expected,
        presented=given,
        differs=tuple(name for name in MEMBERS if expected[name] != given[name]),
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
