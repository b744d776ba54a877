"""What clients read beside the cluster itself: pools, versions, upgrades, access profiles."""

from typing import Any

from podpass.directory.resource_manager import cluster_wire, clusters, locations, refusals, wire
from podpass.directory.resource_manager.cluster_wire import TYPE
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route

_PROFILES = {"clusteradmin": "clusterAdmin", "clusteruser": "clusterUser"}
_LIST_CREDENTIAL = f"{TYPE}/accessProfiles/listCredential/action"


async def _pools(call: Call) -> Answer:
    cluster = await clusters.found(call)
    shown = cluster_wire.write(call, call.cluster, cluster)["properties"]["agentPoolProfiles"]
    return wire.whole(cluster_wire.write_pool(cluster, one) for one in shown)


async def _pool(call: Call) -> Answer:
    cluster = await clusters.found(call)
    shown = cluster_wire.write(call, call.cluster, cluster)["properties"]["agentPoolProfiles"]
    for one in shown:
        if one["name"] == call.params["pool"].lower():
            return Answer(body=cluster_wire.write_pool(cluster, one))
    text = f"The cluster '{cluster.name}' has no agent pool '{call.params['pool']}'."
    raise refusals.missing("NotFound", text)


async def _no_pools(call: Call) -> Answer:
    await clusters.found(call)
    raise refusals.ManagerRefusal(
        501,
        "NotImplemented",
        "podpass's cluster runs on its one node; agent pools are shown as they were asked for with the"
        " cluster, and cannot be changed.",
    )


async def _versions(call: Call) -> Answer:
    if locations.short(call.params["location"]) not in locations.BY_NAME:
        text = f"There is no location '{call.params['location']}'."
        raise refusals.missing("NotFound", text)
    version = call.cluster.kubernetes_version
    shown = {
        "version": version.rpartition(".")[0] or version,
        "isDefault": True,
        "isPreview": False,
        "capabilities": {"supportPlan": ["KubernetesOfficial"]},
        "patchVersions": {version: {"upgrades": []}},
    }
    return Answer(body={"values": [shown]})


async def _orchestrators(call: Call) -> Answer:
    """List versions as az did before there were `kubernetesVersions`."""
    version = {
        "orchestratorType": "Kubernetes",
        "orchestratorVersion": call.cluster.kubernetes_version,
        "default": True,
        "upgrades": [],
    }
    body: dict[str, Any] = {
        "id": call.path,
        "name": "default",
        "type": "Microsoft.ContainerService/locations/orchestrators",
        "properties": {"orchestrators": [version]},
    }
    return Answer(body=body)


async def _upgrades(call: Call) -> Answer:
    cluster = await clusters.found(call)
    here = {"kubernetesVersion": call.cluster.kubernetes_version, "osType": "Linux", "upgrades": []}
    pools = cluster.document.get("properties", {}).get("agentPoolProfiles") or ()
    body: dict[str, Any] = {
        "id": f"{cluster.resource_id}/upgradeprofiles/default",
        "name": "default",
        "type": f"{TYPE}/upgradeProfiles",
        "properties": {
            "controlPlaneProfile": here,
            "agentPoolProfiles": [{**here, "name": one["name"]} for one in pools],
        },
    }
    return Answer(body=body)


async def _pool_versions(call: Call) -> Answer:
    cluster = await clusters.found(call)
    version = {"default": True, "kubernetesVersion": call.cluster.kubernetes_version}
    body: dict[str, Any] = {
        "id": f"{cluster.resource_id}/availableagentpoolversions",
        "name": "default",
        "type": f"{TYPE}/availableAgentpoolVersions",
        "properties": {"agentPoolVersions": [version]},
    }
    return Answer(body=body)


async def _access_profile(call: Call) -> Answer:
    cluster = await clusters.found(call)
    role = _PROFILES.get(call.params["role"].lower())
    if role is None:
        text = f"There is no access profile '{call.params['role']}'."
        raise refusals.missing("NotFound", text)
    value = await clusters.kubeconfig(call, cluster, _LIST_CREDENTIAL)
    body: dict[str, Any] = {
        "id": f"{cluster.resource_id}/accessProfiles/{role}",
        "name": role,
        "type": f"{TYPE}/accessProfiles",
        "location": cluster.location,
        "properties": {"kubeConfig": value},
    }
    return Answer(body=body)


async def _none(call: Call) -> Answer:
    await clusters.found(call)
    return wire.whole(())


_SUB = "/subscriptions/{subscription}"
_ONE = f"{_SUB}/resourceGroups/{{group}}/providers/{TYPE}/{{name}}"
_POOLS = f"{TYPE}/agentPools"


def _route(method: str, path: str, title: str, action: str, run: Any) -> Route:
    return Route(method=method, path=path, operation=Operation(title=title, action=action, run=run))


ROUTES = (
    _route("GET", f"{_ONE}/agentPools", "list agent pools", f"{_POOLS}/read", _pools),
    _route("GET", f"{_ONE}/agentPools/{{pool}}", "show agent pool", f"{_POOLS}/read", _pool),
    _route("PUT", f"{_ONE}/agentPools/{{pool}}", "write agent pool", f"{_POOLS}/write", _no_pools),
    _route(
        "DELETE", f"{_ONE}/agentPools/{{pool}}", "delete agent pool", f"{_POOLS}/delete", _no_pools
    ),
    _route(
        "GET",
        f"{_SUB}/providers/Microsoft.ContainerService/locations/{{location}}/kubernetesVersions",
        "list Kubernetes versions",
        "Microsoft.ContainerService/locations/kubernetesVersions/read",
        _versions,
    ),
    _route(
        "GET",
        f"{_SUB}/providers/Microsoft.ContainerService/locations/{{location}}/orchestrators",
        "list Kubernetes versions",
        "Microsoft.ContainerService/locations/orchestrators/read",
        _orchestrators,
    ),
    _route(
        "GET",
        f"{_ONE}/upgradeProfiles/default",
        "show upgrades of cluster",
        f"{TYPE}/upgradeProfiles/read",
        _upgrades,
    ),
    _route(
        "GET",
        f"{_ONE}/availableAgentPoolVersions",
        "list versions for agent pools",
        f"{TYPE}/availableAgentPoolVersions/read",
        _pool_versions,
    ),
    _route(
        "GET",
        f"{_ONE}/maintenanceConfigurations",
        "list maintenance, of which there is none",
        f"{TYPE}/maintenanceConfigurations/read",
        _none,
    ),
    _route(
        "POST",
        f"{_ONE}/accessProfiles/{{role}}/listCredential",
        "get credentials of access profile",
        _LIST_CREDENTIAL,
        _access_profile,
    ),
)
