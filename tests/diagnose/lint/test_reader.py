"""The identities and policies of a subscription, as Azure answers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from podpass.diagnose.graph.azure_snapshot import AzureReader
from podpass.diagnose.lint.reader import read_facts
from podpass.diagnose.lint.rules import find_all
from podpass.provision.graph import GraphClient
from podpass.provision.resource_manager import ManagerClient
from tests.provision.api_server import ScriptedResponse, scripted_api

TENANT = "11111111-1111-4111-8111-111111111111"
AUTHORIZATION = "/providers/Microsoft.Authorization"
IDENTITIES = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
POLICY = {
    "policyDefinitionId": f"{AUTHORIZATION}/policyDefinitions/2571b7c3-3056-4a61-b00a-9bc5232234f5",
    "scope": "/subscriptions/s",
    "notScopes": ["/subscriptions/s/resourceGroups/other"],
    "enforcementMode": "Default",
    "parameters": {"allowFederatedCredentials": {"value": True}, "allowAKS": {"value": True}},
}
ASSIGNED = f"/subscriptions/s{AUTHORIZATION}/policyAssignments/strict"
MANAGEMENT_GROUP = "/providers/Microsoft.Management/managementGroups/m"
SET = f"{MANAGEMENT_GROUP}{AUTHORIZATION}/policySetDefinitions/issuers"
INITIATIVE_POLICY = {
    "policyDefinitionId": SET,
    "scope": MANAGEMENT_GROUP,
    "enforcementMode": "DoNotEnforce",
    "parameters": {"exceptions": {"value": ["https://other.example"]}},
}
INITIATIVE = {
    "policyType": "Custom",
    "parameters": {
        "exceptions": {"type": "Array", "defaultValue": ["https://gitlab.com"]},
        "allow": {"type": "Boolean", "defaultValue": True},
    },
    "policyDefinitions": [
        {
            "policyDefinitionReferenceId": "kinds",
            "policyDefinitionId": POLICY["policyDefinitionId"],
            "parameters": {
                "allowFederatedCredentials": {"value": "[parameters('allow')]"},
                "allowedIssuerExceptions": {"value": "[parameters('exceptions')]"},
            },
            "definitionVersion": "1.*.*",
        }
    ],
}


def answer(_method: str, target: str) -> ScriptedResponse:
    path = target.partition("?")[0]
    found: list[dict[str, Any]] = []
    if path.endswith("/policyAssignments"):
        strict = {"id": ASSIGNED, "properties": POLICY}
        shadow = {"id": f"{ASSIGNED}-shadow", "properties": INITIATIVE_POLICY}
        unread = {"id": f"{ASSIGNED}-unread", "properties": {"policyDefinitionId": f"{SET}-gone"}}
        found = [strict, shadow, unread]
    elif path.endswith("/policyExemptions"):
        place = f"/subscriptions/s/resourceGroups/exempt{AUTHORIZATION}/policyExemptions/legacy"
        about = {"policyAssignmentId": ASSIGNED, "exemptionCategory": "Waiver"}
        found = [{"id": place, "properties": {**about, "expiresOn": "2027-01-01T00:00:00Z"}}]
    elif path == SET:
        return ScriptedResponse(body={"id": SET, "properties": INITIATIVE})
    elif path.endswith("-gone"):
        return ScriptedResponse(status=403, body={"error": {"code": "AuthorizationFailed"}})
    elif path.endswith("/federatedIdentityCredentials"):
        trust = {"issuer": "https://gitlab.com", "subject": "project_id:7:ref_type:branch:ref:main"}
        found = [
            {"name": "c", "properties": {**trust, "audiences": ["api://AzureADTokenExchange"]}}
        ]
    elif path.endswith("/userAssignedIdentities"):
        groups = ("strict", "exempt", "other")
        found = [
            {"id": f"/subscriptions/s/resourceGroups/{group}{IDENTITIES}/{group}", "name": group}
            for group in groups
        ]
    elif "/servicePrincipals/" in path:
        return ScriptedResponse(status=404, body={"error": {"code": "Request_ResourceNotFound"}})
    return ScriptedResponse(body={"value": found})


async def test_policies_of_a_subscription_with_initiative_and_exemption(tmp_path: Path) -> None:
    async with scripted_api(tmp_path, answer) as api:
        reader = AzureReader(
            manager=ManagerClient(api.client, "s"),
            graph=GraphClient(api.client),
            tenant_id=TENANT,
            login=api.origin,
        )
        facts = await read_facts(reader, datetime(2026, 12, 3, tzinfo=UTC))
        wanted = f"GET {SET}?api-version=2023-04-01"
        assert api.targets.count(wanted) == 1
    [unread] = reader.unread
    assert unread.startswith("initiative: ")
    assert "AuthorizationFailed" in unread
    found = [(each.code, each.identity) for each in find_all(facts)]
    assert found == [
        ("policy_refuses_issuer", "strict"),
        ("policy_not_enforced", "strict"),
        ("policy_not_enforced", "exempt"),
        ("policy_exempted", "exempt"),
        ("policy_not_enforced", "other"),
    ]
    assert all(
        each.message.endswith("the issuer is not in allowedIssuerExceptions")
        for each in find_all(facts)
    )
