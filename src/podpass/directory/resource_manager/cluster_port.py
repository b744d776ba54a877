"""What Resource Manager needs of the Kubernetes cluster that it shows as a managed one."""

from typing import Protocol


class ClusterPort(Protocol):
    """The instance's own cluster: it is there before Resource Manager names it, and after.

    Shapes:  `kubernetes_version` without `v`, as 1.33.2; `issuer` the `iss` of its tokens, byte for byte.
    """

    @property
    def issuer(self) -> str: ...

    @property
    def kubernetes_version(self) -> str: ...

    @property
    def workload_identity(self) -> bool:
        """Whether the webhook is registered."""
        ...

    def kubeconfig(self, name: str) -> bytes:
        """Write a kubeconfig in which the cluster has this name."""
        ...

    async def set_workload_identity(self, on: bool) -> None:
        """Register the webhook, or take it out."""
        ...
