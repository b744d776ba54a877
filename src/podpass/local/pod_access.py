"""Which services the pods of an instance can reach, by their sandbox and the open ports."""

from dataclasses import dataclass

from podpass.kubernetes.kubelet.sandbox import BUBBLEWRAP, NAMESPACES

NOTES = {
    "served": "programs in pods need no proxy",
    "refused": "programs in pods that ignore HTTPS_PROXY cannot connect",
    "unprotected": "programs that ignore HTTPS_PROXY connect to the real Azure",
}


@dataclass(frozen=True, slots=True)
class PodAccess:
    """The sandbox and the network of the pods, and whether Azure's names are served without a proxy."""

    sandbox: str
    network: str
    served: bool

    @property
    def without_proxy(self) -> str:
        """Return what happens to a program in a pod that ignores proxy variables.

        Shapes:  `served`; `refused`; `unprotected` if it connects to the real Azure.
        """
        if self.sandbox not in (BUBBLEWRAP, NAMESPACES):
            return "unprotected"
        return "served" if self.served else "refused"

    @property
    def note(self) -> str:
        return NOTES[self.without_proxy]

    def status(self) -> dict[str, str]:
        """Return the members of the status document that concern pods."""
        return {
            "sandbox": self.sandbox,
            "pod_network": self.network,
            "without_proxy": self.without_proxy,
        }
