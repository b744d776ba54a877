"""An assertion next to federated credentials: what differs, and where."""

from typing import Any

import pytest

from podpass.cli.credential_report import print_comparisons, to_json
from podpass.diagnose.doctor.credentials import (
    PresentedToken,
    compare,
    mark_differences,
    read_presented,
)

ISSUER = "https://issuer.example/t/"
AUDIENCE = "api://AzureADTokenExchange"
SUBJECT = "system:serviceaccount:default:web"
CLAIMS = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE}


def identity(name: str, *credentials: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "client_id": f"client-of-{name}",
        "principal_id": f"principal-of-{name}",
        "application_id": f"application-of-{name}",
        "federated_credentials": list(credentials),
    }


def credential(name: str, **changes: Any) -> dict[str, Any]:
    members = {"issuer": ISSUER, "subject": SUBJECT, "audiences": [AUDIENCE]}
    return {"name": name, **members, **changes}


def presented(**changes: str) -> PresentedToken:
    found = read_presented({**CLAIMS, **changes})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({}, ()),
        ({"issuer": ISSUER.rstrip("/")}, ("issuer",)),
        ({"subject": SUBJECT.upper()}, ("subject",)),
        ({"audiences": ["api://other"]}, ("audience",)),
        ({"audiences": ["api://other", AUDIENCE]}, ()),
        ({"issuer": "https://x/", "subject": "x"}, ("issuer", "subject")),
    ],
)
def test_members_are_compared_exactly(changes: dict[str, Any], differs: tuple[str, ...]) -> None:
    (found,) = compare([identity("web", credential("c", **changes))], presented())
    assert found.differs == differs


def test_most_similar_credential_is_first() -> None:
    found = compare(
        [
            identity("far", credential("far", subject="x", issuer="y")),
            identity("near", credential("case", subject=SUBJECT.replace("web", "Web"))),
            identity("other", credential("space", subject="system:serviceaccount:shop:api")),
        ],
        presented(),
    )
    assert [each.credential for each in found] == ["case", "space", "far"]
    assert (found[0].identity, found[0].client_id) == ("near", "client-of-near")


def test_credential_that_differs_by_one_letter_precedes_one_of_another_account() -> None:
    found = compare(
        [
            identity("account", credential("account", subject="system:serviceaccount:default:api")),
            identity(
                "slash", credential("slash", issuer=ISSUER.rstrip("/"), audiences=["API://x"])
            ),
            identity(
                "both",
                credential("both", issuer=ISSUER.rstrip("/"), subject=SUBJECT.replace("w", "W")),
            ),
        ],
        presented(),
    )
    assert [each.credential for each in found] == ["both", "account", "slash"]


@pytest.mark.parametrize(
    ("expected", "given", "marks"),
    [
        ("default:web", "default:Web", "        ^"),
        ("https://i/", "https://i", "         ^"),
        ("https://i", "https://i/", "         ^"),
        ("a:web", "a:web ", "     ^"),
        ("same", "same", ""),
        ("default:web", "default:we", "          ^"),
        ("shop:web", "shopp:web", "   ^"),  # one of the two
    ],
)
def test_each_different_character_is_marked(expected: str, given: str, marks: str) -> None:
    assert mark_differences(expected, given) == marks


@pytest.mark.parametrize("missing", ["iss", "sub", "aud"])
def test_claims_without_a_member_are_not_compared(missing: str) -> None:
    assert read_presented({**CLAIMS, missing: None}) is None


def test_each_clause_of_an_expression_is_compared_with_its_claim(
    capsys: pytest.CaptureFixture[str],
) -> None:
    expression = "claims['sub'] matches 'system:*:api' and claims['repository_id'] eq '12'"
    row = credential("c", subject="", expression=expression)
    (found,) = compare([identity("web", row)], presented(repository_id="13"))
    assert found.differs == ("expression",)
    assert found.presented["expression"] == f"sub={SUBJECT}, repository_id=13"
    assert [each.difference.rpartition("which ")[2] for each in found.clauses] == [
        "does not match after the first '*'",
        "differs at character 2",
    ]
    print_comparisons([found])
    shown = capsys.readouterr().out.splitlines()
    for line, (at, char) in zip((5, 8), ((-3, "s"), (-2, "3")), strict=False):
        assert shown[line][shown[line + 1].index("^")] == char, (at, shown[line])
    assert "clause" in shown[4]
    assert to_json(found)["clauses"][1]["presented"] == "13"
    (equal,) = compare([identity("web", row)], presented(sub="system:x:api", repository_id="12"))
    assert equal.differs == ()


def test_assertion_without_the_claim_of_a_clause_is_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = credential("c", subject="", expression="claims['repository_id'] eq '12'")
    (found,) = compare([identity("web", row)], presented())
    print_comparisons([found])
    assert "has no text claim repository_id" in capsys.readouterr().out
