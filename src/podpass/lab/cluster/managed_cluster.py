"""The cluster of the instance for Resource Manager: its issuer, its kubeconfig, its webhook."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podpass.assertion.keys import KeyRing
from podpass.crypto import jose
from podpass.directory.resources import AKS_APP_ID
from podpass.exchange.sign_in.well_known_clients import AKS_CLIENT
from podpass.kubernetes.client import KubeClient
from podpass.lab.cluster import connection_objects, run_command
from podpass.lab.cluster.backend import ClusterCommand, ClusterOperationRefused, ConnectionObjects
from podpass.lab.cluster.registration import register_webhook, unregister_webhook
from podpass.lab.data import ca, kubeconfig
from podpass.lab.data.certificate_rotation import CertificateRotation
from podpass.lab.data.datadir import DataDir, DataDirError
from podpass.settings.azure import REFETCH_SECONDS

_log = logging.getLogger(__name__)

# A key is published for this time before it signs: every cache of the keys then has it, or may fetch it.
PUBLISH_SECONDS = REFETCH_SECONDS + 1

_KUBELOGIN_HINT = (
    "The cluster has Entra integration, so kubectl needs kubelogin: https://azure.github.io/kubelogin."
    " For the administrator's certificate, run `az aks get-credentials` with --admin"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotations:
    """What a rotation changes."""

    ring: KeyRing
    certificates: CertificateRotation


class ManagedCluster:
    """The cluster of one instance; disabling workload identity removes the built-in webhook.

    `webhook_url` is empty if the built-in webhook is left out. `rotations` is the reason, if the cluster does
    not support rotations. `tenant_id` is empty if the API server does not accept Entra tokens.
    """

    def __init__(
        self,
        data_dir: DataDir,
        *,
        issuer: str,
        server: str,
        version: str,
        webhook_url: str,
        rotations: Rotations | str,
        tenant_id: str = "",
    ) -> None:
        self.issuer = issuer
        self.kubernetes_version = version.removeprefix("v").partition("+")[0]
        self.workload_identity = False
        self._data_dir = data_dir
        self._server = server
        self._webhook_url = webhook_url
        self._rotations = rotations
        self._tenant_id = tenant_id

    async def set_workload_identity(self, enabled: bool) -> None:
        """Register or remove the built-in webhook; running pods do not change.

        Raises KubeError, OtherWebhook.
        """
        if enabled and self._webhook_url:
            await self._register_webhook(self._data_dir.ca_file.read_bytes())
        else:
            async with KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin:
                await unregister_webhook(admin)
        self.workload_identity = enabled

    @asynccontextmanager
    async def connection_written(self, objects: ConnectionObjects) -> AsyncIterator[None]:
        """Write the objects of a connection; restore the earlier state if the block fails.

        Raises ManagerError.
        """
        async with (
            KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin,
            connection_objects.written(admin, objects),
        ):
            yield

    async def use_ca(self, ca_pem: bytes) -> None:
        """Update the CA in the webhook's registration, if the webhook is registered. Raises KubeError."""
        if self.workload_identity and self._webhook_url:
            await self._register_webhook(ca_pem)

    async def _register_webhook(self, ca_pem: bytes) -> None:
        async with KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin:
            await register_webhook(admin, self._webhook_url, ca_pem)

    async def run_command(self, command: str, token: str) -> str:
        """Start a shell command as a pod; return its ID. Raises KubeError."""
        async with KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin:
            return await run_command.start(admin, command, token, self._cluster())

    async def command_result(self, command_id: str) -> ClusterCommand | None:
        """Return the state of a command, or None for an unknown ID. Raises KubeError."""
        async with KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin:
            return await run_command.read(admin, command_id)

    def check_rotation(self) -> None:
        """Check that keys or certificates can be rotated now. Raises ClusterOperationRefused."""
        if self._supported_rotations().ring.pending_until is not None:
            raise ClusterOperationRefused(
                "A rotation of the signing keys is in progress; retry in a few seconds"
            )

    def _supported_rotations(self) -> Rotations:
        if isinstance(self._rotations, str):
            raise ClusterOperationRefused(self._rotations, status=501)
        return self._rotations

    async def rotate_signing_keys(self) -> float:
        """Publish a new key of the issuer; return the time from which it signs.

        Raises ClusterOperationRefused.
        """
        key = await asyncio.to_thread(jose.generate_rsa)
        self.check_rotation()
        ring = self._supported_rotations().ring
        new = ring.rotate(key, publish_seconds=PUBLISH_SECONDS)
        _log.info("issuer_key_rotated", extra={"kid": new.kid, "signs_from": ring.pending_until})
        return ring.pending_until or 0.0

    def begin_certificate_rotation(self) -> Coroutine[Any, Any, None]:
        """Store a new CA of the instance, and return the rotation.

        Raises ClusterOperationRefused, also if the clock of this machine is wrong.
        """
        certificates = self._supported_rotations().certificates
        try:
            certificates.begin()
        except DataDirError as exc:
            raise ClusterOperationRefused(exc.message) from exc
        return certificates.run()

    def kubeconfig(self, name: str, user: str, *, entra: bool) -> bytes:
        """Return a self-contained kubeconfig, for kubelogin or with the administrator's certificate.

        `name` is the cluster's name in Resource Manager.
        """
        credential = self._exec_plugin() if entra and self._tenant_id else self._certificate()
        return kubeconfig.build(name, self._cluster(), user, credential)

    def _cluster(self) -> dict[str, Any]:
        return {
            "server": self._server,
            "certificate-authority-data": _base64(self._data_dir.ca_file),
        }

    def _exec_plugin(self) -> dict[str, Any]:
        options = {
            "environment": "AzurePublicCloud",
            "server-id": AKS_APP_ID,
            "client-id": AKS_CLIENT,
            "tenant-id": self._tenant_id,
            "login": "devicecode",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "kubelogin",
            "args": ["get-token", *words],
            "env": None,
            "installHint": _KUBELOGIN_HINT,
            "provideClusterInfo": False,
        }
        return {"exec": plugin}

    def _certificate(self) -> dict[str, Any]:
        return {
            "client-certificate-data": _base64(self._data_dir.certificate(ca.ADMIN)),
            "client-key-data": _base64(self._data_dir.key(ca.ADMIN)),
        }


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
