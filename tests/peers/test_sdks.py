"""Microsoft's released management SDKs and the Graph SDK, with the identity of a workload."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.installation import install_python
from tests.journey.instance import Instance

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]

PROGRAMS = Path(__file__).parent / "programs"
_NOT_FOUND = [404, "ResourceNotFound"]


def _facts(instance: Instance, program: str, *arguments: str) -> Any:
    python = install_python(
        *("azure-identity", "azure-keyvault-secrets", "azure-mgmt-authorization"),
        *("azure-mgmt-containerservice", "azure-mgmt-dns", "azure-mgmt-keyvault", "azure-mgmt-msi"),
        *("azure-mgmt-resource", "azure-mgmt-resource-subscriptions", "msgraph-sdk", "aiohttp"),
    )
    command = [*python, str(PROGRAMS / program), *arguments]
    return json.loads(instance.run_on_host("web", command))


@pytest.mark.usefixtures("principal")
def test_sdk_manages_groups_resources_and_providers(instance: Instance) -> None:
    subscription = instance.status["subscription_id"]
    facts = _facts(instance, "groups.py", subscription, "peer-groups")
    assert facts.pop("providers") >= 4
    assert facts == {
        "made": ["peer-groups", "westeurope", {"use": "test"}, "Succeeded"],
        "exists": True,
        "changed": {"use": "more"},
        "shown": {"use": "more"},
        "listed": True,
        "by_tag": ["peer-groups"],
        "one_a_page": True,
        "generic": "generic",
        "inside": ["generic"],
        "of_kind": True,
        "provider": "Registered",
        "registered": "Registered",
        "subscriptions": [subscription],
        "subscription": "Enabled",
        "locations": True,
        "gone": [404, "ResourceGroupNotFound"],
    }


@pytest.mark.usefixtures("principal")
def test_sdk_manages_dns_zones_and_record_sets(instance: Instance) -> None:
    facts = _facts(instance, "dns_zones.py", instance.status["subscription_id"], "peer-dns")
    assert facts == {
        "zone": ["peer.test", "global", "Public", 2],
        "tags": {"use": "test"},
        "zones": ["peer.test"],
        "fqdn": "www.peer.test.",
        "exists": [412, "PreconditionFailed"],
        "texts": [["one"], ["two"]],
        "changed": [412, "PreconditionFailed"],
        "ttl": 7,
        "long": [400, "BadRequest"],
        "alias": [409, "Conflict"],
        "listed": ["NS/@", "SOA/@", "A/a", "TXT/www"],
        "of_type": ["www"],
        "servers": 4,
        "no_zone": _NOT_FOUND,
        "no_parent": [404, "ParentResourceNotFound"],
        "no_record": [404, "NotFound"],
        "gone": _NOT_FOUND,
    }


@pytest.mark.usefixtures("principal")
def test_sdk_manages_identities_credentials_and_roles(instance: Instance) -> None:
    subscription = instance.status["subscription_id"]
    facts = _facts(instance, "identities.py", subscription, "peer-identities")
    assert facts == {
        "made": ["app", "westeurope", "Microsoft.ManagedIdentity/userAssignedIdentities"],
        "shown": True,
        "changed": {"a": "b"},
        "of_group": ["app"],
        "everywhere": True,
        "trusted": "subject-0",
        "trusts": ["trust-0", "trust-1", "trust-2"],
        "one_a_page": ["trust-0", "trust-1", "trust-2"],
        "retold": "another",
        "twice": facts["twice"],
        "untrusted": facts["untrusted"],
        "reader": ["Reader", ["*/read"]],
        "assigned": True,
        "at_scope": facts["left"] + 1,
        "of_principal": [True],
        "by_id": True,
        "own": ["peer-identities", "CustomRole"],
        "left": facts["left"],
        "gone": _NOT_FOUND,
    }
    assert (facts["twice"][0], facts["untrusted"][0]) == (400, 404)


def test_sdk_manages_a_vault_and_its_secrets(instance: Instance, principal: str) -> None:
    status = instance.status
    ids = (status["subscription_id"], status["tenant_id"], principal)
    facts = _facts(instance, "vaults.py", *ids, "peer-vault")
    assert facts == {
        "free": True,
        "made": ["peer-vault", "https://peer-vault.vault.azure.net/", "Succeeded"],
        "shown": "westeurope",
        "of_group": ["peer-vault"],
        "everywhere": True,
        "as_resource": True,
        "changed": {"a": "b"},
        "policies": [["all", "purge"]],
        "value": "hello again",
        "first": "hello",
        "versions": 2,
        "secrets": ["greeting"],
        "off": False,
        "closed": [403, "Forbidden"],
        "deleted": "greeting",
        "deleted_ones": ["greeting"],
        "recovered": "hello again",
        "purged": [404, "SecretNotFound"],
        "restored": "greeting",
        "never": [404, "SecretNotFound"],
        "deleted_vault": True,
        "deleted_vaults": True,
        "purged_vault": facts["purged_vault"],
    }
    assert facts["purged_vault"][0] == 404


@pytest.mark.usefixtures("principal")
def test_sdk_manages_the_cluster(instance: Instance) -> None:
    subscription = instance.status["subscription_id"]
    assert _facts(instance, "clusters.py", subscription, "peer-clusters") == {
        "made": ["cluster", "Succeeded"],
        "issuer": instance.status["kubernetes"]["issuer"],
        "shown": True,
        "listed": ["cluster"],
        "of_group": ["cluster"],
        "user": [True],
        "admin": [True],
        "tagged": {"a": "b"},
        "versions": True,
        "gone": _NOT_FOUND,
    }


@pytest.mark.usefixtures("principal")
def test_graph_sdk_manages_applications_and_principals(instance: Instance) -> None:
    assert _facts(instance, "graph.py", "peer-application") == {
        "made": ["peer-application", "AzureADMyOrg"],
        "shown": True,
        "found": [1, [True]],
        "pages": True,
        "secret": ["s", True],
        "secrets": [["s", None]],
        "no_secrets": [],
        "trust": ["trust", "repo:a", ["api://AzureADTokenExchange"]],
        "twice": [409, "Request_MultipleObjectsWithSameKeyValue"],
        "retold": "repo:b",
        "trusts": ["trust"],
        "untrusted": [404, "Request_ResourceNotFound"],
        "principal": ["peer-application-2", "Application"],
        "roles": [True],
        "no_roles": [],
        "gone": [404, "Request_ResourceNotFound"],
        "me": [400, "BadRequest"],
    }
