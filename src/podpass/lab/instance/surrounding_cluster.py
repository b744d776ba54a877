"""The cluster in which the cloud half runs: the issuer that it trusts, and its place in Resource Manager."""

from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from podpass.crypto import jose
from podpass.directory.resource_manager.cluster_backend import (
    ClusterCommand,
    ClusterOperationRefused,
    ConnectionObjects,
)
from podpass.errors import Error
from podpass.kubernetes.client.config import in_cluster
from podpass.kubernetes.service_account.names import MOUNT_PATH
from podpass.lab.instance.context import TrustedCluster

_NOT_SERVED = 501
_OWN_CLUSTER = "podpass does not manage the cluster in which it runs; use kubectl"


class NoClusterToken(Error):
    """The token of the pod's ServiceAccount cannot be used."""

    code = "no_cluster_token"
    hint = "mount a token for the API server: automountServiceAccountToken must not be false"


def find_cluster(
    environ: Mapping[str, str], folder: Path = Path(MOUNT_PATH)
) -> TrustedCluster | None:
    """Return the cluster of this pod, None outside a pod.

    The issuer is that of the pod's own token, whatever the discovery document names.

    Raises BadKubeconfig, NoClusterToken.
    """
    if "KUBERNETES_SERVICE_HOST" not in environ or not (folder / "token").exists():
        return None
    target = in_cluster(environ, folder)
    assert target.token_file is not None
    assert target.ca_file is not None
    return TrustedCluster(
        issuer=_read_issuer(target.token_file),
        server=target.server,
        ca_file=target.ca_file,
        token_file=target.token_file,
    )


def _read_issuer(token_file: Path) -> str:
    try:
        issuer = jose.parse(token_file.read_text().strip()).claims["iss"]
    except OSError as exc:
        raise NoClusterToken(f"cannot read {token_file}: {exc.strerror}") from exc
    except (KeyError, jose.MalformedToken, UnicodeDecodeError) as exc:
        raise NoClusterToken(f"{token_file} is not a token with an issuer") from exc
    return str(issuer)


class SurroundingCluster:
    """The cluster in which this process runs, or none; Resource Manager cannot change it."""

    def __init__(self, cluster: TrustedCluster | None) -> None:
        self.issuer = cluster.issuer if cluster else ""
        self.kubernetes_version = ""
        self.workload_identity = True

    def kubeconfig(self, name: str, user: str, *, entra: bool) -> bytes:  # noqa: ARG002 the protocol
        """Refuse: the cluster has administrators of its own."""
        raise self._refused()

    async def set_workload_identity(self, on: bool) -> None:
        """Refuse to unregister the webhook."""
        if not on:
            raise self._refused()

    @asynccontextmanager
    async def connection_written(self, objects: ConnectionObjects) -> AsyncIterator[None]:  # noqa: ARG002 the protocol
        """Refuse to write the objects of a connection."""
        raise self._refused()
        yield

    async def run_command(self, command: str, token: str) -> str:  # noqa: ARG002 the protocol
        """Refuse to run a command."""
        raise self._refused()

    async def command_result(self, command_id: str) -> ClusterCommand | None:  # noqa: ARG002 the protocol
        """Return None: no command runs."""
        return None

    def check_rotation(self) -> None:
        """Refuse rotations."""
        raise self._refused()

    async def rotate_signing_keys(self) -> float:
        """Refuse rotations."""
        raise self._refused()

    def begin_certificate_rotation(self) -> Coroutine[Any, Any, None]:
        """Refuse rotations."""
        raise self._refused()

    @staticmethod
    def _refused() -> ClusterOperationRefused:
        return ClusterOperationRefused(_OWN_CLUSTER, status=_NOT_SERVED)
