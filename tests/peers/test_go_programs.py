"""The reference's command line and the Graph SDK for Go, which compress every request body."""

import base64
import hashlib
import json
import re

import pytest
from kubernetes import client

from tests.journey.instance import Instance
from tests.peers.azwi_cli import Azwi, SignIns
from tests.peers.rest import RestClient
from tests.programs import built

# A first build takes minutes.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(3600)]
_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


@pytest.mark.usefixtures("principal")
def test_graph_sdk_for_go_creates_and_changes_an_application(instance: Instance) -> None:
    facts = json.loads(instance.run_on_host("web", [str(built("graph")), "go"]))
    assert facts == {
        "made": "go",
        "changed": "go-2",
        "trust": "padded=",
        "compressed": 3,
        "refused": 0,
    }


@pytest.fixture(scope="module")
def sign_ins(
    instance: Instance, rest: RestClient, tmp_path_factory: pytest.TempPathFactory
) -> SignIns:
    return SignIns(
        program=built("azwi"),
        instance=instance,
        rest=rest,
        folder=tmp_path_factory.mktemp("azwi"),
    )


@pytest.mark.parametrize("method", ["cli", "client_secret", "client_certificate"])
def test_azwi_creates_repeats_and_deletes_every_phase(
    sign_ins: SignIns, instance: Instance, rest: RestClient, method: str
) -> None:
    azwi, account = sign_ins.sign_in(method), method.replace("_", "-")
    issuer = instance.status["kubernetes"]["issuer"]
    scope = f"/subscriptions/{instance.status['subscription_id']}"
    name = f"default-{account}-{_hash(issuer)}"
    named = ("--service-account-name", account, "--service-account-issuer-url", issuer)
    create = ("create", *named, "--azure-scope", scope, "--azure-role", "Reader")

    log = azwi(*create)
    [application] = _find(rest, "applications", name)
    [principal] = _find(rest, "servicePrincipals", name)
    assert principal["appId"] == application["appId"]
    assert _annotation(instance, account) == application["appId"]
    trusts = f"/v1.0/applications/{application['id']}/federatedIdentityCredentials"
    [trust] = rest("GET", trusts)[1]["value"]
    assert trust["name"] == _hash(f"default-{account}-{issuer}")
    assert trust["subject"] == f"system:serviceaccount:default:{account}"
    assert _assigned_roles(rest, scope, principal["id"]) == [_READER]
    assignment = re.search(r'roleAssignmentID="([^"]+)"', log)
    assert assignment is not None

    log = azwi(*create)
    assert "federated credential has been previously created" in log
    assert "Role assignment already exists" in log
    assert len(_find(rest, "applications", name)) == 1
    assert _assigned_roles(rest, scope, principal["id"]) == [_READER]

    azwi("delete", "phase", "federated-identity", *named)
    assert rest("GET", trusts)[1]["value"] == []
    delete = ("delete", *named, "--role-assignment-id", assignment[1])
    azwi(*delete)
    assert _find(rest, "applications", name) == _find(rest, "servicePrincipals", name) == []
    assert _annotation(instance, account) is None
    assert rest("GET", f"{assignment[1]}?api-version=2022-04-01")[0] == 404
    _assert_deleted(azwi, *delete)


def _assert_deleted(azwi: Azwi, *delete: str) -> None:
    """Delete again: every phase finds nothing, and azwi itself fails for the application without an ID."""
    log = azwi(*delete, "--skip-phases", "aad-application,federated-identity")
    assert "service account not found" in log
    done = azwi.run(*delete)
    assert done.returncode == 1
    assert "not found" in done.stderr


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _find(rest: RestClient, kind: str, name: str) -> list[dict[str, str]]:
    status, found = rest("GET", f"/v1.0/{kind}?$filter=displayName%20eq%20'{name}'")
    assert status == 200, found
    return list(found["value"])


def _assigned_roles(rest: RestClient, scope: str, principal: str) -> list[str]:
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
    query = f"api-version=2022-04-01&$filter=principalId%20eq%20'{principal}'"
    found = rest("GET", f"{path}?{query}")[1]["value"]
    return [one["properties"]["roleDefinitionId"].rpartition("/")[2] for one in found]


def _annotation(instance: Instance, account: str) -> str | None:
    try:
        found = instance.core.read_namespaced_service_account(account, "default")
    except client.ApiException as exc:
        assert exc.status == 404
        return None
    return str(found.metadata.annotations["azure.workload.identity/client-id"])
