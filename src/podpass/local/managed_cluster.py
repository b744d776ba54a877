"""The cluster of the instance for Resource Manager: its issuer, its kubeconfig, its webhook."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podpass.assertion.keys import KeyRing
from podpass.cloud import ca
from podpass.cloud.datadir import DataDir, DataDirError
from podpass.cloud.parts import REFETCH_SECONDS
from podpass.crypto import jose
from podpass.directory.resource_manager.cluster_backend import (
    ClusterOperationRefused,
    ConnectionObjects,
)
from podpass.kubernetes.client import KubeClient
from podpass.local import connection_objects
from podpass.local.certificate_rotation import CertificateRotation
from podpass.local.registration import register_webhook, unregister_webhook

_log = logging.getLogger(__name__)

# A key is published for this time before it signs: every cache of the keys then has it, or may fetch it.
PUBLISH_SECONDS = REFETCH_SECONDS + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotations:
    """What a rotation changes; with `refused`, the reason why the cluster does not support rotations."""

    ring: KeyRing
    certificates: CertificateRotation
    refused: str = ""


class ManagedCluster:
    """The cluster of one instance; disabling workload identity removes the webhook."""

    def __init__(
        self,
        data_dir: DataDir,
        *,
        issuer: str,
        server: str,
        version: str,
        webhook_url: str,
        rotations: Rotations,
    ) -> None:
        self.issuer = issuer
        self.kubernetes_version = version.removeprefix("v").partition("+")[0]
        self.workload_identity = False
        self._data_dir = data_dir
        self._server = server
        self._webhook_url = webhook_url
        self._rotations = rotations

    async def set_workload_identity(self, enabled: bool) -> None:
        """Register or remove the webhook; running pods do not change.

        Errors:  KubeError.
        """
        if enabled:
            await self._register_webhook(self._data_dir.ca_file.read_bytes())
        else:
            async with KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin:
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

    async def use_ca(self, ca_pem: bytes) -> None:
        """Update the CA in the webhook's registration, if the webhook is registered.

        Errors:  KubeError.
        """
        if self.workload_identity:
            await self._register_webhook(ca_pem)

    async def _register_webhook(self, ca_pem: bytes) -> None:
        async with KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin:
            await register_webhook(admin, self._webhook_url, ca_pem)

    def check_rotation(self) -> None:
        """Check that keys or certificates can be rotated now.

        Errors:  ClusterOperationRefused.
        """
        if self._rotations.refused:
            raise ClusterOperationRefused(self._rotations.refused, status=501)
        if self._rotations.ring.pending_until is not None:
            raise ClusterOperationRefused(
                "A rotation of the signing keys is in progress; retry in a few seconds"
            )

    async def rotate_signing_keys(self) -> float:
        """Publish a new key of the issuer; return the time from which it signs.

        Errors:  ClusterOperationRefused.
        """
        key = await asyncio.to_thread(jose.generate_rsa)
        self.check_rotation()
        ring = self._rotations.ring
        new = ring.rotate(key, publish_seconds=PUBLISH_SECONDS)
        _log.info("issuer_key_rotated", extra={"kid": new.kid, "signs_from": ring.pending_until})
        return ring.pending_until or 0.0

    def begin_certificate_rotation(self) -> Coroutine[Any, Any, None]:
        """Store a new CA of the instance, and return the rotation.

        Errors:  ClusterOperationRefused, also if the clock of this machine is wrong.
        """
        certificates = self._rotations.certificates
        try:
            certificates.begin()
        except DataDirError as exc:
            raise ClusterOperationRefused(exc.message) from exc
        return certificates.run()

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
