"""$filter: the parser, the planner and the matcher, also with arbitrary input."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.directory.graph import filter_parser, filters
from podpass.directory.graph.applications import FILTER_SCHEMA as APPLICATION
from podpass.directory.graph.errors import GraphError, MalformedRequest, UnsupportedQuery
from podpass.directory.graph.filter_parser import And, AnyOf, Comparison, In, Not, Or
from podpass.directory.graph.principals import FILTER_SCHEMA as PRINCIPAL
from podpass.directory.store.identity_queries import Condition

ITEM: dict[str, Any] = {
    "name": "Web",
    "on": True,
    "none": None,
    "number": 3,
    "tags": ["a", "B"],
    "empty": [],
    "created": "2026-01-02T03:04:05Z",
    "web": {"url": "x"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a eq 'x'", Comparison(("a",), "eq", "x")),
        ("a eq 'it''s'", Comparison(("a",), "eq", "it's")),
        ("a/b ne null", Comparison(("a", "b"), "ne", None)),
        ("a ge 2026-01-01T00:00:00Z", Comparison(("a",), "ge", "2026-01-01T00:00:00Z")),
        ("a eq true", Comparison(("a",), "eq", True)),
        ("a lt -1.5", Comparison(("a",), "lt", -1.5)),
        ("a in ('x', 'y')", In(("a",), ("x", "y"))),
        ("startswith(a,'x')", Comparison(("a",), "startswith", "x")),
        ("startswith(a,'x') eq true", Comparison(("a",), "startswith", "x")),
        ("startswith(a,'x') eq false", Not(Comparison(("a",), "startswith", "x"))),
        ("t/any(x:x eq 'y')", AnyOf(("t",), Comparison((), "eq", "y"))),
        ("t/any()", AnyOf(("t",), None)),
        ("not (a eq 1)", Not(Comparison(("a",), "eq", 1))),
        (
            "a eq 1 or b eq 2 and c eq 3",
            Or(
                (
                    Comparison(("a",), "eq", 1),
                    And((Comparison(("b",), "eq", 2), Comparison(("c",), "eq", 3))),
                )
            ),
        ),
        (
            "appId eq 00000003-0000-0000-c000-000000000000",
            Comparison(("appId",), "eq", "00000003-0000-0000-c000-000000000000"),
        ),
    ],
)
def test_filter_is_parsed(text: str, expected: filter_parser.Expression) -> None:
    assert filter_parser.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a eq", "a eq 'x", "a like 'x'", "eq 'x'", "a eq 'x' and", "(a eq 'x'"),
        *("a eq 'x')", "a eq x", "a eq 'x' b", "startswith(a)", "startswith(a,1)"),
        *("startswith(a,'x') eq 'x'", "a in ()", "a in 'x'", "t/any(x x eq 'y')"),
        *("a eq \u2018x\u2019", ";"),
    ],
)
def test_invalid_filter_is_rejected_as_malformed(text: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        filter_parser.parse(text)
    assert caught.value.wire_code == "BadRequest"


@pytest.mark.parametrize(
    "text",
    [
        " or ".join(["a eq 1"] * 16),
        " and ".join(["a eq 1"] * 16),
        "a in (" + ",".join("1" * 1 for _ in range(16)) + ")",
        "(" * 10 + "a eq 1" + ")" * 10,
        "not " * 10 + "a eq 1",
        "a eq '" + "x" * 5000 + "'",
        "t/all(x:x eq 'y')",
        "t/any(x:u/any(y:y eq 'z'))",
        "t/any(x:y eq 'z')",
    ],
    ids=range(9),
)
def test_filter_over_the_limits_is_unsupported(text: str) -> None:
    """Fails if one request can use unlimited server time."""
    with pytest.raises(UnsupportedQuery) as caught:
        filter_parser.parse(text)
    assert caught.value.wire_code == "Request_UnsupportedQuery"


_PIECES = st.lists(
    st.sampled_from(
        [
            *"(),:/'",
            " ",
            "a",
            "not",
            "and",
            "or",
            "eq",
            "in",
            "any",
            "startswith",
            "null",
            "'x'",
            "1",
        ]
    ),
    max_size=60,
)


@given(st.one_of(st.text(max_size=300), _PIECES.map(" ".join), _PIECES.map("".join)))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    try:
        found = filter_parser.parse(text)
    except GraphError:
        return
    assert filters.matches(found, ITEM) in (True, False)
    assert filters.is_advanced(found) in (True, False)


_WORDS = st.text("ab'% x", max_size=8)


@given(_WORDS, _WORDS)
def test_quoted_text_is_compared_literally(name: str, value: str) -> None:
    """Fails if a quotation mark inside a value can change the meaning of the filter."""
    quoted = value.replace("'", "''")
    assert filter_parser.parse(f"name eq '{quoted}'") == Comparison(("name",), "eq", value)
    found = filter_parser.parse(
        f"name eq '{quoted}' or name eq '{name.replace(chr(39), chr(39) * 2)}'"
    )
    assert filters.matches(found, {"name": value}) is True


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("name eq 'WEB'", True),
        ("name ne 'web'", False),
        ("startswith(name,'we')", True),
        ("endswith(name,'B')", True),
        ("contains(name,'z')", False),
        ("on eq true", True),
        ("on eq 'true'", False),
        ("none eq null", True),
        ("missing eq null", True),
        ("number eq 3", True),
        ("number eq true", False),
        ("tags/any(t:t eq 'b')", True),
        ("tags/any(t:startswith(t,'z'))", False),
        ("tags/any()", True),
        ("empty/any()", False),
        ("missing/any(t:t eq 'b')", False),
        ("created ge 2026-01-01T00:00:00Z", True),
        ("web/url eq 'x'", True),
        ("name in ('a','web')", True),
        ("not (name eq 'web') or number eq 3", True),
        ("name eq 'web' and number eq 4", False),
    ],
)
def test_filter_matches_the_expected_object(text: str, fits: bool) -> None:
    assert filters.matches(filter_parser.parse(text), ITEM) is fits


def test_issuer_and_subject_are_compared_case_sensitively() -> None:
    for name in ("issuer", "subject"):
        assert filters.matches(filter_parser.parse(f"{name} eq 'a'"), {name: "a"})
        assert not filters.matches(filter_parser.parse(f"{name} eq 'A'"), {name: "a"})


_ID = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"


@pytest.mark.parametrize(
    ("text", "noun", "where"),
    [
        ("displayName eq 'x'", APPLICATION, [("name", "eq", "x")]),
        ("startswith(displayName,'x')", APPLICATION, [("name", "startswith", "x")]),
        (f"appId eq '{_ID}'", APPLICATION, [("client_id", "eq", _ID)]),
        ("appId eq 'a' or appId eq 'b'", APPLICATION, [("client_id", "in", ("a", "b"))]),
        ("identifierUris/any(s:s eq 'u')", APPLICATION, [("identifier_uri", "eq", "u")]),
        (f"servicePrincipalNames/any(c:c eq '{_ID}')", PRINCIPAL, [("client_id", "eq", _ID)]),
        (
            "servicePrincipalNames/any(c:c eq 'api://x')",
            PRINCIPAL,
            [("identifier_uri", "eq", "api://x")],
        ),
        (
            "servicePrincipalType eq 'ManagedIdentity' and startswith(displayName,'x')",
            PRINCIPAL,
            [("kind", "eq", "managed-identity"), ("name", "startswith", "x")],
        ),
    ],
)
def test_indexed_filter_becomes_a_store_condition(
    text: str, noun: filters.FilterSchema, where: list[tuple[Any, Any, Any]]
) -> None:
    found = filters.plan_query(filter_parser.parse(text), noun)
    assert found.rest is None
    assert list(found.where) == [Condition(field=f, op=o, value=v) for f, o, v in where]


def test_filter_without_index_remains_for_the_scan() -> None:
    text = "displayName eq 'x' and tags/any(t:t eq 'y')"
    found = filters.plan_query(filter_parser.parse(text), APPLICATION)
    assert [one.field for one in found.where] == ["name"]
    assert found.rest == AnyOf(("tags",), Comparison((), "eq", "y"))


@pytest.mark.parametrize(
    "text",
    [
        *("colour eq 'red'", "web/homePageUrl eq 'x'", "identifierUris eq 'x'"),
        *("displayName/any(d:d eq 'x')", "tags/any(t:t/name eq 'x')"),
        *("appId eq 'a' or colour eq 'b'", "not (colour eq 'x')"),
    ],
)
def test_filter_by_an_unsupported_property_is_rejected(text: str) -> None:
    with pytest.raises(UnsupportedQuery) as caught:
        filters.validate(filter_parser.parse(text), APPLICATION)
    assert caught.value.wire_code == "Request_UnsupportedQuery"
