"""One instance for all tests; its identity `web` owns the subscription and may write applications."""

import uuid
from collections.abc import Iterator

import pytest

from tests.journey.instance import CLIENT, Instance, started
from tests.peers.rest import RestClient

_OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
_GRAPH = "00000003-0000-0000-c000-000000000000"
_ROLES = ("Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All")


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("peers")) as running:
        yield running


@pytest.fixture(scope="session")
def rest(instance: Instance) -> RestClient:
    return RestClient(instance)


@pytest.fixture(scope="session")
def principal(instance: Instance, rest: RestClient) -> str:
    """Return the object id of `web`, with all roles that the programs need."""
    status, found = rest("GET", f"/v1.0/servicePrincipals(appId='{CLIENT}')")
    assert status == 200, found
    _own_the_subscription(instance, rest, found["id"])
    status, graph = rest("GET", f"/v1.0/servicePrincipals(appId='{_GRAPH}')")
    assert status == 200, graph
    for role in graph["appRoles"]:
        if role["value"] in _ROLES:
            _assign_role(rest, found["id"], graph["id"], role["id"])
    return str(found["id"])


def _own_the_subscription(instance: Instance, rest: RestClient, principal: str) -> None:
    scope = f"/subscriptions/{instance.status['subscription_id']}"
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
