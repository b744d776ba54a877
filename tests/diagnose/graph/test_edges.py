"""Which accounts the expressions of credentials match, found without a comparison of all."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from podpass.diagnose.graph.edges import find_matches
from podpass.diagnose.graph.model import AccountFacts, GraphTooLarge, TrustFacts
from podpass.directory.claims_expression import (
    NO_KUBERNETES,
    Clause,
    KubernetesIssuers,
    failing_clauses,
)
from tests.diagnose.graph.samples import account, credential, facts, identity

COUNT = 2000
SUBJECT = "system:serviceaccount:"


def trust(expressions: list[str], accounts: list[AccountFacts]) -> TrustFacts:
    credentials = tuple(
        credential(f"c{at}", subject="", expression=each) for at, each in enumerate(expressions)
    )
    return facts(accounts=tuple(accounts), identities=(identity(credentials=credentials),))


def matched(found: TrustFacts) -> set[tuple[str, str]]:
    return {
        (each.credential.expression, each.owner.key)
        for each in find_matches(found)
        if isinstance(each.owner, AccountFacts)
    }


@pytest.mark.parametrize(
    ("pattern", "namespace", "name"),
    [("env{}-*:web", "env{}-a", "web"), ("*:web-{}", "env", "web-{}")],
    ids=["prefix", "suffix"],
)
def test_2000_expressions_are_compared_only_with_accounts_of_their_prefix_or_suffix(
    monkeypatch: pytest.MonkeyPatch, pattern: str, namespace: str, name: str
) -> None:
    accounts = [account(namespace.format(at), name.format(at)) for at in range(COUNT)]
    expressions = [f"claims['sub'] matches '{SUBJECT}{pattern}'".format(at) for at in range(COUNT)]
    compared, holds = [], Clause.holds

    def count(clause: Clause, claims: Mapping[str, Any]) -> bool:
        compared.append(clause)
        return holds(clause, claims)

    monkeypatch.setattr(Clause, "holds", count)
    expected = {(each, accounts[at].key) for at, each in enumerate(expressions)}
    assert matched(trust(expressions, accounts)) == expected
    assert len(compared) == COUNT


def test_expressions_without_fixed_text_are_refused_after_too_many_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("podpass.diagnose.graph.edges.MAX_COMPARISONS", 20)
    accounts = [account(f"env{number}") for number in range(10)]
    wide = f"claims['sub'] matches '{SUBJECT}*:*'"
    assert len(matched(trust([wide, wide], accounts))) == 10
    with pytest.raises(GraphTooLarge) as found:
        matched(trust([wide, wide, wide], accounts))
    assert "more fixed text" in (found.value.hint or "")


def test_expression_of_a_cluster_that_is_not_allowed_matches_no_account() -> None:
    found = trust([f"claims['sub'] matches '{SUBJECT}env-*:web'"], [account("env-a")])
    issuer = found.cluster.issuer
    assert issuer is not None
    assert len(matched(found)) == 1
    assert (
        len(matched(replace(found, expressions=KubernetesIssuers(issuers=frozenset({issuer})))))
        == 1
    )
    assert matched(replace(found, expressions=NO_KUBERNETES)) == set()


def test_matches_of_expressions_are_those_of_a_comparison_of_all() -> None:
    accounts = [account(*each) for each in product(("a", "ab", "b", "b-a"), ("a", "b"))]
    values = [
        f"{SUBJECT}{namespace}:{name}"
        for namespace, name in product(
            ("a", "a*", "?", "?b", "*", "b-*", "b?a"), ("a", "?", "*", "*a")
        )
    ]
    clauses = [
        *(f"claims['sub'] {each} '{value}'" for each, value in product(("eq", "matches"), values)),
        *("claims['sub'] matches '*a'", "claims['aud'] matches '*'"),
    ]
    pairs = [" and ".join(each) for each in product(clauses, clauses)]
    expected = {
        (expression, each.key)
        for expression, each in product(clauses + pairs, accounts)
        if not failing_clauses(expression, {"sub": f"{SUBJECT}{each.namespace}:{each.name}"})
    }
    assert {key for _, key in expected} == {each.key for each in accounts}
    assert matched(trust([*clauses, *pairs, "no expression"], accounts)) == expected
