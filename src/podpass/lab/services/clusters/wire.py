"""Parse and show the managed cluster. Pure.

Properties that a client sends are stored and returned; properties of the running cluster override them.

Source:  https://learn.microsoft.com/rest/api/aks/managed-clusters
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podpass.directory.resource_manager import errors, wire
from podpass.directory.resource_manager.model import OperationContext
from podpass.lab.cluster.backend import ClusterBackend
from podpass.lab.services.clusters.model import TYPE, Cluster

_ISSUER_OFF = "oidcIssuerOff"  # podpass's own member of the document, never returned
# Passwords that a client sends are not stored; Azure never returns them either.
_SECRET = {
    "servicePrincipalProfile": ("secret",),
    "windowsProfile": ("adminPassword",),
    "aadProfile": ("serverAppSecret",),
}
_TOP = ("identity", "sku", "kind", "extendedLocation")
_POOL_NAME_CHARS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterUpdate:
    """The requested state of a cluster.

    `issuer` and `workload_identity` are None if the request does not set them.
    """

    document: Mapping[str, Any]
    issuer: bool | None
    workload_identity: bool | None


def parse_update(
    context: OperationContext, cluster_backend: ClusterBackend, old: Cluster | None
) -> ClusterUpdate:
    """Parse the requested state of a cluster. Raises ManagerError."""
    given = dict(wire.object_member(context.body, "properties"))
    _check_version(given, cluster_backend)
    pools = wire.object_list(given, "agentPoolProfiles")
    if not pools and (old is None or pools == []):
        raise errors.bad_request(
            "InvalidParameter",
            "'agentPoolProfiles' must have a pool; a cluster needs at least one.",
        )
    for pool in pools or ():
        _check_pool(pool)
    for profile, secrets in _SECRET.items():
        if members := wire.object_member(given, profile):
            given[profile] = {name: value for name, value in members.items() if name not in secrets}
    issuer = wire.boolean(wire.object_member(given, "oidcIssuerProfile"), "enabled")
    security = wire.object_member(given, "securityProfile")
    workload_identity = wire.boolean(wire.object_member(security, "workloadIdentity"), "enabled")
    before = old.document.get("properties", {}) if old else {}
    document: dict[str, Any] = {"properties": {**before, **given}}
    for name in _TOP:
        value = (
            wire.text(context.body, name)
            if name == "kind"
            else wire.object_member(context.body, name)
        )
        document[name] = value or (old.document.get(name) if old else None)
    return ClusterUpdate(document=document, issuer=issuer, workload_identity=workload_identity)


def _check_version(given: Mapping[str, Any], cluster_backend: ClusterBackend) -> None:
    version = wire.text(given, "kubernetesVersion")
    if not version:
        return
    served = cluster_backend.kubernetes_version
    if served != version and not served.startswith(version + "."):
        raise errors.bad_request(
            "K8sVersionNotSupported",
            f"The cluster of this instance runs Kubernetes {served}; '{version}' is not available.",
        )


def _check_pool(pool: Mapping[str, Any]) -> None:
    name = wire.text(pool, "name") or ""
    if not (name.isalnum() and name.isascii() and name.islower() and len(name) <= _POOL_NAME_CHARS):
        raise errors.bad_request(
            "InvalidParameter",
            f"The agent pool name '{name}' is invalid: it must be 1 to {_POOL_NAME_CHARS} lower-case letters"
            " and digits, beginning with a letter.",
        )


def is_issuer_enabled(document: Mapping[str, Any]) -> bool:
    return not document.get(_ISSUER_OFF, False)


def is_workload_identity_enabled(document: Mapping[str, Any]) -> bool:
    """Return the state that `record_features` stored; by default workload identity is enabled."""
    security = document.get("securityProfile", {})
    return bool(security.get("workloadIdentity", {}).get("enabled", True))


def has_entra_integration(document: Mapping[str, Any]) -> bool:
    """Return whether users of the cluster sign in to Entra, as after `az aks create --enable-aad`."""
    return bool(document.get("properties", {}).get("aadProfile"))


def has_local_accounts(document: Mapping[str, Any]) -> bool:
    """Return whether certificates of the cluster's own administrators are handed out."""
    return not document.get("properties", {}).get("disableLocalAccounts")


def record_features(
    document: Mapping[str, Any], *, issuer: bool, workload_identity: bool
) -> dict[str, Any]:
    """Store the enabled features in the document; the instance restores them at its next start."""
    security = {"workloadIdentity": {"enabled": workload_identity}}
    return {**document, _ISSUER_OFF: not issuer, "securityProfile": security}


