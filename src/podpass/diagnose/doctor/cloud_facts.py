"""Read the cloud half of a diagnosis: the issuer's documents, the directory, the token service, the resource.

Everything is read concurrently and with the rights of the caller. What the caller may not read is `Unread`.
No token leaves this module.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from podpass import names
from podpass.clouds import CLOUDS
from podpass.crypto import jose
from podpass.diagnose.doctor.credentials import PresentedToken, matches
from podpass.diagnose.doctor.directory_facts import (
    CallerDirectory,
    RequestedResource,
)
from podpass.diagnose.doctor.issuer_facts import IssuerReader
from podpass.diagnose.doctor.model import (
    NO_EXCHANGE,
    AuthorityFacts,
    CloudFacts,
    ClusterFacts,
    DirectoryIdentity,
    ExchangeFacts,
    IdentityCandidate,
    IssuerFacts,
    NamedIdentity,
    PodToken,
    ResourceFacts,
)
from podpass.diagnose.doctor.pods import (
    find_audience,
    find_manifest,
    find_next_client_id,
    find_vault,
)
from podpass.errors import SettingsError
from podpass.facts import Unread
from podpass.guids import is_guid
from podpass.http.client import HttpResponse
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.paths import path_of
from podpass.provision.account import AzureAccount
from podpass.provision.api_client import quote_segment
from podpass.provision.connection import AzureConnection, header
from podpass.provision.endpoints import Endpoints
from podpass.provision.errors import ApiError, sanitize

_NO_CLIENT_ID = Unread("the workload has no client id")
_NO_TENANT = Unread("the tenant of the workload is not known")
_NUMBER = re.compile(r"AADSTS([0-9]{4,8})")
_TENANT = re.compile(r"https://[^/]+/([^/]+)/v2\.0")
_SUFFIX = re.compile(r"\s*Trace ID:.*", re.DOTALL)
_TOKEN_SECONDS = 600  # the shortest lifetime that an API server accepts


async def read_cloud_facts(cluster: ClusterFacts) -> CloudFacts:
    """Return the facts without a sign-in and without a request: everything is unread."""
    del cluster
    return CloudFacts()


class CloudReader:
    """Reads the cloud half for workloads of one cluster.

    `account` is unread if the sign-in failed; the documents of the issuer and of the token service need none.
    With `cluster`, a token of the ServiceAccount is requested and exchanged.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        connection: AzureConnection,
        account: AzureAccount | Unread,
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
        self._identities: asyncio.Future[Sequence[NamedIdentity] | Unread] | None = None

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
            **directory,
        )

    def _login_hosts(self) -> tuple[str, ...]:
        cloud = CLOUDS.get(self._endpoints.cloud)
        own = (urlsplit(self._endpoints.login).netloc,) if cloud is None else cloud.aliases
        account = self._account
        return (*own, *(() if isinstance(account, Unread) else account.login_hosts))

    def _login(self, cluster: ClusterFacts) -> str | Unread:
        """Return the origin of the workload's token service, if it is that of the chosen cloud.

        The workload names the host; neither a request nor a token goes to any other.
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

    async def _read_directory(self, cluster: ClusterFacts) -> dict[str, Any]:
        """Return what needs a sign-in."""
        account = self._account
        if isinstance(account, Unread):
            return dict.fromkeys(("identity", "credentials", "candidates", "resource"), account)
        reader = CallerDirectory(
            account.graph_api(), account.manager_api(), account.subscription_id
        )
        identity = await _find_identity(reader, cluster.client_id)
        named, resource, following = await asyncio.gather(
            reader.complete(cluster.client_id, identity, account.tenant_id),
            self._read_resource(reader, identity, cluster),
            self._read_next(reader, account, cluster),
        )
        # Searched only if the client id, or the next one, names no identity: it takes many requests.
        used = [named] if following is None else [named, following]
        candidates: Sequence[IdentityCandidate] | Unread = ()
        if any(_is_no_identity(each) for each in used):
            candidates = await self._find_candidates(reader, cluster)
        return {
            "identity": identity,
            "other_id": named.other,
            "credentials": named.credentials,
            "next": following,
            "candidates": candidates,
            "resource": resource,
        }

    async def _read_next(
        self, reader: CallerDirectory, account: AzureAccount, cluster: ClusterFacts
    ) -> NamedIdentity | None:
        client_id = find_next_client_id(cluster)
        if client_id is None:
            return None
        identity = await _find_identity(reader, client_id)
        return await reader.complete(client_id, identity, account.tenant_id)

    async def _find_candidates(
        self, reader: CallerDirectory, cluster: ClusterFacts
    ) -> Sequence[IdentityCandidate] | Unread:
        """Return the identities that trust the workload, or whose name is the annotation client-id."""
        if self._identities is None:  # read once for all workloads
            self._identities = asyncio.ensure_future(reader.list_identities())
        listed = await asyncio.shield(self._identities)
        issuer = cluster.issuer
        if isinstance(listed, Unread):
            return listed
        if isinstance(issuer, Unread):
            return issuer
        audience = find_audience(cluster) or self._endpoints.audience
        presented = PresentedToken(issuer=issuer, subject=cluster.subject, audiences=(audience,))
        return _choose_candidates(listed, presented, cluster.annotations.get(names.CLIENT_ID, ""))

    async def _read_resource(
        self,
        reader: CallerDirectory,
        identity: DirectoryIdentity | Unread | None,
        cluster: ClusterFacts,
    ) -> ResourceFacts | Unread | None:
        if not isinstance(identity, DirectoryIdentity):
            return identity or Unread("there is no identity with the client id")
        if (wanted := self._wanted or self._guess_resource(cluster)) is None:
            return None
        if not identity.principal_id:
            return Unread("the identity has no service principal")
        return await reader.read_resource(wanted, identity.principal_id)

    def _guess_resource(self, cluster: ClusterFacts) -> RequestedResource | None:
        """Return the vault that the pod's manifest names; what the workload does there is not known."""
        cloud = CLOUDS.get(self._endpoints.cloud)
        suffix = cloud.vaults[0].removeprefix("https://") if cloud else ""
        name = find_vault(find_manifest(cluster), suffix) if suffix else ""
        return RequestedResource(vault=name) if name else None


