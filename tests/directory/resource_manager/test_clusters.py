"""The one managed cluster, request by request."""

import asyncio
import base64
from typing import Any

import pytest

from podpass.directory.resource_manager import cluster_wire

SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
ALL = f"{SUB}/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters"
ONE = f"{ALL}/aks"
ISSUER = "https://eastus.oic.prod-aks.azure.com/tenant/cluster/"


def cluster(location: str = "eastus", **more: Any) -> dict[str, Any]:
    properties = {
        "dnsPrefix": "aks-rg",
        "agentPoolProfiles": [{"name": "nodepool1", "count": 3, "vmSize": "Standard_D4s_v5"}],
        **more,
    }
    return {"location": location, "properties": properties, "identity": {"type": "SystemAssigned"}}


def workload(on: bool | None) -> dict[str, Any]:
    return {"workloadIdentity": None if on is None else {"enabled": on}}


ON: dict[str, Any] = {"oidcIssuerProfile": {"enabled": True}, "securityProfile": workload(True)}


@pytest.fixture(autouse=True)
async def group(world: Any) -> str:
    return str(await world.group())


async def test_the_cluster_is_named_by_the_first_who_writes_it(world: Any) -> None:
    status, body, headers = await world.ask("PUT", ONE, cluster(**ON) | {"tags": {"a": "b"}})
    assert (status, body["id"], body["tags"]) == (201, ONE, {"a": "b"})
    properties = body["properties"]
    assert properties["provisioningState"] == "Succeeded"
    assert properties["oidcIssuerProfile"] == {"enabled": True, "issuerURL": ISSUER}
    assert properties["securityProfile"]["workloadIdentity"] == {"enabled": True}
    assert properties["kubernetesVersion"] == "1.33.2"
    assert properties["nodeResourceGroup"] == "MC_rg_aks_eastus"
    assert properties["fqdn"].startswith("aks-rg-")
    assert {"resourceId", "clientId", "objectId"} == set(
        properties["identityProfile"]["kubeletidentity"]
    )
    [pool] = properties["agentPoolProfiles"]
    assert (pool["count"], pool["vmSize"], pool["provisioningState"]) == (
        3,
        "Standard_D4s_v5",
        "Succeeded",
    )
    assert body["identity"]["principalId"]
    for name in ("Azure-AsyncOperation", "Location"):
        path = headers[name].removeprefix("https://management.azure.com")
        assert (await world.ask("GET", path, version=None))[0] == 200
    assert headers["Retry-After"] == "1"
    path = headers["Azure-AsyncOperation"].removeprefix("https://management.azure.com")
    assert (await world.ask("GET", path, version=None))[1]["status"] == "Succeeded"
    assert (await world.ask("GET", ONE))[1] == body
    for where in (ALL, f"{SUB}/providers/Microsoft.ContainerService/managedClusters"):
        assert (await world.ask("GET", where))[1]["value"] == [body]


async def test_there_is_one_cluster(world: Any) -> None:
    await world.ask("PUT", ONE, cluster(**ON))
    status, body, _ = await world.ask("PUT", f"{ALL}/second", cluster(**ON))
    assert (status, body["error"]["code"]) == (409, "Conflict")
    assert ONE in body["error"]["message"]
    # Forgotten, it can be named again; the cluster itself goes on.
    status, _, headers = await world.ask("DELETE", ONE)
    assert (status, "Azure-AsyncOperation" in headers) == (202, True)
    assert (await world.ask("DELETE", ONE))[0] == 204
    assert world.cluster.workload_identity is True
    assert (await world.ask("PUT", f"{ALL}/second", cluster(**ON)))[0] == 201


async def test_the_instances_cluster_is_not_given_to_whoever_may_write_in_a_group(
    world: Any,
) -> None:
    """Attack: the contributor of one group names the cluster, and so becomes its administrator."""
    await world.caller("contributor", "Contributor", f"{SUB}/resourceGroups/rg")
    off = cluster(securityProfile=workload(False))
    status, body, _ = await world.ask("PUT", ONE, off, who="contributor")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    assert (await world.ask("GET", ONE))[0] == 404
    assert world.cluster.switched == []
    # Once somebody who may has named it there, it is written like anything else in the group.
    await world.ask("PUT", ONE, cluster(**ON))
    assert (await world.ask("PUT", ONE, cluster(**ON), who="contributor"))[0] == 200


