"""The language of flexible federated credentials, and what each issuer allows in it."""

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.directory import errors
from podpass.directory.claims_expression import (
    MAX_CHARS,
    MAX_SEARCHED,
    MAX_WILDCARDS,
    KubernetesIssuers,
    check_expression,
    failing_clauses,
    parse,
    usable_clauses,
)

GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.com"
TERRAFORM = "https://app.terraform.io"
OWNED = "claims['sub'] eq 'a' and claims['repository_owner_id'] eq '1'"
CLUSTER = "https://oidc.example.com/cluster"
ALLOWED = KubernetesIssuers(issuers=frozenset({CLUSTER}))
WIDE = KubernetesIssuers(issuers=frozenset({CLUSTER}), allow_wide=True)


def matches(pattern: str, text: Any) -> bool:
    return not failing_clauses(f"claims['sub'] matches '{pattern}'", {"sub": text})


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("abc", "abc"),
        ("*", "x"),
        ("a*", "a"),
        ("a?c", "abc"),
        ("a*b*c", "a/b:c"),
        ("a*b*c", "abbcc"),
        ("*a?b*", "xxaabyy"),
        ("a**b", "ab"),
        # The last part is searched at the end, also if it occurs before.
        ("*ab", "abab"),
        ("a*a", "aa"),
        ("repo:o/r:*", "repo:o/r:ref:refs/heads/a/b"),
        ("a.b", "a.b"),
    ],
)
def test_pattern_matches_the_whole_claim(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("abc", "ABC"),
        ("a*", "ba"),
        ("*a", "ab"),
        ("a?c", "ac"),
        ("a*a", "a"),
        ("a*b*a", "aba\nx"),
        ("a.b", "axb"),
        ("[ab]", "a"),
        ("a*", None),
        ("a*", ["a"]),
        ("1*", 1),
        ("*", "x" * 2049),
    ],
)
def test_pattern_does_not_match_another_claim(pattern: str, text: Any) -> None:
    assert not matches(pattern, text)


