"""The permissions that an application publishes and registers, as its document has them."""

from typing import Any

import pytest

from podpass.directory import delegated_permissions
from podpass.directory.model import Identity, IdentityKind

ID = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
CLIENT = "33333333-3333-4333-8333-333333333333"


def application(**document: Any) -> Identity:
    return Identity(
        tenant_id="t",
        client_id=CLIENT,
        object_id="o",
        name="app",
        kind=IdentityKind.APPLICATION,
        document=document,
    )


def publish(**scope: Any) -> list[tuple[str, bool]]:
    found = application(api={"oauth2PermissionScopes": [{"id": ID, "value": "read", **scope}]})
    return [(one.value, one.admin_only) for one in delegated_permissions.of_application(found)]


@pytest.mark.parametrize(
    ("scope", "admin_only"),
    [({}, False), ({"type": "User"}, False), ({"type": "Admin"}, True), ({"type": None}, True)],
)
def test_permission_without_a_valid_type_is_for_administrators(
    scope: dict[str, Any], admin_only: bool
) -> None:
    assert publish(**scope) == [("read", admin_only)]


@pytest.mark.parametrize(
    "scope", [{"isEnabled": False}, {"isEnabled": "true"}, {"value": None}, {"value": ""}]
)
def test_disabled_or_unnamed_permission_is_not_published(scope: dict[str, Any]) -> None:
    assert publish(**scope) == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"api": None, "requiredResourceAccess": None},
        {"api": {"oauth2PermissionScopes": "x"}, "requiredResourceAccess": [7]},
        {"api": {"oauth2PermissionScopes": [7], "preAuthorizedApplications": [7, {}]}},
        {"requiredResourceAccess": [{"resourceAppId": ID, "resourceAccess": [7, {}]}]},
    ],
)
def test_malformed_document_publishes_and_registers_nothing(document: dict[str, Any]) -> None:
    found = application(**document)
    assert delegated_permissions.of_application(found) == ()
    assert delegated_permissions.preauthorized(found, CLIENT) == frozenset()
    assert delegated_permissions.registered(found) == {}
    assert delegated_permissions.registered_roles(found) == {}


def test_registered_permissions_are_read_by_kind_in_lower_case() -> None:
    access = [{"id": ID.upper(), "type": "Scope"}, {"id": CLIENT, "type": "Role"}]
    found = application(
        requiredResourceAccess=[{"resourceAppId": CLIENT.upper(), "resourceAccess": access}]
    )
    assert delegated_permissions.registered(found) == {CLIENT: frozenset({ID})}
    assert delegated_permissions.registered_roles(found) == {CLIENT: frozenset({CLIENT})}


def test_preauthorized_permissions_are_for_the_listed_client_only() -> None:
    listed = [{"appId": CLIENT.upper(), "delegatedPermissionIds": [ID.upper()]}]
    found = application(api={"preAuthorizedApplications": listed})
    assert delegated_permissions.preauthorized(found, CLIENT) == frozenset({ID})
    assert delegated_permissions.preauthorized(found, ID) == frozenset()
