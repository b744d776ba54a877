"""Read the cloud half of a diagnosis: the issuer's documents, the directory, the token service, the resource.

Everything is read concurrently and with the rights of the caller. What the caller may not read is `Unread`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from podpass.clouds import CLOUDS
from podpass.doctor.cloud_model import (
    NO_EXCHANGE,
    AuthorityFacts,
    CloudFacts,
    DirectoryIdentity,
    ExchangeFacts,
    IssuerFacts,
    ResourceFacts,
)
from podpass.doctor.cluster_model import ClusterFacts
from podpass.doctor.directory_facts import IdentityReader
from podpass.doctor.exchange_facts import AuthorityReader, request_token
from podpass.doctor.issuer_facts import IssuerReader
from podpass.doctor.model import Unread
from podpass.doctor.pod_manifest import find_audience, find_vault
from podpass.doctor.resource_facts import RequestedResource, ResourceReader
from podpass.guids import is_guid
from podpass.kubernetes.client import KubeClient
from podpass.provision.api_client import ApiClient
from podpass.provision.connection import AzureConnection
from podpass.provision.endpoints import Endpoints
from podpass.provision.model import CredentialInfo

_NO_CLIENT_ID = Unread("the workload has no client id")
_NO_TENANT = Unread("the tenant of the workload is not known")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudAccount:
    """A signed-in account that reads the directory and the subscription.

    Shapes:  `is_instance` is true for the administrator of a local instance; `login_hosts` are further names
             of its token service.
    """

    graph: ApiClient
    manager: ApiClient
    subscription_id: str
    tenant_id: str
    is_instance: bool = False
    login_hosts: Sequence[str] = ()


async def read_cloud_facts(cluster: ClusterFacts) -> CloudFacts:
    """Return the facts without a sign-in and without a request: everything is unread."""
    del cluster
    return CloudFacts()


class CloudReader:
    """Reads the cloud half for workloads of one cluster.

    Shapes:  `account` is unread if the sign-in failed; the documents of the issuer and of the token service
             need none. With `cluster`, a token of the ServiceAccount is requested and exchanged.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        connection: AzureConnection,
        account: CloudAccount | Unread,
        *,
        wanted: RequestedResource | None = None,
        cluster: KubeClient | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._account = account
        self._wanted = wanted
        self._cluster = cluster
        self._issuers = IssuerReader(connection)
        self._authority = AuthorityReader(connection)

    async def read(self, cluster: ClusterFacts) -> CloudFacts:
        """Return what the cloud says about one workload."""
        issuer, authority, exchange, directory = await asyncio.gather(
            self._read_issuer(cluster),
            self._read_authority(cluster),
            self._try_exchange(cluster),
            self._read_directory(cluster),
        )
        account = self._account
        return CloudFacts(
            cloud=self._endpoints.cloud,
            login_hosts=self._login_hosts(),
            audience=self._endpoints.audience,
            is_only_directory=not isinstance(account, Unread) and account.is_instance,
            tenant_id=account if isinstance(account, Unread) else account.tenant_id,
            issuer=issuer,
            authority=authority,
            exchange=exchange,
            identity=directory.identity,
            meaning=directory.meaning,
            credentials=directory.credentials,
            resource=directory.resource,
        )

    def _login_hosts(self) -> tuple[str, ...]:
        cloud = CLOUDS.get(self._endpoints.cloud)
        own = (urlsplit(self._endpoints.login).netloc,) if cloud is None else cloud.aliases
        account = self._account
        return (*own, *(() if isinstance(account, Unread) else account.login_hosts))

    def _login(self, cluster: ClusterFacts) -> str | Unread:
        """Return the origin of the workload's token service, if it is that of the chosen cloud.

        Shapes:  the workload names the host; neither a request nor a token goes to any other.
        """
        if not cluster.authority_host:
            return self._endpoints.login
        try:
            parts = urlsplit(cluster.authority_host)
        except ValueError:
            return Unread("the authority of the workload is not a URL")
        host = parts.netloc.lower()
        if parts.scheme != "https" or host not in self._login_hosts():
            return Unread(f"the authority of the workload is not that of {self._endpoints.cloud}")
        return f"https://{host}"

    async def _read_issuer(self, cluster: ClusterFacts) -> IssuerFacts | Unread:
        found = cluster.issuer
        if isinstance(found, Unread):
            return found
        return await self._issuers.read(found)

    async def _read_authority(self, cluster: ClusterFacts) -> AuthorityFacts | Unread:
        login, tenant = self._login(cluster), cluster.tenant_id
        if isinstance(login, Unread):
            return login
        return await self._authority.read_tenant(login, tenant) if tenant else _NO_TENANT

    async def _try_exchange(self, cluster: ClusterFacts) -> ExchangeFacts | Unread:
        if self._cluster is None:
            return NO_EXCHANGE
        login, client_id, tenant = self._login(cluster), cluster.client_id, cluster.tenant_id
        if isinstance(login, Unread):
            return login
        if not client_id or not tenant:
            return _NO_TENANT if client_id else _NO_CLIENT_ID
        audience = find_audience(cluster) or self._endpoints.audience
        token = await request_token(
            self._cluster, cluster.namespace_name, cluster.account_name, audience
        )
        if isinstance(token, Unread):
            return token
        return await self._authority.exchange(
            login, tenant, client_id, token, self._endpoints.graph
        )

    async def _read_directory(self, cluster: ClusterFacts) -> "_DirectoryFacts":
        account, client_id = self._account, cluster.client_id
        if isinstance(account, Unread):
            return _DirectoryFacts(identity=account, credentials=account, resource=account)
        if not is_guid(client_id):
            unread = _NO_CLIENT_ID if not client_id else Unread("the client id is not a GUID")
            return _DirectoryFacts(identity=unread, credentials=unread, resource=unread)
        reader = IdentityReader(account.graph, account.manager, account.subscription_id)
        identity = await reader.find_identity(client_id)
        if isinstance(identity, Unread):
            return _DirectoryFacts(identity=identity, credentials=identity, resource=identity)
        if identity is None:
            meaning = await reader.explain_id(client_id, account.tenant_id)
            unread = Unread("there is no identity with the client id")
            return _DirectoryFacts(
                identity=None, meaning=meaning, credentials=unread, resource=unread
            )
        credentials, resource = await asyncio.gather(
            reader.list_credentials(identity), self._read_resource(account, identity, cluster)
        )
        return _DirectoryFacts(identity=identity, credentials=credentials, resource=resource)

    async def _read_resource(
        self, account: CloudAccount, identity: DirectoryIdentity, cluster: ClusterFacts
    ) -> ResourceFacts | Unread | None:
        if (wanted := self._wanted or self._guess_resource(cluster)) is None:
            return None
        if not identity.principal_id:
            return Unread("the identity has no service principal")
        reader = ResourceReader(account.manager, account.subscription_id)
        return await reader.read(wanted, identity.principal_id)

    def _guess_resource(self, cluster: ClusterFacts) -> RequestedResource | None:
        """Return the vault that a variable of the pod names; what the workload does there is not known."""
        cloud = CLOUDS.get(self._endpoints.cloud)
        name = find_vault(cluster, cloud.vaults[0].removeprefix("https://")) if cloud else ""
        return RequestedResource(vault=name) if name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _DirectoryFacts:
    """What needs a sign-in."""

    identity: DirectoryIdentity | Unread | None
    credentials: Sequence[CredentialInfo] | Unread
    resource: ResourceFacts | Unread | None
    meaning: str = ""