async def test_what_a_client_read_it_can_write_back(world: Any) -> None:
    """`az aks update` sends the whole object again, changed."""
    _, body, _ = await world.ask("PUT", ONE, cluster(**ON))
    status, again, _ = await world.ask("PUT", ONE, body)
    assert (status, again) == (200, body)


@pytest.mark.parametrize(
    ("before", "asked", "after", "switched"),
    [
        (True, False, False, [False]),
        (True, True, True, []),
        (False, True, True, [True]),
        (True, None, False, [False]),
        (False, None, False, []),
    ],
)
async def test_a_new_cluster_really_switches_the_webhook(
    world: Any, before: bool, asked: bool | None, after: bool, switched: list[bool]
) -> None:
    world.cluster.workload_identity = before
    body = cluster(oidcIssuerProfile={"enabled": True}, securityProfile=workload(asked))
    _, answer, _ = await world.ask("PUT", ONE, body)
    assert answer["properties"]["securityProfile"]["workloadIdentity"] == {"enabled": after}
    assert (world.cluster.workload_identity, world.cluster.switched) == (after, switched)


async def test_an_update_switches_the_webhook_off_and_on(world: Any) -> None:
    await world.ask("PUT", ONE, cluster(**ON))
    for on in (False, True):
        body = cluster(securityProfile=workload(on))
        _, answer, _ = await world.ask("PUT", ONE, body)
        assert answer["properties"]["securityProfile"]["workloadIdentity"] == {"enabled": on}
        assert world.cluster.workload_identity is on
    await world.ask("PUT", ONE, cluster())
    assert world.cluster.switched == [False, True]


async def test_what_cannot_be_switched_is_not_said_to_be(world: Any) -> None:
    await world.ask("PUT", ONE, cluster(**ON))
    world.cluster.broken = True
    status, _, _ = await world.ask("PUT", ONE, cluster(securityProfile=workload(False)))
    assert status == 500
    _, body, _ = await world.ask("GET", ONE)
    assert body["properties"]["securityProfile"]["workloadIdentity"] == {"enabled": True}
    world.cluster.broken = False
    assert (await world.ask("PUT", ONE, cluster(securityProfile=workload(False))))[0] == 200


async def test_a_write_that_fails_switches_the_webhook_back(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(world.directory.clusters, "put", full)
    assert (await world.ask("PUT", ONE, cluster(securityProfile=workload(False))))[0] == 500
    assert (world.cluster.workload_identity, world.cluster.switched) == (True, [False, True])


async def test_the_issuer_stays_once_it_is_on(world: Any) -> None:
    await world.ask("PUT", ONE, cluster(**ON))
    off = cluster(oidcIssuerProfile={"enabled": False})
    status, body, _ = await world.ask("PUT", ONE, off)
    assert (status, body["error"]["code"]) == (400, "OIDCIssuerFeatureCannotBeDisabled")
    assert (await world.ask("PUT", ONE, cluster(oidcIssuerProfile=None)))[0] == 200
    _, body, _ = await world.ask("GET", ONE)
    assert body["properties"]["oidcIssuerProfile"] == {"enabled": True, "issuerURL": ISSUER}


async def test_the_issuer_can_begin_off(world: Any) -> None:
    off = cluster(oidcIssuerProfile={"enabled": False})
    _, body, _ = await world.ask("PUT", ONE, off)
    assert body["properties"]["oidcIssuerProfile"] == {"enabled": False}
    with_identity = cluster(oidcIssuerProfile={"enabled": False}, securityProfile=workload(True))
    status, body, _ = await world.ask("PUT", ONE, with_identity)
    assert (status, body["error"]["code"]) == (400, "OIDCIssuerNotEnabled")
    assert world.cluster.workload_identity is False
    assert (await world.ask("PUT", ONE, cluster(**ON)))[0] == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "LocationRequired"),
        ({"location": "eastus"}, "InvalidParameter"),
        (cluster(agentPoolProfiles=[]), "InvalidParameter"),
        (cluster(agentPoolProfiles={}), "InvalidRequestContent"),
        (cluster(agentPoolProfiles=[{"name": "Pool_1"}]), "InvalidParameter"),
        (cluster(agentPoolProfiles=[{"name": "x" * 13}]), "InvalidParameter"),
        (cluster(kubernetesVersion="1.20.1"), "K8sVersionNotSupported"),
        (cluster(kubernetesVersion="1.3"), "K8sVersionNotSupported"),
        (cluster(oidcIssuerProfile={"enabled": "yes"}), "InvalidRequestContent"),
        (cluster(securityProfile=[]), "InvalidRequestContent"),
        (cluster("atlantis"), "LocationNotAvailableForResourceType"),
    ],
)
async def test_a_body_that_is_no_cluster_changes_nothing(world: Any, body: Any, code: str) -> None:
    status, answer, _ = await world.ask("PUT", ONE, body)
    assert (status, answer["error"]["code"]) == (400, code)
    assert (await world.ask("GET", ONE))[0] == 404
    assert world.cluster.switched == []


