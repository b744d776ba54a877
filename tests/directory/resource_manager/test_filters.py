"""Filters, paths and ETags as values."""

import pytest

from podpass.directory.resource_manager import filters, paths, wire
from podpass.directory.resource_manager.filters import Filter
from podpass.directory.resource_manager.refusals import ManagerRefusal
from podpass.directory.resource_manager.routes import ROUTES


@pytest.mark.parametrize(
    ("text", "equal", "calls"),
    [
        ("", {}, {}),
        ("  ", {}, {}),
        ("name eq 'a'", {"name": "a"}, {}),
        ("Name EQ 'it''s'", {"name": "it's"}, {}),
        ("a eq 'x' and b/c eq ''", {"a": "x", "b/c": ""}, {}),
        ("a eq 'b and c eq (d)'", {"a": "b and c eq (d)"}, {}),
        ("atScope()", {}, {"atscope": ()}),
        ("atScope() and assignedTo('x')", {}, {"atscope": (), "assignedto": ("x",)}),
        ("f('a','b')", {}, {"f": ("a", "b")}),
    ],
)
def test_a_filter_is_read(
    text: str, equal: dict[str, str], calls: dict[str, tuple[str, ...]]
) -> None:
    assert filters.read(text) == Filter(equal=equal, calls=calls)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a eq",
        "a eq b",
        "a ne 'b'",
        "a eq 'b' or c eq 'd'",
        "a eq 'b' and",
        "a eq 'b' c eq 'd'",
        "a eq 'b' and a eq 'c'",
        "a eq 'b",
        "f('a'",
        "f('a' 'b')",
        "f(",
        "'a' eq 'b'",
        "not (a eq 'b')",
        "(a eq 'b')",
        "a eq 'b';",
        f"a eq '{'x' * 3000}'",
    ],
)
def test_what_is_not_understood_is_refused_and_never_left_out(text: str) -> None:
    with pytest.raises(ManagerRefusal) as caught:
        filters.read(text)
    assert (caught.value.status, caught.value.wire_code) == (400, "InvalidFilterInQueryString")


@pytest.mark.parametrize(
    ("path", "method", "scope", "params"),
    [
        ("/subscriptions/S/RESOURCEGROUPS/g", "GET", "/subscriptions/S/RESOURCEGROUPS/g", "S g"),
        ("/subscriptions/s/resourcegroups", "GET", "/subscriptions/s", "s"),
        (
            "/subscriptions/s/providers/Microsoft.KeyVault/vaults",
            "GET",
            "/subscriptions/s",
            "s",
        ),
        (
            "/a/b/c/d/providers/microsoft.authorization/roleassignments/n",
            "PUT",
            "/a/b/c/d",
            "n /a/b/c/d",
        ),
        ("/providers/Microsoft.Authorization/roleDefinitions", "GET", "/", "/"),
    ],
)
def test_a_path_is_matched_without_case(path: str, method: str, scope: str, params: str) -> None:
    found = paths.Table(ROUTES).find(method, paths.split(path.encode()))
    assert (found.scope, " ".join(found.params.values())) == (scope, params)


def test_what_is_authorised_is_the_resource_and_never_less() -> None:
    """A role at a scope counts for what lies in it: the scope of a route must not be cut too short."""
    for route in ROUTES:
        if route.path.startswith("{scope}") or not route.path.endswith("}"):
            continue
        path = route.path.replace("{", "").replace("}", "")
        found = paths.Table([route]).find(route.method, paths.split(path.encode()))
        assert found.scope == path


@pytest.mark.parametrize(
    "path", [b"/a%2Fb", b"/..", b"/a/%2e%2e", b"/a%00", b"/\xff", b"/%ff", b"/a" * 41]
)
def test_a_path_that_could_stand_for_another_is_refused(path: bytes) -> None:
    with pytest.raises(ManagerRefusal):
        paths.split(path)


def test_an_etag_depends_on_what_is_shown_and_not_on_its_order() -> None:
    assert wire.etag({"a": 1, "b": {"c": 2}}) == wire.etag({"b": {"c": 2}, "a": 1})
    assert wire.etag({"a": 1}) != wire.etag({"a": 2})