def reference(pattern: str, text: str) -> bool:
    """Compare character by character: slow, and obviously right."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(reference(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and reference(pattern[1:], text[1:])


@given(st.text("ab?*", min_size=1, max_size=8), st.text("ab", max_size=8))
def test_search_finds_what_a_complete_search_finds(pattern: str, text: str) -> None:
    assert matches(pattern, text) == reference(pattern, text)


def test_eq_compares_literally() -> None:
    for text in ("a*", "a?", "a.b"):
        assert not failing_clauses(f"claims['sub'] eq '{text}'", {"sub": text})
    assert failing_clauses("claims['sub'] eq 'a*'", {"sub": "ab"})


def test_every_clause_must_hold_and_the_difference_is_shown() -> None:
    expression = "claims['sub'] matches 'repo:o/?:*' and claims['repository_id'] eq '12'"
    claims = {"sub": "repo:o/r:x", "repository_id": "13"}
    [failing] = failing_clauses(expression, claims)
    assert failing.describe_difference(claims) == (
        "claims['repository_id'] eq '12': the token has '13', which differs at character 2"
    )
    texts = {
        one.claim: one.describe_difference({"sub": "repo:p/r:x"})
        for one in failing_clauses(expression, {"sub": "repo:p/r:x"})
    }
    assert texts["sub"].endswith("'repo:p/r:x', which differs at character 6")
    assert texts["repository_id"].endswith("the token has no text claim repository_id")
    [longer] = failing_clauses("claims['sub'] eq 'a'", {"sub": "ab"})
    assert longer.describe_difference({"sub": "ab"}).endswith("which is longer")
    [later] = failing_clauses("claims['sub'] matches 'a*c'", {"sub": "ab"})
    assert later.describe_difference({"sub": "ab"}).endswith("not match after the first '*'")


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "claims['sub']",
        "claims['sub'] is 'a'",
        "claims['sub']  eq 'a'",
        "claims['sub'] eq 'a' ",
        " claims['sub'] eq 'a'",
        "claims['sub'] eq 'a' or claims['sub'] eq 'b'",
        "(claims['sub'] eq 'a')",
        "claims['sub'] eq ''",
        'claims["sub"] eq "a"',
        # Entra does not say what a doubled quote means.
        "claims['sub'] eq 'it''s'",
        "claims['sub'] eq 'a' and ",
        "claims['sub'] eq 'a' and claims['sub'] eq 'b",
        "claims['sub'] startswith 'a'",
        f"claims['sub'] matches '{'*a' * (MAX_WILDCARDS + 1)}'",
        " and ".join(["claims['sub'] eq 'a'"] * 60),
        "claims['sub'] eq '" + "a" * 601 + "'",
    ],
)
def test_expression_of_another_form_is_refused(expression: str) -> None:
    with pytest.raises(errors.InvalidExpression):
        parse(expression)


@given(st.text("claims['sub'] eq matches and *?\n", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        clauses = parse(text)
    except errors.InvalidExpression:
        return
    assert " and ".join(map(str, clauses)) == text


@pytest.mark.parametrize(
    "pattern",
    [
        "*" + "a" * 590 + "b*",
        "*" + "a?" * 15 + "ab*",
        "a*" * (MAX_WILDCARDS - 2) + "b*c",
        "?" * 590 + "b*",
        "*a" + "?" * 590 + "b",
    ],
)
def test_longest_pattern_and_claim_take_little_time(pattern: str) -> None:
    """The claim is not verified yet: every caller can send it."""
    began = time.process_time()
    for _ in range(200):
        assert not matches(pattern, "a" * 2048)
    # Milliseconds; a search that starts again at each place would need minutes.
    assert time.process_time() - began < 2


def test_part_that_is_slow_to_search_is_refused() -> None:
    for part in ("a?" + "a" * (MAX_SEARCHED - 2), "a" * 100):
        assert parse(f"claims['sub'] matches '*{part}*'")
    slow = "a?" + "a" * (MAX_SEARCHED - 1)
    assert parse(f"claims['sub'] matches '{slow}*{slow}'")
    with pytest.raises(errors.InvalidExpression, match="longer than 32 characters"):
        parse(f"claims['sub'] matches 'a*{slow}*'")


@pytest.mark.parametrize(
    ("issuer", "expression"),
    [
        (GITHUB, "claims['sub'] matches 'repo:o/r:*' and claims['repository_id'] eq '1'"),
        (GITHUB, OWNED),
        (GITHUB, "claims['job_workflow_ref'] matches 'b*' and " + OWNED),
        (GITLAB, "claims['sub'] matches 'project_path:g/p:*' and claims['project_id'] eq '1'"),
        (GITLAB, "claims['sub'] matches 'project_id:57382910:*'"),
        ("https://gitlab.example.com", "claims['sub'] matches 'project_id:5:*'"),
        ("https://gitlab.example.ca", "claims['sub'] matches 'project_id:5:*'"),
        (TERRAFORM, "claims['sub'] matches 'organization:o:*'"),
        ("https://app.eu.terraform.io", "claims['sub'] eq 'organization:o'"),
    ],
)
def test_expression_that_its_issuer_allows_is_accepted(issuer: str, expression: str) -> None:
    check_expression(issuer, expression)
    assert usable_clauses(issuer, expression)


@pytest.mark.parametrize(
    ("issuer", "expression", "reason"),
    [
        (GITHUB, "claims['sub'] matches 'repo:o/r:*'", "repository_id or repository_owner_id"),
        (GITHUB, "claims['repository_id'] eq '1'", "a clause for sub"),
        (GITHUB, "claims['sub'] eq 'a' and claims['repository_id'] matches '1*'", "only eq"),
        (GITHUB, "claims['sub'] eq 'a' and claims['event_name'] eq 'push'", "event_name"),
        (GITLAB, "claims['sub'] matches 'project_path:g/p:*'", "project_id"),
        (GITLAB, "claims['project_id'] eq '1'", "a clause for sub"),
        (TERRAFORM, "claims['aud'] eq 'a'", "the claim aud is not allowed"),
        (GITHUB + "/octo", "claims['sub'] eq 'a'", "cannot be used"),
        ("https://gitlab.com.evil.test", "claims['sub'] eq 'project_id:1'", "cannot be used"),
        (CLUSTER, "claims['sub'] matches 'system:serviceaccount:a-*:b'", "cannot be used"),
    ],
)
def test_expression_that_its_issuer_does_not_allow_is_refused(
    issuer: str, expression: str, reason: str
) -> None:
    with pytest.raises(errors.InvalidExpression, match=re.escape(reason)):
        check_expression(issuer, expression)


@pytest.mark.parametrize("subject", ["env-*:sa-*", "env-*:*", "a-b-*:sa", "exact:sa-*"])
def test_service_account_with_a_fixed_namespace_prefix_is_accepted(subject: str) -> None:
    check_expression(CLUSTER, f"claims['sub'] matches 'system:serviceaccount:{subject}'", ALLOWED)


@pytest.mark.parametrize(
    "subject",
    [
        *("system:serviceaccount:*:sa", "system:serviceaccount:e*:sa"),
        *("system:serviceaccount:env?*:sa", "system:serviceaccount:*-env:sa"),
        *("system:serviceaccount:?:sa", "system:serviceaccount:env-*", "system:*", "*"),
    ],
)
def test_wide_service_account_needs_the_operators_option(subject: str) -> None:
    """A tenant who may create namespaces could create one that matches."""
    expression = f"claims['sub'] matches '{subject}'"
    with pytest.raises(errors.InvalidExpression):
        check_expression(CLUSTER, expression, ALLOWED)
    check_expression(CLUSTER, expression, WIDE)


def test_stored_expression_counts_only_while_its_issuer_is_allowed() -> None:
    cluster = "claims['sub'] matches 'system:serviceaccount:env-*:sa'"
    assert usable_clauses(CLUSTER, cluster, ALLOWED)
    assert not usable_clauses(CLUSTER, cluster)
    # As in Entra, an older expression of a public issuer still works.
    assert usable_clauses(GITHUB, "claims['sub'] matches 'repo:o/r:*'")
    assert not usable_clauses(GITHUB, "x")


def test_longest_expression_is_parsed() -> None:
    clause = "claims['sub'] matches '{}'"
    text = clause.format("a" * 480) + " and " + clause.format("b" * 480)
    assert len(text) <= MAX_CHARS
    assert len(parse(text)) == 2


def test_expressions_of_ten_thousand_credentials_stay_parsed() -> None:
    expressions = [
        f"claims['sub'] matches 'system:serviceaccount:env-{number}-*:sa'"
        for number in range(10_000)
    ]
    for _ in range(2):
        before = usable_clauses.cache_info()
        for each in expressions:
            assert usable_clauses(CLUSTER, each, ALLOWED)
    assert usable_clauses.cache_info().misses == before.misses