@pytest.mark.parametrize("version", ["1.33", "1.33.2", ""])
async def test_the_clusters_own_version_can_be_asked_for(world: Any, version: str) -> None:
    assert (await world.ask("PUT", ONE, cluster(kubernetesVersion=version)))[0] == 201


async def test_passwords_that_are_sent_are_not_kept(world: Any) -> None:
    body = cluster(
        servicePrincipalProfile={"clientId": "x", "secret": "s3cret"},
        windowsProfile={"adminUsername": "azure", "adminPassword": "s3cret"},
    )
    _, answer, _ = await world.ask("PUT", ONE, body)
    assert answer["properties"]["windowsProfile"] == {"adminUsername": "azure"}
    [kept] = await world.directory.clusters.page(SUB.rpartition("/")[2])
    assert "s3cret" not in str(kept)
    assert "s3cret" not in str(answer)


async def test_tags_are_changed_alone(world: Any) -> None:
    _, made, _ = await world.ask("PUT", ONE, cluster(**ON))
    status, body, _ = await world.ask("PATCH", ONE, {"tags": {"x": "y"}})
    assert (status, body["tags"], body["properties"]) == (200, {"x": "y"}, made["properties"])
    status, body, _ = await world.ask("PUT", ONE, cluster("westus"))
    assert (status, body["error"]["code"]) == (409, "InvalidResourceLocation")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_write_can_be_bound_to_what_was_read(world: Any, method: str) -> None:
    _, made, _ = await world.ask("PUT", ONE, cluster(**ON))
    body = None if method == "DELETE" else cluster(**ON) | {"tags": {"new": "tag"}}
    for stale in ({"If-Match": '"stale"'}, {"If-None-Match": "*"}):
        status, answer, _ = await world.ask(method, ONE, body, headers=stale)
        assert (status, answer["error"]["code"]) == (412, "PreconditionFailed")
    assert (await world.ask("GET", ONE))[1] == made
    fresh = {"If-Match": f'"{made["eTag"]}"'}
    assert (await world.ask(method, ONE, body, headers=fresh))[0] in (200, 202)


async def test_a_cluster_can_be_made_only_if_it_is_there_or_not(world: Any) -> None:
    answer = await world.ask("PUT", ONE, cluster(), headers={"If-Match": "*"})
    assert answer[0] == 412
    answer = await world.ask("PUT", ONE, cluster(), headers={"If-None-Match": "*"})
    assert answer[0] == 201


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("listClusterUserCredential", "clusterUser"),
        ("listClusterAdminCredential", "clusterAdmin"),
        ("listClusterMonitoringUserCredential", "clusterMonitoringUser"),
    ],
)
async def test_credentials_are_a_kubeconfig(world: Any, verb: str, name: str) -> None:
    await world.ask("PUT", ONE, cluster(**ON))
    status, body, _ = await world.ask("POST", f"{ONE}/{verb}")
    assert status == 200
    [one] = body["kubeconfigs"]
    assert (one["name"], base64.b64decode(one["value"])) == (name, b"clusters: [{name: aks}]\n")
    [entry] = await world.directory.audit.list(limit=1)
    assert (entry.actor_name, entry.target) == ("admin@contoso.example", ONE)
    assert entry.action == f"Microsoft.ContainerService/managedClusters/{verb}/action"
    await world.caller("reader", "Reader")
    assert (await world.ask("POST", f"{ONE}/{verb}", who="reader"))[0] == 403


async def test_access_profiles_give_the_same(world: Any) -> None:
    await world.ask("PUT", ONE, cluster(**ON))
    path = f"{ONE}/accessProfiles/clusterUser/listCredential"
    _, body, _ = await world.ask("POST", path)
    assert base64.b64decode(body["properties"]["kubeConfig"]).startswith(b"clusters")
    [entry] = await world.directory.audit.list(limit=1)
    assert entry.action.endswith("/accessProfiles/listCredential/action")
    assert (await world.ask("POST", path.replace("User", "King")))[0] == 404