def to_json(
    context: OperationContext, cluster_backend: ClusterBackend, cluster: Cluster
) -> dict[str, Any]:
    """Return a cluster as a response body."""
    shown = {
        "id": cluster.resource_id,
        "name": cluster.name,
        "type": TYPE,
        "location": cluster.location,
        "tags": dict(cluster.tags),
        "sku": cluster.document.get("sku") or {"name": "Base", "tier": "Free"},
        "identity": _identity(context, cluster),
        "properties": _properties(context, cluster_backend, cluster),
    }
    if kind := cluster.document.get("kind"):
        shown["kind"] = kind
    return {**shown, "eTag": wire.etag(shown)}


def _identity(context: OperationContext, cluster: Cluster) -> dict[str, Any]:
    given = dict(cluster.document.get("identity") or {"type": "SystemAssigned"})
    if given.get("type") == "SystemAssigned":
        given |= {
            "principalId": _id(cluster, "control"),
            "tenantId": context.subscription.tenant_id,
        }
    return given


def _properties(
    context: OperationContext, cluster_backend: ClusterBackend, cluster: Cluster
) -> dict[str, Any]:
    given = cluster.document.get("properties", {})
    group, location = f"MC_{cluster.group}_{cluster.name}_{cluster.location}"[:80], cluster.location
    prefix = given.get("dnsPrefix") or cluster.name
    host = f"{prefix}-{_id(cluster, 'fqdn')[:8]}"
    group = given.get("nodeResourceGroup") or group
    properties = {
        "dnsPrefix": prefix,
        "enableRBAC": True,
        "supportPlan": "KubernetesOfficial",
        "maxAgentPools": 100,
        "disableLocalAccounts": False,
        "servicePrincipalProfile": {"clientId": "msi"},
        **given,
        "provisioningState": "Succeeded",
        "powerState": {"code": "Running"},
        "kubernetesVersion": cluster_backend.kubernetes_version,
        "currentKubernetesVersion": cluster_backend.kubernetes_version,
        "fqdn": f"{host}.hcp.{location}.azmk8s.io",
        "azurePortalFQDN": f"{host}.portal.hcp.{location}.azmk8s.io",
        "nodeResourceGroup": group,
        "resourceUID": _id(cluster, "uid").replace("-", "")[:24],
        "agentPoolProfiles": [
            pool_profile(cluster_backend, one) for one in given.get("agentPoolProfiles") or ()
        ],
        "networkProfile": _network(given),
        "identityProfile": {"kubeletidentity": _kubelet(context, cluster, group)},
        "oidcIssuerProfile": _issuer(cluster_backend, cluster),
        "securityProfile": {
            **(given.get("securityProfile") or {}),
            "workloadIdentity": {"enabled": cluster_backend.workload_identity},
        },
    }
    if aad := given.get("aadProfile"):
        properties["aadProfile"] = {"tenantID": context.subscription.tenant_id, **aad}
    return {name: value for name, value in properties.items() if value is not None}


def _issuer(cluster_backend: ClusterBackend, cluster: Cluster) -> dict[str, Any]:
    if not is_issuer_enabled(cluster.document):
        return {"enabled": False}
    return {"enabled": True, "issuerURL": cluster_backend.issuer}


def _network(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "networkPlugin": "azure",
        "networkPluginMode": "overlay",
        "loadBalancerSku": "standard",
        "outboundType": "loadBalancer",
        "podCidr": "10.244.0.0/16",
        "serviceCidr": "10.0.0.0/16",
        "dnsServiceIP": "10.0.0.10",
        **(given.get("networkProfile") or {}),
    }


def _kubelet(context: OperationContext, cluster: Cluster, group: str) -> dict[str, str]:
    provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    name = f"{cluster.name}-agentpool"
    return {
        "resourceId": f"/subscriptions/{context.subscription_id}/resourcegroups/{group}/{provider}/{name}",
        "clientId": _id(cluster, "kubelet client"),
        "objectId": _id(cluster, "kubelet object"),
    }


def _id(cluster: Cluster, purpose: str) -> str:
    """Return an ID that is stable for the cluster and belongs to no object of the directory."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{cluster.resource_id.lower()}#{purpose}"))


def pool_profile(cluster_backend: ClusterBackend, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent pool as requested, with the version of the cluster."""
    return {
        "count": 1,
        "vmSize": "Standard_D2s_v5",
        "osType": "Linux",
        "osSKU": "Ubuntu",
        "mode": "System",
        "type": "VirtualMachineScaleSets",
        "maxPods": 110,
        **{name: value for name, value in given.items() if value not in (None, "")},
        "provisioningState": "Succeeded",
        "powerState": {"code": "Running"},
        "orchestratorVersion": cluster_backend.kubernetes_version,
        "currentOrchestratorVersion": cluster_backend.kubernetes_version,
    }


def pool_to_json(cluster: Cluster, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent pool as a separate resource."""
    properties = {name: value for name, value in shown.items() if name != "name"}
    return {
        "id": f"{cluster.resource_id}/agentPools/{shown['name']}",
        "name": shown["name"],
        "type": f"{TYPE}/agentPools",
        "properties": properties,
    }
