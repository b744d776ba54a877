"""Read what `podpass cloud status POD` examines."""

from collections.abc import Mapping
from typing import Any

from podpass.errors import Error
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.paths import path_of
from podpass.lab.install import cluster_dns
from podpass.lab.install.object_names import NAME
from podpass.lab.install.pod_report import InstallationFacts, PodFacts
from podpass.lab.names.injection import BundleNames
from podpass.lab.names.server_blocks import CorefileError
from podpass.lab.names.trust_objects import CONFIGURATION_PATH

_FORBIDDEN = 403


class NoSuchPod(Error):
    """The pod does not exist."""

    code = "no_such_pod"


async def read_pod(client: KubeClient, namespace: str, name: str) -> PodFacts:
    """Read a pod, its namespace, and the ConfigMap with the CA there. Raises NoSuchPod, KubeError."""
    pod = await client.find(path_of("Pod", name, namespace=namespace))
    if pod is None:
        raise NoSuchPod(
            f"pod {namespace}/{name} does not exist",
            hint=f"list the pods: kubectl get pods -n {namespace}",
        )
    bundle = BundleNames().bundle
    return PodFacts(
        pod=pod,
        namespace=await client.get(path_of("Namespace", namespace)),
        bundle=await client.find(path_of("ConfigMap", bundle, namespace=namespace)),
    )


async def read_cloud(
    client: KubeClient, namespace: str, status: Mapping[str, Any]
) -> InstallationFacts:
    """Read the objects of an installation.

    `status` is that of the running cloud. Raises KubeError.
    """
    service = await client.get(path_of("Service", NAME, namespace=namespace))
    return InstallationFacts(
        namespace=namespace,
        tenant_id=status["tenant_id"],
        ca=status["ca"],
        resolver=str(service["spec"].get("clusterIP", "")),
        registration=await client.find(CONFIGURATION_PATH),
        cluster_dns=await _forwards_names(client, namespace),
        storage=tuple(status.get("storage", {}).get("services", ())),
    )


async def _forwards_names(client: KubeClient, namespace: str) -> bool | None:
    try:
        return await cluster_dns.has_block(client, namespace)
    except CorefileError:
        return False
    except KubeError as exc:
        if exc.status != _FORBIDDEN:
            raise
        return None
