"""The identities and policies of a subscription, as Azure answers."""

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
    "scope": "/subscriptions/s/resourceGroups/strict",
    "parameters": {"allowFederatedCredentials": {"value": True}, "allowAKS": {"value": True}},
}


def answer(_method: str, target: str) -> ScriptedResponse:
    path = target.partition("?")[0]
    found: list[dict[str, Any]] = []
    if path.endswith("/policyAssignments"):
        found = [{"properties": POLICY}]
    elif path.endswith("/federatedIdentityCredentials"):
        trust = {"issuer": "https://gitlab.com", "subject": "project_id:7:ref_type:branch:ref:main"}
        found = [
            {"name": "c", "properties": {**trust, "audiences": ["api://AzureADTokenExchange"]}}
        ]
    elif path.endswith("/userAssignedIdentities"):
        groups = ("strict", "other")
        found = [
            {"id": f"/subscriptions/s/resourceGroups/{group}{IDENTITIES}/{group}", "name": group}
            for group in groups
        ]
    elif "/servicePrincipals/" in path:
        return ScriptedResponse(status=404, body={"error": {"code": "Request_ResourceNotFound"}})
    return ScriptedResponse(body={"value": found})


async def test_policy_of_the_subscription_refuses_identities_in_its_scope(tmp_path: Path) -> None:
    async with scripted_api(tmp_path, answer) as api:
        reader = AzureReader(
            manager=ManagerClient(api.client, "s"),
            graph=GraphClient(api.client),
            tenant_id=TENANT,
            login=api.origin,
        )
        facts = await read_facts(reader)
    assert reader.unread == []
    [finding] = find_all(facts)
    assert (finding.code, finding.identity) == ("policy_refuses_issuer", "strict")
    assert finding.message.endswith("the issuer is not in allowedIssuerExceptions")
