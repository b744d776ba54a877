"""The managed cluster read from what clients send and written as they read it. Pure.

What a client sends is kept and shown again; what the instance knows better stands above it.

Source:  https://learn.microsoft.com/rest/api/aks/managed-clusters
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podpass.directory.model import Cluster
from podpass.directory.resource_manager import refusals, wire
from podpass.directory.resource_manager.cluster_port import ClusterPort
from podpass.directory.resource_manager.model import Call

TYPE = "Microsoft.ContainerService/managedClusters"
_ISSUER_OFF = "oidcIssuerOff"  # our own note in the document, never shown
# Passwords that a client sends; the real service never shows them again, and we have no use for them.
_SECRET = {
    "servicePrincipalProfile": ("secret",),
    "windowsProfile": ("adminPassword",),
    "aadProfile": ("serverAppSecret",),
}
_TOP = ("identity", "sku", "kind", "extendedLocation")
_POOL_NAME_CHARS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request wants of a cluster.

    Shapes:  `issuer` and `workload_identity` are None where the request says nothing of them.
    """

    document: Mapping[str, Any]
    issuer: bool | None
    workload_identity: bool | None


def read(call: Call, port: ClusterPort, old: Cluster | None) -> Wanted:
    """Read what is to be kept of a cluster.

    Errors:  ManagerRefusal.
    """
    given = dict(wire.inner(call.body, "properties"))
    _check_version(given, port)
    pools = wire.items(given, "agentPoolProfiles")
    if not pools and (old is None or pools == []):
        raise _bad(
            "InvalidParameter", "'agentPoolProfiles' must name a pool; a cluster has one at least."
        )
    for pool in pools or ():
        _check_pool(pool)
    for profile, secrets in _SECRET.items():
        if kept := wire.inner(given, profile):
            given[profile] = {name: value for name, value in kept.items() if name not in secrets}
    issuer = wire.flag(wire.inner(given, "oidcIssuerProfile"), "enabled")
    security = wire.inner(given, "securityProfile")
    workload_identity = wire.flag(wire.inner(security, "workloadIdentity"), "enabled")
    before = old.document.get("properties", {}) if old else {}
    document: dict[str, Any] = {"properties": {**before, **given}}
    for name in _TOP:
        value = wire.text(call.body, name) if name == "kind" else wire.inner(call.body, name)
        document[name] = value or (old.document.get(name) if old else None)
    return Wanted(document=document, issuer=issuer, workload_identity=workload_identity)


def _check_version(given: Mapping[str, Any], port: ClusterPort) -> None:
    version = wire.text(given, "kubernetesVersion")
    if not version:
        return
    served = port.kubernetes_version
    if served != version and not served.startswith(version + "."):
        raise _bad(
            "K8sVersionNotSupported",
            f"This instance's cluster runs Kubernetes {served}; '{version}' cannot be had.",
        )


def _check_pool(pool: Mapping[str, Any]) -> None:
    name = wire.text(pool, "name") or ""
    if not (name.isalnum() and name.isascii() and name.islower() and len(name) <= _POOL_NAME_CHARS):
        raise _bad(
            "InvalidParameter",
            f"The agent pool's name '{name}' is invalid: want 1 to {_POOL_NAME_CHARS} lower-case letters and "
            "digits, beginning with a letter.",
        )


def issuer_on(document: Mapping[str, Any]) -> bool:
    return not document.get(_ISSUER_OFF, False)


def workload_identity_on(document: Mapping[str, Any]) -> bool:
    """Tell what `decided` noted: pods get identities, until that was switched off."""
    security = document.get("securityProfile", {})
    return bool(security.get("workloadIdentity", {}).get("enabled", True))


def decided(
    document: Mapping[str, Any], *, issuer: bool, workload_identity: bool
) -> dict[str, Any]:
    """Note what is on: the loop reads it at its next start, to be as it was left."""
    security = {"workloadIdentity": {"enabled": workload_identity}}
    return {**document, _ISSUER_OFF: not issuer, "securityProfile": security}


def write(call: Call, port: ClusterPort, cluster: Cluster) -> dict[str, Any]:
    """Write a cluster as clients read it."""
    shown = {
        "id": cluster.resource_id,
        "name": cluster.name,
        "type": TYPE,
        "location": cluster.location,
        "tags": dict(cluster.tags),
        "sku": cluster.document.get("sku") or {"name": "Base", "tier": "Free"},
        "identity": _identity(call, cluster),
        "properties": _properties(call, port, cluster),
    }
    if kind := cluster.document.get("kind"):
        shown["kind"] = kind
    return {**shown, "eTag": wire.etag(shown)}


def _identity(call: Call, cluster: Cluster) -> dict[str, Any]:
    given = dict(cluster.document.get("identity") or {"type": "SystemAssigned"})
    if given.get("type") == "SystemAssigned":
        given |= {"principalId": _id(cluster, "control"), "tenantId": call.place.tenant_id}
    return given


def _properties(call: Call, port: ClusterPort, cluster: Cluster) -> dict[str, Any]:
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
        "kubernetesVersion": port.kubernetes_version,
        "currentKubernetesVersion": port.kubernetes_version,
        "fqdn": f"{host}.hcp.{location}.azmk8s.io",
        "azurePortalFQDN": f"{host}.portal.hcp.{location}.azmk8s.io",
        "nodeResourceGroup": group,
        "resourceUID": _id(cluster, "uid").replace("-", "")[:24],
        "agentPoolProfiles": [pool(port, one) for one in given.get("agentPoolProfiles") or ()],
        "networkProfile": _network(given),
        "identityProfile": {"kubeletidentity": _kubelet(call, cluster, group)},
        "oidcIssuerProfile": _issuer(port, cluster),
        "securityProfile": {
            **(given.get("securityProfile") or {}),
            "workloadIdentity": {"enabled": port.workload_identity},
        },
    }
    return {name: value for name, value in properties.items() if value is not None}


def _issuer(port: ClusterPort, cluster: Cluster) -> dict[str, Any]:
    if not issuer_on(cluster.document):
        return {"enabled": False}
    return {"enabled": True, "issuerURL": port.issuer}


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


def _kubelet(call: Call, cluster: Cluster, group: str) -> dict[str, str]:
    provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    name = f"{cluster.name}-agentpool"
    return {
        "resourceId": f"/subscriptions/{call.subscription}/resourcegroups/{group}/{provider}/{name}",
        "clientId": _id(cluster, "kubelet client"),
        "objectId": _id(cluster, "kubelet object"),
    }


def _id(cluster: Cluster, purpose: str) -> str:
    """Make an id that stays as long as the cluster; nobody in the directory has it."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{cluster.resource_id.lower()}#{purpose}"))


def pool(port: ClusterPort, given: Mapping[str, Any]) -> dict[str, Any]:
    """Write an agent pool: what was asked for, on the cluster's version."""
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
        "orchestratorVersion": port.kubernetes_version,
        "currentOrchestratorVersion": port.kubernetes_version,
    }


def write_pool(cluster: Cluster, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Write an agent pool as a resource of its own."""
    properties = {name: value for name, value in shown.items() if name != "name"}
    return {
        "id": f"{cluster.resource_id}/agentPools/{shown['name']}",
        "name": shown["name"],
        "type": f"{TYPE}/agentPools",
        "properties": properties,
    }


def _bad(code: str, message: str) -> refusals.ManagerRefusal:
    return refusals.bad(code, message)
