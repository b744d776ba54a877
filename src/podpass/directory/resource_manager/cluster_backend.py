"""The interface to the Kubernetes cluster that Resource Manager shows as a managed cluster."""

from typing import Protocol


class ClusterBackend(Protocol):
    """The instance's own cluster; it exists independently of the resource in Resource Manager.

    Shapes:  `kubernetes_version` has no `v`, for example 1.33.2; `issuer` is the exact `iss` of its tokens.
    """

    @property
    def issuer(self) -> str: ...

    @property
    def kubernetes_version(self) -> str: ...

    @property
    def workload_identity(self) -> bool:
        """Return whether the webhook is registered."""
        ...

    def kubeconfig(self, name: str) -> bytes:
        """Return a kubeconfig in which the cluster has this name."""
        ...

    async def set_workload_identity(self, on: bool) -> None:
        """Register or unregister the webhook."""
        ...
