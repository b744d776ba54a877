"""Filters, paths and ETags, without HTTP."""

import pytest

from podpass.directory.resource_manager import filters, paths, wire
from podpass.directory.resource_manager.errors import ManagerError
from podpass.directory.resource_manager.filters import Filter
from podpass.directory.resource_manager.routes import list_routes
from podpass.lab.services import list_providers

ROUTES = list_routes(list_providers())


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
def test_filter_is_parsed(
    text: str, equal: dict[str, str], calls: dict[str, tuple[str, ...]]
) -> None:
    assert filters.parse(text) == Filter(equal=equal, calls=calls)


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
def test_unsupported_filter_is_rejected_and_not_ignored(text: str) -> None:
    with pytest.raises(ManagerError) as caught:
        filters.parse(text)
    assert (caught.value.status, caught.value.wire_code) == (400, "InvalidFilterInQueryString")


@pytest.mark.parametrize(
    ("path", "method", "scope", "params"),
    [
        ("/subscriptions/S/RESOURCEGROUPS/g", "GET", "/subscriptions/S/RESOURCEGROUPS/g", "S g"),
        ("/subscriptions/s/resourcegroups", "GET", "/subscriptions/s", "s"),
        ("/subscriptions/s/providers/Microsoft.KeyVault/vaults", "GET", "/subscriptions/s", "s"),
        (
            "/a/b/c/d/providers/microsoft.authorization/roleassignments/n",
            "PUT",
            "/a/b/c/d",
            "n /a/b/c/d",
        ),
        ("/providers/Microsoft.Authorization/roleDefinitions", "GET", "/", "/"),
    ],
)
def test_path_is_matched_case_insensitively(
    path: str, method: str, scope: str, params: str
) -> None:
    found = paths.RouteTable(ROUTES).find(method, paths.split_path(path.encode()))
    assert (found.scope, " ".join(found.params.values())) == (scope, params)


def test_authorization_scope_is_the_whole_resource_path() -> None:
    """A role at a scope applies to everything below it, so the scope of a route must not be too short."""
    for route in ROUTES:
        if route.path.startswith("{scope}") or not route.path.endswith("}"):
            continue
        path = route.path.replace("{", "").replace("}", "")
        found = paths.RouteTable([route]).find(route.method, paths.split_path(path.encode()))
        assert found.scope == path


@pytest.mark.parametrize(
    "path", [b"/a%2Fb", b"/..", b"/a/%2e%2e", b"/a%00", b"/\xff", b"/%ff", b"/a" * 41]
)
def test_ambiguous_path_is_rejected(path: bytes) -> None:
    with pytest.raises(ManagerError):
        paths.split_path(path)


def test_etag_depends_on_content_and_not_on_member_order() -> None:
    assert wire.etag({"a": 1, "b": {"c": 2}}) == wire.etag({"b": {"c": 2}, "a": 1})
    assert wire.etag({"a": 1}) != wire.etag({"a": 2})
