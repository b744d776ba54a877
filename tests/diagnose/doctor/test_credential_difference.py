"""The comparison of a token with federated credentials."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.diagnose.doctor.credentials import (
    PresentedToken,
    common_prefix,
    describe_position,
    find_mismatch,
    matches,
)
from podpass.directory.model import FederatedCredential

AUDIENCE = "api://AzureADTokenExchange"
ISSUER = "https://eastus.oic.prod-aks.azure.com/tenant/cluster/"
SUBJECT = "system:serviceaccount:shop:cart"
TOKEN = PresentedToken(issuer=ISSUER, subject=SUBJECT, audiences=(AUDIENCE,))
RIGHT = FederatedCredential(name="right", issuer=ISSUER, subject=SUBJECT, audiences=(AUDIENCE,))


def _first(*credentials: FederatedCredential) -> tuple[str, str, str, bool]:
    found = find_mismatch(credentials, TOKEN)
    assert found is not None
    return found.credential.name, found.member, found.differences[0].cause, found.is_near


@pytest.mark.parametrize(
    ("issuer", "cause", "is_near"),
    [
        (ISSUER.rstrip("/"), "only the token ends with a slash", True),
        (ISSUER + "/", "the number of slashes at the end differs", True),
        (ISSUER.upper(), "only the case of letters differs", True),
        (f" {ISSUER}", "white space at an end differs", True),
        (ISSUER.replace("https", "http"), "the scheme is http", True),
        (ISSUER + "x/y", "it is another path of the same host, as of another cluster", False),
        ("https://issuer.example/", "it is the issuer of another cluster", False),
        ("https://[", "it is not a URL", False),
    ],
)
def test_issuer_that_differs_is_reported_with_its_cause(
    issuer: str, cause: str, is_near: bool
) -> None:
    assert _first(replace(RIGHT, issuer=issuer)) == ("right", "issuer", cause, is_near)


@pytest.mark.parametrize(
    ("subject", "cause", "is_near"),
    [
        ("system:serviceaccount:shop:Cart", "only the case of letters differs", True),
        ("system:serviceaccount:shop:cart ", "white space at an end differs", True),
        ("system:serviceaccount:shop:carts", "it is the subject of another ServiceAccount", True),
        ("system:serviceaccount:prod:cart", "it is the subject of another namespace", False),
        ("system:serviceaccount:shop:basket", "it is the subject of another ServiceAccount", False),
        (
            "system:serviceaccount:prod:basket",
            "it is the subject of another namespace and ServiceAccount",
            False,
        ),
        ("system:serviceaccount:cart:shop", "namespace and ServiceAccount are exchanged", False),
        ("system:serviceaccount:shop:*", "Entra compares subjects without wildcards", False),
        ("shop/cart", "a subject begins with system:serviceaccount:", False),
        ("repo:octo/shop", "it is not the subject of a ServiceAccount", False),
        (
            "system:serviceaccount:shop:\uff43art",
            "characters look alike and are not the same",
            True,
        ),
    ],
)
def test_subject_that_differs_is_reported_with_its_cause(
    subject: str, cause: str, is_near: bool
) -> None:
    assert _first(replace(RIGHT, subject=subject)) == ("right", "subject", cause, is_near)


@pytest.mark.parametrize(
    ("audience", "cause"),
    [
        (AUDIENCE.lower(), "only the case of letters differs"),
        (AUDIENCE + "China", "it is the audience of another cloud"),
        ("https://vault.azure.net", "it is another audience"),
    ],
)
def test_audience_that_differs_is_reported_with_its_cause(audience: str, cause: str) -> None:
    assert _first(replace(RIGHT, audiences=(audience,)))[1:3] == ("audience", cause)


def test_one_of_several_audiences_is_enough() -> None:
    token = replace(TOKEN, audiences=("https://kubernetes.default.svc", AUDIENCE))
    assert find_mismatch([RIGHT], token) is None
    assert matches(RIGHT, token)


def test_credential_with_a_small_difference_precedes_one_of_another_account() -> None:
    other = replace(RIGHT, name="other", subject="system:serviceaccount:shop:catalog")
    slash = replace(RIGHT, name="slash", issuer=ISSUER.rstrip("/"))
    assert _first(other, slash)[0] == "slash"


def test_credential_of_this_cluster_is_named_before_one_of_another_cluster() -> None:
    far = replace(RIGHT, name="far", issuer="https://issuer.example/")
    own = replace(RIGHT, name="own", subject="system:serviceaccount:pay:bank")
    assert _first(far, own)[:2] == ("own", "subject")


def test_differences_are_listed_in_the_order_in_which_entra_checks() -> None:
    both = replace(RIGHT, audiences=("other",), subject="system:serviceaccount:shop:Cart")
    found = find_mismatch([both], TOKEN)
    assert found is not None
    assert [each.member for each in found.differences] == ["audience", "subject"]


def test_credential_without_a_subject_is_compared_by_its_expression() -> None:
    unknown = find_mismatch([replace(RIGHT, subject="")], TOKEN)
    assert unknown is not None
    assert unknown.differences[0].cause.startswith("the expression cannot be read")
    expression = "claims['sub'] matches 'system:*:cart' and claims['x'] eq 'y'"
    found = find_mismatch([replace(RIGHT, subject="", expression=expression)], TOKEN)
    assert found is not None
    assert [(each.member, each.expected) for each in found.differences] == [("expression", "y")]
    with_claim = replace(TOKEN, claims={"x": "y"})
    assert matches(replace(RIGHT, subject="", expression=expression), with_claim)


@pytest.mark.parametrize(
    ("expected", "presented", "text"),
    [
        ("abW", "abw", 'character 3 is "W" and not "w"'),
        ("ab", "abc", 'character 3 is missing and not "c"'),
        ("ab ", "ab", "character 3 is U+0020 SPACE and not missing"),
        ("\u0430b", "ab", 'character 1 is U+0430 CYRILLIC SMALL LETTER A and not "a"'),
        ("\x00", "a", 'character 1 is U+0000 and not "a"'),
    ],
)
def test_first_difference_is_described_by_position_and_characters(
    expected: str, presented: str, text: str
) -> None:
    assert describe_position(expected, presented) == text


_texts = st.text(max_size=20)
_credentials = st.builds(
    FederatedCredential,
    name=st.just("trust"),
    issuer=st.sampled_from([ISSUER, ISSUER.rstrip("/")]) | _texts,
    subject=st.sampled_from([SUBJECT, SUBJECT.upper()]) | _texts,
    audiences=st.lists(st.just(AUDIENCE) | _texts, max_size=2).map(tuple),
)


@given(st.lists(_credentials, max_size=4))
def test_mismatch_is_found_if_and_only_if_no_credential_is_equal(
    credentials: list[FederatedCredential],
) -> None:
    equal = [
        (each.issuer, each.subject) == (ISSUER, SUBJECT) and AUDIENCE in each.audiences
        for each in credentials
    ]
    found = find_mismatch(credentials, TOKEN)
    assert (found is not None) == (bool(credentials) and not any(equal))
    assert any(matches(each, TOKEN) for each in credentials) == any(equal)
    if found is not None:
        assert found.credential in credentials
        for each in found.differences:
            assert each.cause
            assert each.expected != each.presented
            assert describe_position(each.expected, each.presented)


@given(_texts, _texts)
def test_common_prefix_ends_at_the_first_difference(one: str, other: str) -> None:
    length = common_prefix(one, other)
    assert one[:length] == other[:length]
    assert one[length : length + 1] != other[length : length + 1] or one == other


@given(st.sampled_from(["issuer", "subject"]), st.data())
def test_one_changed_letter_is_a_near_mismatch_at_its_position(
    member: str, data: st.DataObject
) -> None:
    text = getattr(TOKEN, member)
    position = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("xyz").filter(lambda each: each != text[position]))
    changed = text[:position] + letter + text[position + 1 :]
    found = find_mismatch([replace(RIGHT, **{member: changed})], TOKEN)
    assert found is not None
    assert found.is_near
    [difference] = found.differences
    position_text = describe_position(difference.expected, difference.presented)
    assert position_text.startswith(f'character {position + 1} is "{letter}"')
