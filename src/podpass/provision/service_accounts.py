"""ServiceAccounts of a cluster: create, annotate and delete them; changes by others are not overwritten."""

from collections.abc import Mapping

from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.paths import path_of
from podpass.provision.model import AccountInfo

_ENDED = ("Succeeded", "Failed")
_MAX_PODS = 100


class ServiceAccountClient:
    """The requests to a cluster that a workload identity needs."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def find(self, namespace: str, name: str) -> AccountInfo | None:
        """Return a ServiceAccount. Raises KubeError."""
        found = await self._client.find(_path(namespace, name))
        if found is None:
            return None
        metadata = found.get("metadata") or {}
        return AccountInfo(
            uid=str(metadata.get("uid") or ""),
            annotations={
                str(key): str(value) for key, value in (metadata.get("annotations") or {}).items()
            },
        )

    async def create(self, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Create a ServiceAccount. Raises KubeError."""
        body = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace, "annotations": dict(annotations)},
        }
        await self._client.create(_path(namespace), body)

    async def annotate(
        self, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> None:
        """Set annotations, and remove those with None; everything else stays unchanged. Raises KubeError."""
        await self._client.patch(
            _path(namespace, name), {"metadata": {"annotations": dict(annotations)}}
        )

    async def delete(self, namespace: str, name: str, uid: str) -> bool:
        """Delete a ServiceAccount if it is still the one with this uid; return whether it existed.

        Raises KubeError.
        """
        try:
            await self._client.delete(_path(namespace, name), {"preconditions": {"uid": uid}})
        except KubeError as exc:
            if exc.status == 404:
                return False
            raise
        return True

    async def list_pods(self, namespace: str, name: str) -> tuple[str, ...] | None:
        """Return names of pods that run with a ServiceAccount; None if the account may not list pods.

        Raises KubeError.
        """
        params = {"fieldSelector": f"spec.serviceAccountName={name}", "limit": str(_MAX_PODS)}
        try:
            page = await self._client.get(path_of("Pod", namespace=namespace), params)
        except KubeError as exc:
            if exc.status == 403:
                return None
            raise
        return tuple(
            str(pod["metadata"]["name"])
            for pod in page.get("items") or []
            if (pod.get("status") or {}).get("phase") not in _ENDED
        )


def _path(namespace: str, name: str = "") -> str:
    return path_of("ServiceAccount", name, namespace=namespace)
