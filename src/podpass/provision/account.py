"""A signed-in account of Azure, or the administrator of a local instance."""

from dataclasses import dataclass
from pathlib import Path

from podpass.provision.api_client import ApiClient
from podpass.provision.connection import AzureConnection
from podpass.provision.endpoints import Endpoints
from podpass.provision.graph import GraphClient
from podpass.provision.resource_manager import ManagerClient
from podpass.provision.sign_in import TokenSource


@dataclass(kw_only=True)
class AzureAccount:
    """A signed-in account: the clients of a command get everything from here.

    `kubeconfig` and `log_file` are those of the local instance, with `--auth-method instance`; `login_hosts`
    are further hosts of its token service: that of direct mode.
    """

    endpoints: Endpoints
    subscription_id: str
    tenant_id: str
    tokens: TokenSource
    connection: AzureConnection
    kubeconfig: Path | None = None
    login_hosts: tuple[str, ...] = ()
    log_file: Path | None = None

    @property
    def is_instance(self) -> bool:
        """Return whether this is the administrator of a local instance."""
        return self.log_file is not None

    def graph(self) -> GraphClient:
        """Return a client of Microsoft Graph."""
        return GraphClient(self.graph_api())

    def graph_api(self) -> ApiClient:
        """Return a client for any request to Microsoft Graph."""
        origin = self.endpoints.graph
        return self._client("Microsoft Graph", origin, origin)

    def manager(self, subscription_id: str = "") -> ManagerClient:
        """Return a client of Resource Manager, by default for the subscription of the account."""
        return ManagerClient(self.manager_api(), subscription_id or self.subscription_id)

    def manager_api(self) -> ApiClient:
        """Return a client for any request to Resource Manager."""
        return self._client(
            "Resource Manager", self.endpoints.manager, self.endpoints.manager_resource
        )

    def _client(self, service: str, origin: str, resource: str) -> ApiClient:
        return ApiClient(
            service,
            origin=origin,
            resource=resource,
            tokens=self.tokens,
            connection=self.connection,
        )
