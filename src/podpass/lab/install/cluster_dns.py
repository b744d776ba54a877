"""Make CoreDNS resolve Azure's names to the cloud, and restore its configuration byte for byte."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from podpass.errors import Error
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.client.client import MERGE_PATCH
from podpass.lab.install.object_names import NAME
from podpass.lab.install.objects import OWNER_LABELS
from podpass.lab.names.corefile import (
    Answers,
    add_block,
    custom_keys,
    imports_custom_servers,
    remove_block,
    without_custom_keys,
)
from podpass.lab.names.served_names import list_zones

_MAIN = "/api/v1/namespaces/kube-system/configmaps/coredns"
_CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"
_CUSTOM = f"{_CONFIG_MAPS}/coredns-custom"
_DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
# A changed annotation of the pod template replaces the pods, which read the configuration at their start.
RESTART_ANNOTATION = "podpass.dev/cloud-dns"
_COREFILE = "Corefile"
_DNS_SERVICES = (
    "/api/v1/namespaces/kube-system/services/kube-dns",
    "/api/v1/namespaces/openshift-dns/services/dns-default",
)
_NOT_FOUND = 404
# An address of the documentation's network: the check before the installation knows no other yet.
_SOME_RESOLVER = "192.0.2.1"


class NoDnsServer(Error):
    """The address of the cluster's DNS server cannot be found."""

    code = "no_dns_server"
    hint = (
        "install with --dns none, and make Azure's names resolve to the Service podpass-cloud yourself;"
        " the cluster of `podpass up` needs no installation"
    )


class NoCoreDns(Error):
    """The DNS server of the cluster is not CoreDNS, or has its configuration in another place."""

    code = "no_coredns"
    hint = (
        "install with --dns pods, which does not change the DNS of the cluster;"
        " the cluster of `podpass up` needs no installation"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfiguration:
    """The configuration of CoreDNS as it is stored; `custom` is None without a ConfigMap for it."""

    main: dict[str, Any]
    custom: dict[str, Any] | None

    @property
    def corefile(self) -> str:
        return str((self.main.get("data") or {}).get(_COREFILE, ""))

    @property
    def custom_data(self) -> dict[str, str]:
        return dict((self.custom or {}).get("data") or {})


async def read_configuration(client: KubeClient) -> DnsConfiguration:
    """Read the configuration of CoreDNS. Raises NoCoreDns, KubeError."""
    main = await client.find(_MAIN)
    if main is None or not (main.get("data") or {}).get(_COREFILE):
        raise NoCoreDns("the cluster has no ConfigMap kube-system/coredns with a Corefile")
    return DnsConfiguration(main=main, custom=await client.find(_CUSTOM))


async def find_server(client: KubeClient) -> str:
    """Return the address of the cluster's DNS server. Raises NoDnsServer, KubeError."""
    for path in _DNS_SERVICES:
        service = await client.find(path)
        if service is not None:
            return str(service["spec"]["clusterIP"])
    raise NoDnsServer("the cluster has no Service kube-system/kube-dns")


async def check_dns(client: KubeClient, namespace: str, served: Iterable[str]) -> None:
    """Check that the block for the served names can be added. Raises NoCoreDns, CorefileError, KubeError."""
    _with_block(await read_configuration(client), _answers(namespace, _SOME_RESOLVER, served))


async def add(client: KubeClient, namespace: str, address: str, served: Iterable[str]) -> bool:
    """Add the block, or replace that of this installation; return whether something changed.

    Raises NoCoreDns, CorefileError, KubeError.
    """
    found = await read_configuration(client)
    corefile, custom = _with_block(found, _answers(namespace, address, served))
    changed = await _write(client, found, corefile, custom)
    digest = hashlib.sha256(f"{corefile}\n{sorted(custom.items())}".encode()).hexdigest()[:16]
    await _restart(client, digest)
    return changed


async def remove(client: KubeClient, namespace: str) -> bool:
    """Remove the block of this installation; return whether there was one.

    Raises CorefileError, KubeError.
    """
    try:
        found = await read_configuration(client)
    except NoCoreDns:
        return False
    owner = f"{namespace}/{NAME}"
    corefile = remove_block(found.corefile, owner=owner)
    custom = without_custom_keys(found.custom_data, owner=owner)
    changed = await _write(client, found, corefile, custom)
    await _restart(client, None)
    return changed


async def has_block(client: KubeClient, namespace: str) -> bool:
    """Return whether CoreDNS forwards Azure's names to this installation. Raises CorefileError, KubeError."""
    try:
        found = await read_configuration(client)
    except NoCoreDns:
        return False
    owner = f"{namespace}/{NAME}"
    return (
        remove_block(found.corefile, owner=owner) != found.corefile
        or without_custom_keys(found.custom_data, owner=owner) != found.custom_data
    )


async def is_restarted(client: KubeClient) -> bool:
    """Return whether all pods of CoreDNS have the current configuration. Raises KubeError."""
    deployment = await client.find(_DEPLOYMENT)
    if deployment is None:
        return True
    status = deployment.get("status") or {}
    wanted = int((deployment.get("spec") or {}).get("replicas", 1))
    counts = (int(status.get(name) or 0) for name in ("replicas", "updatedReplicas"))
    observed = int(status.get("observedGeneration") or 0)
    is_current = observed >= int(deployment["metadata"].get("generation", 0))
    ready = int(status.get("availableReplicas") or 0)
    return is_current and all(count == wanted for count in counts) and ready == wanted


def _answers(namespace: str, address: str, served: Iterable[str]) -> Answers:
    return Answers(zones=list_zones(served), resolver=address, owner=f"{namespace}/{NAME}")


def _with_block(found: DnsConfiguration, answers: Answers) -> tuple[str, dict[str, str]]:
    """Return the Corefile and the data of `coredns-custom`; one of them has the block."""
    if imports_custom_servers(found.corefile):
        return found.corefile, custom_keys(found.custom_data, found.corefile, answers)
    return add_block(found.corefile, answers), found.custom_data


async def _write(
    client: KubeClient, found: DnsConfiguration, corefile: str, custom: dict[str, str]
) -> bool:
    """Write what differs; the resource version in it makes a concurrent change fail. Raises KubeError."""
    changed = False
    if corefile != found.corefile:
        found.main["data"][_COREFILE] = corefile
        await client.replace(_MAIN, found.main)
        changed = True
    if custom == found.custom_data:
        return changed
    if found.custom is None:
        metadata = {
            "name": "coredns-custom",
            "namespace": "kube-system",
            "labels": dict(OWNER_LABELS),
        }
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": custom}
        await client.create(_CONFIG_MAPS, body)
    elif not custom and _is_ours(found.custom):
        await client.delete(_CUSTOM)
    else:
        found.custom["data"] = custom
        await client.replace(_CUSTOM, found.custom)
    return True


def _is_ours(config_map: dict[str, Any]) -> bool:
    labels = config_map["metadata"].get("labels") or {}
    return OWNER_LABELS.items() <= labels.items()


async def _restart(client: KubeClient, digest: str | None) -> None:
    """Set or remove the annotation that replaces the pods of CoreDNS; without a Deployment, do nothing."""
    change = {"spec": {"template": {"metadata": {"annotations": {RESTART_ANNOTATION: digest}}}}}
    try:
        await client.patch(_DEPLOYMENT, change, MERGE_PATCH)
    except KubeError as exc:
        if exc.status != _NOT_FOUND:
            raise
