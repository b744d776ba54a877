"""Give a service principal the roles that the programs of the peers need."""

import uuid

from tests.peers.rest import RestClient

_OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
_GRAPH = "00000003-0000-0000-c000-000000000000"
_PERMISSIONS = ("Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All")


def grant_roles(rest: RestClient, principal: str) -> None:
    """Make a principal, by object ID, the owner of the subscription; it may write applications."""
    _make_subscription_owner(rest, principal)
    status, graph = rest("GET", f"/v1.0/servicePrincipals(appId='{_GRAPH}')")
    assert status == 200, graph
    for role in graph["appRoles"]:
        if role["value"] in _PERMISSIONS:
            _assign_role(rest, principal, graph["id"], role["id"])


def _make_subscription_owner(rest: RestClient, principal: str) -> None:
    scope = f"/subscriptions/{rest.instance.status['subscription_id']}"
    base = f"{scope}/providers/Microsoft.Authorization"
    properties = {
        "roleDefinitionId": f"{base}/roleDefinitions/{_OWNER}",
        "principalId": principal,
        "principalType": "ServicePrincipal",
    }
    path = f"{base}/roleAssignments/{uuid.uuid4()}?api-version=2022-04-01"
    status, answer = rest("PUT", path, {"properties": properties})
    assert status == 201, answer


def _assign_role(rest: RestClient, principal: str, resource: str, role: str) -> None:
    body = {"principalId": principal, "resourceId": resource, "appRoleId": role}
    status, answer = rest("POST", f"/v1.0/servicePrincipals/{principal}/appRoleAssignments", body)
    assert status == 201, answer