async def test_what_lies_beside_the_cluster_is_shown(world: Any) -> None:
    await world.ask("PUT", ONE, cluster(**ON))
    _, body, _ = await world.ask("GET", f"{ONE}/agentPools")
    [pool] = body["value"]
    assert (pool["name"], pool["properties"]["count"]) == ("nodepool1", 3)
    assert (await world.ask("GET", f"{ONE}/agentPools/nodepool1"))[1] == pool
    assert (await world.ask("GET", f"{ONE}/agentPools/other"))[0] == 404
    status, body, _ = await world.ask("PUT", f"{ONE}/agentPools/two")
    assert (status, body["error"]["code"]) == (501, "NotImplemented")
    _, body, _ = await world.ask("GET", f"{ONE}/upgradeProfiles/default")
    assert body["properties"]["controlPlaneProfile"]["kubernetesVersion"] == "1.33.2"
    _, body, _ = await world.ask("GET", f"{ONE}/availableAgentPoolVersions")
    assert body["properties"]["agentPoolVersions"][0]["kubernetesVersion"] == "1.33.2"
    versions = f"{SUB}/providers/Microsoft.ContainerService/locations/eastus/kubernetesVersions"
    _, body, _ = await world.ask("GET", versions)
    assert body["values"][0]["patchVersions"] == {"1.33.2": {"upgrades": []}}
    assert (await world.ask("GET", versions.replace("eastus", "atlantis")))[0] == 404
    _, body, _ = await world.ask("GET", versions.replace("kubernetesVersions", "orchestrators"))
    assert body["properties"]["orchestrators"][0]["orchestratorVersion"] == "1.33.2"


async def test_two_writes_at_once_are_one_too_many(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(on: bool) -> None:
        await asyncio.sleep(0.05)
        world.cluster.workload_identity = on

    monkeypatch.setattr(world.cluster, "set_workload_identity", slow)
    body = cluster(securityProfile=workload(False))
    answers = await asyncio.gather(*(world.ask("PUT", ONE, body) for _ in range(2)))
    assert sorted(status for status, _, _ in answers) == [201, 409]
    [refused] = [answer for status, answer, _ in answers if status == 409]
    assert refused["error"]["code"] == "OperationNotAllowed"
    assert (await world.ask("PUT", ONE, body))[0] == 200


async def test_the_cluster_goes_with_its_group_and_its_groups_roles(world: Any) -> None:
    await world.ask("PUT", ONE, cluster(**ON))
    await world.ask("DELETE", f"{SUB}/resourceGroups/rg")
    status, body, _ = await world.ask("GET", ONE)
    assert (status, body["error"]["code"]) == (404, "ResourceGroupNotFound")
    await world.group("fresh")
    assert (await world.ask("PUT", ONE.replace("/rg/", "/fresh/"), cluster(**ON)))[0] == 201


@pytest.mark.parametrize("gone", [ONE, f"{SUB}/resourceGroups/rg"])
async def test_pods_get_identities_again_when_the_cluster_is_gone(world: Any, gone: str) -> None:
    """As in an instance that never had one here, and as after its next start."""
    await world.ask("PUT", ONE, cluster(securityProfile=workload(False)))
    assert world.cluster.workload_identity is False
    assert (await world.ask("DELETE", gone))[0] == 202
    assert world.cluster.workload_identity is True


async def test_a_cluster_that_cannot_be_deleted_leaves_the_webhook_off(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise OSError

    await world.ask("PUT", ONE, cluster(securityProfile=workload(False)))
    monkeypatch.setattr(world.directory.clusters, "delete", broken)
    assert (await world.ask("DELETE", ONE))[0] == 500
    assert world.cluster.workload_identity is False


async def test_a_group_without_the_cluster_leaves_the_webhook_alone(world: Any) -> None:
    await world.group("other")
    await world.ask("PUT", ONE, cluster(securityProfile=workload(False)))
    assert (await world.ask("DELETE", f"{SUB}/resourceGroups/other"))[0] == 202
    assert world.cluster.workload_identity is False


@pytest.mark.parametrize("on", [True, False])
def test_what_is_noted_of_workload_identity_is_read_back(on: bool) -> None:
    noted = cluster_wire.decided({"properties": {}}, issuer=True, workload_identity=on)
    assert cluster_wire.workload_identity_on(noted) is on
    # A cluster nobody has named yet gives its pods identities.
    assert cluster_wire.workload_identity_on({}) is True
