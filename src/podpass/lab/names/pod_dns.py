"""Decide the DNS of a pod: whether Azure's names reach the cloud, and the resolver of `--dns pods`. Pure."""

from dataclasses import dataclass
from typing import Any

from podpass.account.model import Pod, quote
from podpass.admission.mutate import PatchOperation

# The limits of Kubernetes for one pod.
_MAX_SERVERS, _MAX_SEARCHES = 3, 32
_CLUSTER, _CLUSTER_ON_HOST_NETWORK = "ClusterFirst", "ClusterFirstWithHostNet"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDns:
    """The resolver that pods ask first, in place of the DNS of the cluster.

    `resolver` is an IP address; `domain` is the domain of the cluster.
    """

    resolver: str
    domain: str = "cluster.local"


def lead_to_resolver(pod: Pod, dns: PodDns | None) -> tuple[list[PatchOperation], list[str]]:
    """Return the patch of a pod's DNS, and a warning if Azure's names resolve to Azure there.

    Without `dns`, the DNS of the cluster is changed instead, and the patch is empty.
    """
    policy = pod.spec.get("dnsPolicy") or _CLUSTER
    config = pod.spec.get("dnsConfig")
    config = config if isinstance(config, dict) else {}
    servers = _list(config, "nameservers")
    if dns is not None and dns.resolver in servers[:1]:
        return [], []
    on_host = pod.spec.get("hostNetwork") is True
    # On the network of the host, the kubelet replaces the default policy by that of the node.
    if policy != (_CLUSTER_ON_HOST_NETWORK if on_host else policy) or policy not in (
        _CLUSTER,
        _CLUSTER_ON_HOST_NETWORK,
    ):
        return [], [_describe(pod, on_host=on_host, policy=quote(policy))]
    if dns is None:
        return [], []
    options = [each for each in _list(config, "options") if isinstance(each, dict)]
    if not any(each.get("name") == "ndots" for each in options):
        options = [{"name": "ndots", "value": "5"}, *options]
    searches = [f"{pod.namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain]
    value = {
        **config,
        "nameservers": [dns.resolver, *servers][:_MAX_SERVERS],
        "searches": [*searches, *_list(config, "searches")][:_MAX_SEARCHES],
        "options": options,
    }
    return [
        {"op": "add", "path": "/spec/dnsPolicy", "value": "None"},
        {"op": "add", "path": "/spec/dnsConfig", "value": value},
    ], []


def _describe(pod: Pod, *, on_host: bool, policy: str) -> str:
    if on_host:
        return (
            f"{pod} is on the network of its node, so Azure's names resolve to Azure, not to podpass"
            f" cloud; set dnsPolicy: {_CLUSTER_ON_HOST_NETWORK}"
        )
    return (
        f"{pod} has dnsPolicy {policy}, so Azure's names resolve to Azure, not to podpass cloud; set"
        f" dnsPolicy: {_CLUSTER}"
    )


def _list(holder: dict[str, Any], name: str) -> list[Any]:
    value = holder.get(name)
    return value if isinstance(value, list) else []
