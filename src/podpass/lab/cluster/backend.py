"""The interface to the Kubernetes cluster that Resource Manager shows as a managed cluster."""

from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from podpass.errors import Error


class ClusterOperationRefused(Error):
    """The cluster cannot run an operation now (409), or not at all (501)."""

    code = "cluster_operation_refused"

    def __init__(self, message: str, *, status: int = 409) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionObjects:
    """What Service Connector writes into a namespace: a Secret and a ServiceAccount.

    `connection_id` is the resource id of the connection, which owns the Secret; without `secret_values` there
    is no Secret. The values are no secrets: endpoints and the client id.
    """

    connection_id: str
    namespace: str
    secret: str
    secret_values: Mapping[str, str] | None
    account: str
    client_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCommand:
    """A command that was started in the cluster, and its state.

    `state` is Running, Succeeded (the command has ended, with any exit code) or Failed (it did not run, for a
    `reason`); the times are RFC 3339.
    """

    state: str
    started: str
    finished: str = ""
    exit_code: int | None = None
    logs: str = ""
    reason: str = ""


class ClusterBackend(Protocol):
    """The instance's own cluster; it exists independently of the resource in Resource Manager.

    `kubernetes_version` has no `v`, for example 1.33.2; `issuer` is the exact `iss` of its tokens.
    """

    @property
    def issuer(self) -> str: ...

    @property
    def kubernetes_version(self) -> str: ...

    @property
    def workload_identity(self) -> bool:
        """Return whether the webhook is registered."""
        ...

    def kubeconfig(self, name: str, user: str, *, entra: bool) -> bytes:
        """Return a kubeconfig in which the cluster and the user have these names.

        With `entra`, the user signs in to Entra, if the cluster accepts Entra's tokens; otherwise it is the
        administrator.
        """
        ...

    async def set_workload_identity(self, on: bool) -> None:
        """Register or unregister the webhook."""
        ...

    def connection_written(self, objects: ConnectionObjects) -> AbstractAsyncContextManager[None]:
        """Write the objects of a connection; restore the earlier state if the block fails.

        Raises ManagerError, if the namespace does not exist or an object has another owner.
        """
        ...

    async def run_command(self, command: str, token: str) -> str:
        """Start a shell command in the cluster; return its ID.

        The command has the rights of the user of `token`; without it, those of the administrator.
        """
        ...

    async def command_result(self, command_id: str) -> ClusterCommand | None:
        """Return the state of a command, or None for an unknown ID."""
        ...

    def check_rotation(self) -> None:
        """Check that keys or certificates can be rotated now. Raises ClusterOperationRefused."""
        ...

    async def rotate_signing_keys(self) -> float:
        """Publish a new key of the issuer; return the time from which it signs.

        Raises ClusterOperationRefused.
        """
        ...

    def begin_certificate_rotation(self) -> Coroutine[Any, Any, None]:
        """Store a new CA and return its rotation; the next start completes an interrupted one.

        Raises ClusterOperationRefused.
        """
        ...
