"""Sub-resources of the cluster: agent pools, versions, upgrade profiles, access profiles."""

from typing import Any

from podpass.directory.resource_manager import errors, locations, wire
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
)
from podpass.lab.services.clusters import resource_manager as clusters
from podpass.lab.services.clusters import wire as cluster_wire
from podpass.lab.services.clusters.context import cluster_of
from podpass.lab.services.clusters.model import TYPE

_PROFILES = {"clusteradmin": "clusterAdmin", "clusteruser": "clusterUser"}
_LIST_CREDENTIAL = f"{TYPE}/accessProfiles/listCredential/action"


async def _list_pools(context: OperationContext) -> ManagerResponse:
    cluster = await clusters.require(context)
    shown = cluster_wire.to_json(context, cluster_of(context), cluster)["properties"][
        "agentPoolProfiles"
    ]
    return wire.list_response(cluster_wire.pool_to_json(cluster, one) for one in shown)


async def _get_pool(context: OperationContext) -> ManagerResponse:
    cluster = await clusters.require(context)
    shown = cluster_wire.to_json(context, cluster_of(context), cluster)["properties"][
        "agentPoolProfiles"
    ]
    for one in shown:
        if one["name"] == context.params["pool"].lower():
            return ManagerResponse(body=cluster_wire.pool_to_json(cluster, one))
    text = f"The cluster '{cluster.name}' has no agent pool '{context.params['pool']}'."
    raise errors.not_found("NotFound", text)


async def _reject_pool_change(context: OperationContext) -> ManagerResponse:
    await clusters.require(context)
    raise errors.ManagerError(
        501,
        "NotImplemented",
        "The cluster of podpass runs on one node. Its agent pools are shown as the request that created the"
        " cluster described them, and cannot be changed.",
    )


async def _list_versions(context: OperationContext) -> ManagerResponse:
    if locations.normalize(context.params["location"]) not in locations.BY_NAME:
        text = f"There is no location '{context.params['location']}'."
        raise errors.not_found("NotFound", text)
    version = cluster_of(context).kubernetes_version
    shown = {
        "version": version.rpartition(".")[0] or version,
        "isDefault": True,
        "isPreview": False,
        "capabilities": {"supportPlan": ["KubernetesOfficial"]},
        "patchVersions": {version: {"upgrades": []}},
    }
    return ManagerResponse(body={"values": [shown]})


async def _list_orchestrators(context: OperationContext) -> ManagerResponse:
    """List versions for releases of az that do not use `kubernetesVersions`."""
    version = {
        "orchestratorType": "Kubernetes",
        "orchestratorVersion": cluster_of(context).kubernetes_version,
        "default": True,
        "upgrades": [],
    }
    body: dict[str, Any] = {
        "id": context.path,
        "name": "default",
        "type": "Microsoft.ContainerService/locations/orchestrators",
        "properties": {"orchestrators": [version]},
    }
    return ManagerResponse(body=body)


async def _get_upgrade_profile(context: OperationContext) -> ManagerResponse:
    cluster = await clusters.require(context)
    here = {
        "kubernetesVersion": cluster_of(context).kubernetes_version,
        "osType": "Linux",
        "upgrades": [],
    }
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
    return ManagerResponse(body=body)


async def _list_pool_versions(context: OperationContext) -> ManagerResponse:
    cluster = await clusters.require(context)
    version = {"default": True, "kubernetesVersion": cluster_of(context).kubernetes_version}
    body: dict[str, Any] = {
        "id": f"{cluster.resource_id}/availableagentpoolversions",
        "name": "default",
        "type": f"{TYPE}/availableAgentpoolVersions",
        "properties": {"agentPoolVersions": [version]},
    }
    return ManagerResponse(body=body)


async def _get_access_profile(context: OperationContext) -> ManagerResponse:
    cluster = await clusters.require(context)
    role = _PROFILES.get(context.params["role"].lower())
    if role is None:
        text = f"There is no access profile '{context.params['role']}'."
        raise errors.not_found("NotFound", text)
    value = await clusters.issue_kubeconfig(context, cluster, _LIST_CREDENTIAL, role)
    body: dict[str, Any] = {
        "id": f"{cluster.resource_id}/accessProfiles/{role}",
        "name": role,
        "type": f"{TYPE}/accessProfiles",
        "location": cluster.location,
        "properties": {"kubeConfig": value},
    }
    return ManagerResponse(body=body)


async def _list_none(context: OperationContext) -> ManagerResponse:
    await clusters.require(context)
    return wire.list_response(())


_SUB = "/subscriptions/{subscription}"
_ONE = f"{_SUB}/resourceGroups/{{group}}/providers/{TYPE}/{{name}}"
_POOLS = f"{TYPE}/agentPools"


ROUTES = (
    build_route("GET", f"{_ONE}/agentPools", "list agent pools", f"{_POOLS}/read", _list_pools),
    build_route(
        "GET", f"{_ONE}/agentPools/{{pool}}", "show agent pool", f"{_POOLS}/read", _get_pool
    ),
    build_route(
        "PUT",
        f"{_ONE}/agentPools/{{pool}}",
        "write agent pool",
        f"{_POOLS}/write",
        _reject_pool_change,
    ),
    build_route(
        "DELETE",
        f"{_ONE}/agentPools/{{pool}}",
        "delete agent pool",
        f"{_POOLS}/delete",
        _reject_pool_change,
    ),
    build_route(
        "GET",
        f"{_SUB}/providers/Microsoft.ContainerService/locations/{{location}}/kubernetesVersions",
        "list Kubernetes versions",
        "Microsoft.ContainerService/locations/kubernetesVersions/read",
        _list_versions,
    ),
    build_route(
        "GET",
        f"{_SUB}/providers/Microsoft.ContainerService/locations/{{location}}/orchestrators",
        "list Kubernetes versions",
        "Microsoft.ContainerService/locations/orchestrators/read",
        _list_orchestrators,
    ),
    build_route(
        "GET",
        f"{_ONE}/upgradeProfiles/default",
        "show upgrades of cluster",
        f"{TYPE}/upgradeProfiles/read",
        _get_upgrade_profile,
    ),
    build_route(
        "GET",
        f"{_ONE}/availableAgentPoolVersions",
        "list versions for agent pools",
        f"{TYPE}/availableAgentPoolVersions/read",
        _list_pool_versions,
    ),
    build_route(
        "GET",
        f"{_ONE}/maintenanceConfigurations",
        "list maintenance configurations",
        f"{TYPE}/maintenanceConfigurations/read",
        _list_none,
    ),
    build_route(
        "POST",
        f"{_ONE}/accessProfiles/{{role}}/listCredential",
        "get credentials of access profile",
        _LIST_CREDENTIAL,
        _get_access_profile,
    ),
)
