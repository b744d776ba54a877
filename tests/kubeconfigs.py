"""Kubeconfigs for tests."""

from typing import Any


def build_kubeconfig(
    server: str,
    user: dict[str, Any] | None = None,
    *,
    name: str = "test",
    namespace: str | None = None,
    **cluster: Any,
) -> dict[str, Any]:
    """Return a kubeconfig whose only context, cluster and user have one name."""
    context = {"cluster": name, "user": name}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [
            {"name": name, "context": context | ({"namespace": namespace} if namespace else {})}
        ],
        "clusters": [{"name": name, "cluster": {"server": server, **cluster}}],
        "users": [{"name": name, "user": user or {}}],
    }
