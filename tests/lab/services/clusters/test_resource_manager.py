"""The managed cluster, over HTTP."""

import asyncio
import base64
from typing import Any

import pytest

from podpass.lab.cluster.backend import ClusterOperationRefused
from podpass.lab.services.clusters import wire as cluster_wire
from podpass.lab.services.clusters.store import Clusters

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
async def group(manager: Any) -> str:
    return str(await manager.group())


async def test_first_put_names_the_cluster(manager: Any) -> None:
    status, body, headers = await manager.send("PUT", ONE, cluster(**ON) | {"tags": {"a": "b"}})
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
        assert (await manager.send("GET", path, version=None))[0] == 200
    assert headers["Retry-After"] == "1"
    path = headers["Azure-AsyncOperation"].removeprefix("https://management.azure.com")
    assert (await manager.send("GET", path, version=None))[1]["status"] == "Succeeded"
    assert (await manager.send("GET", ONE))[1] == body
    for where in (ALL, f"{SUB}/providers/Microsoft.ContainerService/managedClusters"):
        assert (await manager.send("GET", where))[1]["value"] == [body]


async def test_second_cluster_is_rejected(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    status, body, _ = await manager.send("PUT", f"{ALL}/second", cluster(**ON))
    assert (status, body["error"]["code"]) == (409, "Conflict")
    assert ONE in body["error"]["message"]
    # After its deletion it can get another name; the running cluster continues.
    status, _, headers = await manager.send("DELETE", ONE)
    assert (status, "Azure-AsyncOperation" in headers) == (202, True)
    assert (await manager.send("DELETE", ONE))[0] == 204
    assert manager.cluster.workload_identity is True
    assert (await manager.send("PUT", f"{ALL}/second", cluster(**ON)))[0] == 201


async def test_contributor_of_a_group_cannot_claim_the_cluster(manager: Any) -> None:
    """Attack: a contributor of one group names the cluster and becomes its administrator."""
    await manager.add_caller("contributor", "Contributor", f"{SUB}/resourceGroups/rg")
    off = cluster(securityProfile=workload(False))
    assert await manager.refused("PUT", ONE, off, caller="contributor") == "403 AuthorizationFailed"
    assert (await manager.send("GET", ONE))[0] == 404
    assert manager.cluster.switched == []
    # Once a permitted caller has named it, a contributor of the group may write it.
    await manager.send("PUT", ONE, cluster(**ON))
    assert (await manager.send("PUT", ONE, cluster(**ON), caller="contributor"))[0] == 200


async def test_put_of_the_unchanged_cluster_succeeds(manager: Any) -> None:
    """`az aks update` sends the complete object with its changes."""
    _, body, _ = await manager.send("PUT", ONE, cluster(**ON))
    status, again, _ = await manager.send("PUT", ONE, body)
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
async def test_new_cluster_enables_or_disables_the_webhook(
    manager: Any, before: bool, asked: bool | None, after: bool, switched: list[bool]
) -> None:
    manager.cluster.workload_identity = before
    body = cluster(oidcIssuerProfile={"enabled": True}, securityProfile=workload(asked))
    _, answer, _ = await manager.send("PUT", ONE, body)
    assert answer["properties"]["securityProfile"]["workloadIdentity"] == {"enabled": after}
    assert (manager.cluster.workload_identity, manager.cluster.switched) == (after, switched)


async def test_update_disables_and_enables_the_webhook(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    for on in (False, True):
        body = cluster(securityProfile=workload(on))
        _, answer, _ = await manager.send("PUT", ONE, body)
        assert answer["properties"]["securityProfile"]["workloadIdentity"] == {"enabled": on}
        assert manager.cluster.workload_identity is on
    await manager.send("PUT", ONE, cluster())
    assert manager.cluster.switched == [False, True]


async def test_failed_webhook_switch_is_not_stored(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    manager.cluster.broken = True
    status, _, _ = await manager.send("PUT", ONE, cluster(securityProfile=workload(False)))
    assert status == 500
    _, body, _ = await manager.send("GET", ONE)
    assert body["properties"]["securityProfile"]["workloadIdentity"] == {"enabled": True}
    manager.cluster.broken = False
    assert (await manager.send("PUT", ONE, cluster(securityProfile=workload(False))))[0] == 200


async def test_failed_write_restores_the_webhook_state(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(manager.directory.store(Clusters), "put", full)
    assert (await manager.send("PUT", ONE, cluster(securityProfile=workload(False))))[0] == 500
    assert (manager.cluster.workload_identity, manager.cluster.switched) == (True, [False, True])


async def test_issuer_cannot_be_disabled_once_enabled(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    off = cluster(oidcIssuerProfile={"enabled": False})
    assert await manager.refused("PUT", ONE, off) == "400 OIDCIssuerFeatureCannotBeDisabled"
    assert (await manager.send("PUT", ONE, cluster(oidcIssuerProfile=None)))[0] == 200
    _, body, _ = await manager.send("GET", ONE)
    assert body["properties"]["oidcIssuerProfile"] == {"enabled": True, "issuerURL": ISSUER}


async def test_issuer_can_be_disabled_at_creation(manager: Any) -> None:
    off = cluster(oidcIssuerProfile={"enabled": False})
    _, body, _ = await manager.send("PUT", ONE, off)
    assert body["properties"]["oidcIssuerProfile"] == {"enabled": False}
    with_identity = cluster(oidcIssuerProfile={"enabled": False}, securityProfile=workload(True))
    assert await manager.refused("PUT", ONE, with_identity) == "400 OIDCIssuerNotEnabled"
    assert manager.cluster.workload_identity is False
    assert (await manager.send("PUT", ONE, cluster(**ON)))[0] == 200


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
async def test_invalid_cluster_is_rejected_and_changes_nothing(
    manager: Any, body: Any, code: str
) -> None:
    assert await manager.refused("PUT", ONE, body) == f"400 {code}"
    assert (await manager.send("GET", ONE))[0] == 404
    assert manager.cluster.switched == []


@pytest.mark.parametrize("version", ["1.33", "1.33.2", ""])
async def test_version_of_the_running_cluster_is_accepted(manager: Any, version: str) -> None:
    assert (await manager.send("PUT", ONE, cluster(kubernetesVersion=version)))[0] == 201


async def test_passwords_in_a_cluster_are_not_stored(manager: Any) -> None:
    body = cluster(
        servicePrincipalProfile={"clientId": "x", "secret": "s3cret"},
        windowsProfile={"adminUsername": "azure", "adminPassword": "s3cret"},
    )
    _, answer, _ = await manager.send("PUT", ONE, body)
    assert answer["properties"]["windowsProfile"] == {"adminUsername": "azure"}
    [kept] = await manager.directory.store(Clusters).page(SUB.rpartition("/")[2])
    assert "s3cret" not in str(kept)
    assert "s3cret" not in str(answer)


async def test_patch_changes_only_tags(manager: Any) -> None:
    _, made, _ = await manager.send("PUT", ONE, cluster(**ON))
    status, body, _ = await manager.send("PATCH", ONE, {"tags": {"x": "y"}})
    assert (status, body["tags"], body["properties"]) == (200, {"x": "y"}, made["properties"])
    assert await manager.refused("PUT", ONE, cluster("westus")) == "409 InvalidResourceLocation"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_write_with_a_stale_etag_is_rejected(manager: Any, method: str) -> None:
    _, made, _ = await manager.send("PUT", ONE, cluster(**ON))
    body = None if method == "DELETE" else cluster(**ON) | {"tags": {"new": "tag"}}
    for stale in ({"If-Match": '"stale"'}, {"If-None-Match": "*"}):
        assert await manager.refused(method, ONE, body, headers=stale) == "412 PreconditionFailed"
    assert (await manager.send("GET", ONE))[1] == made
    fresh = {"If-Match": f'"{made["eTag"]}"'}
    assert (await manager.send(method, ONE, body, headers=fresh))[0] in (200, 202)


async def test_if_match_and_if_none_match_apply_to_creation(manager: Any) -> None:
    answer = await manager.send("PUT", ONE, cluster(), headers={"If-Match": "*"})
    assert answer[0] == 412
    answer = await manager.send("PUT", ONE, cluster(), headers={"If-None-Match": "*"})
    assert answer[0] == 201


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("listClusterUserCredential", "clusterUser"),
        ("listClusterAdminCredential", "clusterAdmin"),
        ("listClusterMonitoringUserCredential", "clusterMonitoringUser"),
    ],
)
async def test_credentials_are_an_audited_kubeconfig(manager: Any, verb: str, name: str) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    status, body, _ = await manager.send("POST", f"{ONE}/{verb}")
    assert status == 200
    [one] = body["kubeconfigs"]
    shown = f"clusters: [{{name: aks}}]\nuser: {name}_rg_aks\nentra: False\n"
    assert (one["name"], base64.b64decode(one["value"])) == (name, shown.encode())
    [entry] = await manager.directory.audit.list(limit=1)
    assert (entry.actor_name, entry.target) == ("admin@contoso.example", ONE)
    assert entry.action == f"Microsoft.ContainerService/managedClusters/{verb}/action"
    await manager.add_caller("reader", "Reader")
    assert (await manager.send("POST", f"{ONE}/{verb}", caller="reader"))[0] == 403


async def test_only_the_user_of_a_cluster_with_entra_integration_signs_in_to_entra(
    manager: Any,
) -> None:
    await manager.send("PUT", ONE, cluster(**ON, aadProfile={"managed": True}))
    found = {}
    for verb in ("listClusterUserCredential", "listClusterAdminCredential"):
        _, body, _ = await manager.send("POST", f"{ONE}/{verb}")
        found[verb] = b"entra: True" in base64.b64decode(body["kubeconfigs"][0]["value"])
    path = f"{ONE}/accessProfiles/clusterUser/listCredential"
    _, body, _ = await manager.send("POST", path)
    found["profile"] = b"entra: True" in base64.b64decode(body["properties"]["kubeConfig"])
    assert list(found.values()) == [True, False, True]


async def test_cluster_without_local_accounts_has_no_static_credentials(manager: Any) -> None:
    body = cluster(**ON, aadProfile={"managed": True}, disableLocalAccounts=True)
    _, shown, _ = await manager.send("PUT", ONE, body)
    assert shown["properties"]["aadProfile"]["tenantID"]
    found = {
        verb: await manager.send("POST", f"{ONE}/list{verb}Credential")
        for verb in ("ClusterUser", "ClusterAdmin", "ClusterMonitoringUser")
    }
    assert [status for status, _, _ in found.values()] == [200, 400, 400]
    assert found["ClusterAdmin"][1]["error"]["code"] == "BadRequest"


async def test_access_profile_returns_a_kubeconfig(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    path = f"{ONE}/accessProfiles/clusterUser/listCredential"
    _, body, _ = await manager.send("POST", path)
    assert base64.b64decode(body["properties"]["kubeConfig"]).startswith(b"clusters")
    [entry] = await manager.directory.audit.list(limit=1)
    assert entry.action.endswith("/accessProfiles/listCredential/action")
    assert (await manager.send("POST", path.replace("User", "King")))[0] == 404


async def test_command_runs_as_administrator_or_as_the_user_of_an_entra_cluster(
    manager: Any,
) -> None:
    """Fails if a caller of a cluster with Entra integration runs commands as its administrator."""
    await manager.send("PUT", ONE, cluster(**ON))
    body = {"command": "kubectl get pods", "context": "", "clusterToken": "t"}
    status, _, headers = await manager.send("POST", f"{ONE}/runCommand", body)
    place = headers["Location"].removeprefix("https://management.azure.com").partition("?")[0]
    assert (status, place) == (202, f"{ONE}/commandResults/{'0' * 32}")
    [entry] = await manager.directory.audit.list(limit=1)
    assert (entry.action, entry.target) == (
        "Microsoft.ContainerService/managedClusters/runCommand/action",
        ONE,
    )
    status, found, headers = await manager.send("GET", place)
    assert (status, found["properties"]["provisioningState"]) == (202, "Running")
    assert place in headers["Location"]
    assert (await manager.send("GET", f"{ONE}/commandResults/1"))[0] == 404
    await manager.send("PUT", ONE, cluster(**ON, aadProfile={"managed": True}))
    await manager.send("POST", f"{ONE}/runCommand", body)
    status, answer, _ = await manager.send("POST", f"{ONE}/runCommand", {"command": "id"})
    assert (status, answer["error"]["code"]) == (400, "InvalidParameter")
    assert manager.cluster.commands == [("kubectl get pods", ""), ("kubectl get pods", "t")]
    status, _, _ = await manager.send("POST", f"{ONE}/runCommand", body | {"context": "UEsFBg"})
    assert status == 501
    manager.cluster.refusal = ClusterOperationRefused("it is not managed", status=501)
    assert await manager.refused("POST", f"{ONE}/runCommand", body) == "501 NotImplemented"
    await manager.add_caller("reader", "Reader")
    status, _, _ = await manager.send("POST", f"{ONE}/runCommand", body, caller="reader")
    assert status == 403


async def test_cluster_subresources_are_readable(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    _, body, _ = await manager.send("GET", f"{ONE}/agentPools")
    [pool] = body["value"]
    assert (pool["name"], pool["properties"]["count"]) == ("nodepool1", 3)
    assert (await manager.send("GET", f"{ONE}/agentPools/nodepool1"))[1] == pool
    assert (await manager.send("GET", f"{ONE}/agentPools/other"))[0] == 404
    assert await manager.refused("PUT", f"{ONE}/agentPools/two") == "501 NotImplemented"
    _, body, _ = await manager.send("GET", f"{ONE}/upgradeProfiles/default")
    assert body["properties"]["controlPlaneProfile"]["kubernetesVersion"] == "1.33.2"
    _, body, _ = await manager.send("GET", f"{ONE}/availableAgentPoolVersions")
    assert body["properties"]["agentPoolVersions"][0]["kubernetesVersion"] == "1.33.2"
    versions = f"{SUB}/providers/Microsoft.ContainerService/locations/eastus/kubernetesVersions"
    _, body, _ = await manager.send("GET", versions)
    assert body["values"][0]["patchVersions"] == {"1.33.2": {"upgrades": []}}
    assert (await manager.send("GET", versions.replace("eastus", "atlantis")))[0] == 404
    _, body, _ = await manager.send("GET", versions.replace("kubernetesVersions", "orchestrators"))
    assert body["properties"]["orchestrators"][0]["orchestratorVersion"] == "1.33.2"


async def test_concurrent_cluster_write_is_rejected(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(on: bool) -> None:
        await asyncio.sleep(0.05)
        manager.cluster.workload_identity = on

    monkeypatch.setattr(manager.cluster, "set_workload_identity", slow)
    body = cluster(securityProfile=workload(False))
    answers = await asyncio.gather(*(manager.send("PUT", ONE, body) for _ in range(2)))
    assert sorted(status for status, _, _ in answers) == [201, 409]
    [refused] = [answer for status, answer, _ in answers if status == 409]
    assert refused["error"]["code"] == "OperationNotAllowed"
    assert (await manager.send("PUT", ONE, body))[0] == 200


async def test_cluster_and_its_roles_are_deleted_with_the_resource_group(manager: Any) -> None:
    await manager.send("PUT", ONE, cluster(**ON))
    await manager.send("DELETE", f"{SUB}/resourceGroups/rg")
    assert await manager.refused("GET", ONE) == "404 ResourceGroupNotFound"
    await manager.group("fresh")
    assert (await manager.send("PUT", ONE.replace("/rg/", "/fresh/"), cluster(**ON)))[0] == 201


@pytest.mark.parametrize("gone", [ONE, f"{SUB}/resourceGroups/rg"])
async def test_deleting_the_cluster_enables_the_webhook(manager: Any, gone: str) -> None:
    """As in an instance without a cluster resource, and as after the next start."""
    await manager.send("PUT", ONE, cluster(securityProfile=workload(False)))
    assert manager.cluster.workload_identity is False
    assert (await manager.send("DELETE", gone))[0] == 202
    assert manager.cluster.workload_identity is True


async def test_failed_delete_of_the_cluster_keeps_the_webhook_disabled(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise OSError

    await manager.send("PUT", ONE, cluster(securityProfile=workload(False)))
    monkeypatch.setattr(manager.directory.store(Clusters), "delete", broken)
    assert (await manager.send("DELETE", ONE))[0] == 500
    assert manager.cluster.workload_identity is False


async def test_deleting_a_group_without_the_cluster_does_not_switch_the_webhook(
    manager: Any,
) -> None:
    await manager.group("other")
    await manager.send("PUT", ONE, cluster(securityProfile=workload(False)))
    assert (await manager.send("DELETE", f"{SUB}/resourceGroups/other"))[0] == 202
    assert manager.cluster.workload_identity is False


@pytest.mark.parametrize("on", [True, False])
def test_stored_workload_identity_state_is_read_back(on: bool) -> None:
    noted = cluster_wire.record_features({"properties": {}}, issuer=True, workload_identity=on)
    assert cluster_wire.is_workload_identity_enabled(noted) is on
    # A cluster without a name gives its pods identities.
    assert cluster_wire.is_workload_identity_enabled({}) is True
