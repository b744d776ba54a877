"""The cluster of the instance for Resource Manager: its issuer, its kubeconfig, its webhook."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from podpass.directory.resource_manager.cluster_backend import ConnectionObjects
from podpass.kubernetes.client import KubeClient
from podpass.local import ca, connection_objects
from podpass.local.datadir import DataDir
from podpass.local.registration import register_webhook, unregister_webhook


class ManagedCluster:
    """The cluster of one instance; disabling workload identity removes the webhook."""

    def __init__(
        self, data_dir: DataDir, *, issuer: str, server: str, version: str, webhook_url: str
    ) -> None:
        self.issuer = issuer
        self.kubernetes_version = version.removeprefix("v").partition("+")[0]
        self.workload_identity = False
        self._data_dir = data_dir
        self._server = server
        self._webhook_url = webhook_url

    async def set_workload_identity(self, enabled: bool) -> None:
        """Register or remove the webhook; running pods do not change.

        Errors:  KubeError.
        """
        async with KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin:
            if enabled:
                ca_pem = self._data_dir.ca_file.read_bytes()
                await register_webhook(admin, self._webhook_url, ca_pem)
            else:
                await unregister_webhook(admin)
        self.workload_identity = enabled

    @asynccontextmanager
    async def connection_written(self, objects: ConnectionObjects) -> AsyncIterator[None]:
        """Write the objects of a connection; restore the earlier state if the block fails.

        Errors:  ManagerError.
        """
        async with (
            KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin,
            connection_objects.written(admin, objects),
        ):
            yield

    def kubeconfig(self, name: str) -> bytes:
        """Return a self-contained kubeconfig of the cluster's administrator.

        Shapes:  `name` is the cluster's name in Resource Manager; user and context are named as in AKS.
        """
        user = f"clusterUser_{name}"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "preferences": {},
            "current-context": name,
            "clusters": [{"name": name, "cluster": self._cluster()}],
            "users": [{"name": user, "user": self._user()}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        }
        return yaml.safe_dump(document, sort_keys=False).encode()

    def _cluster(self) -> dict[str, Any]:
        return {
            "server": self._server,
            "certificate-authority-data": _base64(self._data_dir.ca_file),
        }

    def _user(self) -> dict[str, Any]:
        return {
            "client-certificate-data": _base64(self._data_dir.certificate(ca.ADMIN)),
            "client-key-data": _base64(self._data_dir.key(ca.ADMIN)),
        }


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