async def _find_identity(
    reader: CallerDirectory, client_id: str
) -> DirectoryIdentity | Unread | None:
    if not is_guid(client_id):
        return Unread("the client id is not a GUID") if client_id else _NO_CLIENT_ID
    return await reader.find_identity(client_id)


def _choose_candidates(
    listed: Sequence[NamedIdentity], presented: PresentedToken, wanted: str
) -> Sequence[IdentityCandidate]:
    """Return the identities that trust a token, and those with the wanted name."""
    found = []
    for each in listed:
        credentials = each.credentials
        is_trusting = not isinstance(credentials, Unread) and any(
            matches(one, presented) for one in credentials
        )
        if isinstance(each.identity, DirectoryIdentity) and (
            is_trusting or each.identity.name == wanted.strip()
        ):
            found.append(
                IdentityCandidate(
                    name=each.identity.name, client_id=each.client_id, is_trusting=is_trusting
                )
            )
    return found


def _is_no_identity(named: NamedIdentity) -> bool:
    return named.identity is None or not is_guid(named.client_id)


class AuthorityReader:
    """Reads a token service; the address has been checked by the caller."""

    def __init__(self, connection: AzureConnection) -> None:
        self._connection = connection

    async def read_tenant(self, login: str, tenant: str) -> AuthorityFacts | Unread:
        """Return what the token service says about a tenant to anyone."""
        url = f"{login}/{quote_segment(tenant)}/v2.0/.well-known/openid-configuration"
        try:
            response = await self._connection.send("GET", url)
        except (ApiError, SettingsError) as exc:
            return Unread(exc.message)
        known = _TENANT.fullmatch(str(_json(response).get("issuer") or ""))
        if response.status != 200 and _find_number(_json(response)) == 0:
            return Unread(f"{url} returned status {response.status}")
        return AuthorityFacts(
            url=url,
            tenant_id=known[1].lower() if known and response.status == 200 else "",
            now=_parse_date(header(response, "date")),
            has_flexible_kubernetes=names.FLEXIBLE_KUBERNETES
            in str(_json(response).get(names.EXTENSIONS)),
        )

    async def exchange(
        self, login: str, tenant: str, client_id: str, assertion: str, resource: str
    ) -> ExchangeFacts | Unread:
        """Exchange a token of a ServiceAccount; the access token is discarded."""
        form = {
            "grant_type": names.CLIENT_CREDENTIALS,
            "client_id": client_id,
            "scope": f"{resource}/.default",
            "client_assertion_type": names.JWT_BEARER,
            "client_assertion": assertion,
        }
        url = f"{login}/{quote_segment(tenant)}/oauth2/v2.0/token"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            token = jose.parse(assertion)
            response = await self._connection.send(
                "POST", url, headers=headers, body=urlencode(form).encode()
            )
        except (ApiError, SettingsError, jose.MalformedToken) as exc:
            return Unread(exc.message)
        answer = _json(response)
        shown = PodToken.from_claims(token.kid, token.claims)
        if response.status == 200:
            return ExchangeFacts(token=shown, status=200)
        described = str(answer.get("error_description") or answer.get("error") or "")
        return ExchangeFacts(
            token=shown,
            status=response.status,
            number=_find_number(answer),
            message=sanitize(_SUFFIX.sub("", described)),
        )


async def request_token(
    client: KubeClient, namespace: str, account: str, audience: str
) -> str | Unread:
    """Request a short token of a ServiceAccount, as the kubelet does for a pod."""
    path = path_of("ServiceAccount", account, namespace=namespace, part="token")
    body = {"spec": {"audiences": [audience], "expirationSeconds": _TOKEN_SECONDS}}
    try:
        made = await client.create(path, body)
    except KubeError as exc:
        return Unread(f"no token of the ServiceAccount could be requested: {exc.message}")
    return str((made.get("status") or {}).get("token") or "")


def _json(response: HttpResponse) -> dict[str, object]:
    try:
        found = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _find_number(answer: dict[str, object]) -> int:
    found = _NUMBER.search(str(answer.get("error_description") or ""))
    return int(found[1]) if found else 0


def _parse_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
