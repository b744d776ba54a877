"""A small Kubernetes in one process, for tests of operators, controllers and webhooks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubeling.apiserver.request import UserInfo
    from kubeling.instance import Cluster, ClusterSnapshot

__version__ = "0.1.0"
__all__ = ["Cluster", "ClusterSnapshot", "UserInfo", "__version__"]


def __getattr__(name: str) -> Any:
    # Import on first use: pytest and the command import `kubeling` in each process, and most need no cluster.
    if name in ("Cluster", "ClusterSnapshot", "UserInfo"):
        from kubeling import instance

        return getattr(instance, name)
    raise AttributeError(f"module 'kubeling' has no attribute {name!r}")
