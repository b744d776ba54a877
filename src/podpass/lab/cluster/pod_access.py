"""Which services the pods of an instance can reach, by their sandbox and the open ports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kubeling.kubelet.pod_network import PodNetworkConfig
from kubeling.kubelet.sandbox import BUBBLEWRAP, NAMESPACES

from podpass import names
from podpass.lab.data.ports import LOOPBACK

NOTES = {
    "served": "programs in pods need no proxy",
    "refused": "programs in pods that ignore HTTPS_PROXY cannot connect",
    "unprotected": "programs that ignore HTTPS_PROXY connect to the real Azure",
}


# The services that a pod uses, not those of the instance's own parts.
_SERVICES = ("kubernetes", "issuer", "authority", "azure", "vault", "storage")
_HINT = f"Or annotate the pod with {names.PROXY_MODE}: env, which needs no privilege"


def pod_network(
    ports: Mapping[str, int], direct_address: str, gateway_port: int, token_proxy: str = ""
) -> PodNetworkConfig:
    """Return the network of a pod that has its own: the instance's services, and the metadata address.

    Args:
        direct_address: the address of the socket for programs that ignore proxy variables.
        gateway_port: the port of the gateway for such pods, which they reach at the port of the usual one.
        token_proxy: the URL of a custom token endpoint, which may be a program of this machine.
    """
    served = filter(ports.__contains__, _SERVICES)
    addresses = [(LOOPBACK, ports[name]) for name in served]
    endpoint = urlsplit(token_proxy)
    if endpoint.hostname in ("localhost", LOOPBACK):
        addresses.append((LOOPBACK, endpoint.port or 443))
    return PodNetworkConfig(
        outbound={
            (LOOPBACK, ports["gateway"]): (LOOPBACK, gateway_port),
            **{each: each for each in addresses},
        },
        shared=(direct_address, 443),
        addresses=(names.IMDS_ADDRESS,),
        hint=_HINT,
    )


@dataclass(frozen=True, slots=True)
class PodAccess:
    """What pods can do: their sandbox and network, and whether Azure's names are served without a proxy.

    `find_outdated` returns the pods that differ from their account, as `OutdatedPods.describe`.
    `stopped_containers` returns the containers that a signal has stopped.
    """

    sandbox: str
    network: str
    served: bool
    find_outdated: Callable[[], list[dict[str, Any]]] = list
    stopped_containers: Callable[[], Sequence[str]] = tuple

    @property
    def without_proxy(self) -> str:
        """Return what happens to a program in a pod that ignores proxy variables.

        `served`; `refused`; `unprotected` if it connects to the real Azure.
        """
        if self.sandbox not in (BUBBLEWRAP, NAMESPACES):
            return "unprotected"
        return "served" if self.served else "refused"

    @property
    def note(self) -> str:
        return NOTES[self.without_proxy]

    def status(self) -> dict[str, Any]:
        """Return the members of the status document that concern pods."""
        return {
            "sandbox": self.sandbox,
            "pod_network": self.network,
            "without_proxy": self.without_proxy,
            "outdated_pods": self.find_outdated(),
            "stopped_containers": list(self.stopped_containers()),
        }
