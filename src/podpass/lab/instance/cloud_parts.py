"""The parts of one instance that replace Azure: directory, authority, vaults and the management APIs.

Each part is a function that returns what other parts need, and the text for the progress. What it starts is
pushed on the exit stack of the context.
"""

import asyncio
import importlib
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from podpass import names
from podpass.directory.builtin_roles import OWNER
from podpass.directory.management_app import create_app as create_management_app
from podpass.directory.model import RoleAssignment, User
from podpass.directory.resources import GRAPH_APP_ID, MANAGER_APP_ID, PORTAL_APP_ID, audiences
from podpass.lab.instance.context import CloudContext, LazyApp
from podpass.lab.instance.start import PartStarter
from podpass.settings.azure import REFETCH_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podpass.database import Database
    from podpass.directory.access import Admit
    from podpass.directory.store.directory import Directory
    from podpass.exchange.app import TokenService
    from podpass.exchange.client_auth.issuer_discovery import JsonFetcher
    from podpass.exchange.signing.key_set import AuthorityKeys
    from podpass.http.server import App, Receive
    from podpass.lab.cluster.backend import ClusterBackend
    from podpass.lab.data.azure_config import AzAccount
    from podpass.lab.data.datadir import InstanceConfig
    from podpass.lab.instance.control import Handler, Query
    from podpass.lab.issuers.registry import IssuerRegistry
    from podpass.lab.pipelines.issuer import PipelineIssuer
    from podpass.lab.services.model import StartedPart
    from podpass.resource.authority_keys import PublishedKeys

_TENANT_NAME = "podpass local"
_SUBSCRIPTION_NAME = "podpass"
# The JWKS with the keys that sign access tokens.
_KEYS_URL = f"https://{names.LOGIN_HOST}/common/discovery/v2.0/keys"
_API_MODULES = (
    "podpass.directory.graph.app",
    "podpass.directory.portal.app",
    "podpass.directory.resource_manager.app",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudKeys:
    """The keys of the token service: those that it has, and those that its published documents name."""

    authority: "AuthorityKeys"
    published: "PublishedKeys"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudHalf:
    """The started parts of the cloud half; `data` and `parts` are those of the services, by name."""

    context: CloudContext
    database: "Database"
    keys: CloudKeys
    directory: "Directory"
    admin: User
    authority: "TokenService"
    pipelines: "PipelineIssuer"
    issuers: "IssuerRegistry"
    data: "Mapping[str, Any]"
    parts: "Mapping[str, StartedPart]"

    def forget_keys(self) -> None:
        """Make authority and vault fetch the keys again before their caches expire."""
        self.authority.issuer_keys.clear()
        self.keys.published.clear()

    @property
    def az_account(self) -> "AzAccount":
        """Return the administrator as `az` stores a signed-in user."""
        return _az_account(self.context.config, self.admin)

    async def issue_refresh_token(self) -> str:
        """Issue a refresh token of the administrator for Azure CLI."""
        from podpass.exchange.sign_in import refresh_tokens
        from podpass.exchange.sign_in.well_known_clients import AZURE_CLI

        # Read again: a reset hashes the password with another salt, which makes earlier tokens invalid.
        admin = await self.directory.users.get(self.admin.id) or self.admin
        seal = self.keys.authority.token_sealer
        return refresh_tokens.issue(seal, admin, AZURE_CLI, clock=self.context.clock)

    async def start_job(self, query: "Query", _receive: "Receive") -> dict[str, Any]:
        """Return the environment of a job of a pipeline. Raises UsageError."""
        return self.pipelines.start_job(query.get("job", ""), query.get("seconds", ""))

    def describe(self, service: str) -> "Handler":
        """Return the handler of the control API for the document of a service; `{}` if it is not served."""

        async def handle(_query: "Query", _receive: "Receive") -> dict[str, Any]:
            started = self.parts.get(service)
            return await started.describe() if started else {}

        return handle

    async def has_host(self, host: str) -> bool:
        """Return whether the resource of a host exists; a host of no service always does.

        `host` is in lower case without a trailing dot.
        """
        from podpass.lab import services

        return await services.has_host(self.directory, host)


async def open_database(context: CloudContext) -> "Database":
    """Open the database that directory, authority and vault share."""
    from podpass.database import Database

    database = Database(f"sqlite:///{context.data_dir.path('directory.db')}")
    return await context.stack.enter_async_context(database)


async def open_cloud_keys(context: CloudContext, database: "Database") -> CloudKeys:
    """Open or create the keys of the token service, and prepare to read those that it publishes."""
    from podpass.exchange.signing.key_set import AuthorityKeys
    from podpass.resource.authority_keys import PublishedKeys

    # The sealing key of the token service is stored outside the database with the sealed keys.
    path = context.data_dir.path("keys", "authority.key")
    return CloudKeys(
        authority=await AuthorityKeys.open(database, path, context.clock),
        published=PublishedKeys(
            context.create_fetcher(),
            _KEYS_URL,
            context.clock,
            interval_seconds=context.refetch_seconds(10),
        ),
    )


def open_pipelines(
    context: CloudContext, issuers: "IssuerRegistry", keys: CloudKeys
) -> "PipelineIssuer":
    """Return the issuer of the pipelines that an option or a seed enables."""
    from podpass.lab.pipelines.issuer import EntraSigner, PipelineIssuer

    chosen = frozenset(filter(None, context.settings.pipelines.split(",")))
    return PipelineIssuer(
        context.data_dir.path("keys", "pipelines"),
        lambda: chosen | issuers.platforms,
        context.apis,
        context.clock,
        EntraSigner(
            tenant_id=context.config.tenant_id,
            sign=lambda claims: keys.authority.active.sign(claims, {"typ": "JWT"}),
        ),
    )


async def start_cloud_half(
    context: CloudContext, start: PartStarter, database: "Database", keys: CloudKeys
) -> CloudHalf:
    """Start the parts that every cloud half has: directory, authority and services, in this order."""
    from podpass.lab import services
    from podpass.lab.issuers.fetcher import NamedIssuerFetcher
    from podpass.lab.issuers.registry import ISSUERS, IssuerRegistry

    directory, admin = await start("directory", _open_directory(context, database))
    issuers = IssuerRegistry(context.data_dir.path("issuers.json"))
    pipelines = open_pipelines(context, issuers, keys)
    fetcher = pipelines.wrap_fetcher(NamedIssuerFetcher(issuers, context.create_issuer_fetcher()))
    authority = await start("authority", _start_authority(context, keys, directory, admin, fetcher))
    issuers.on_change = authority.issuer_keys.clear
    data = await services.open_data(context.stack, database, context.data_dir)
    data[ISSUERS] = issuers
    parts = {}
    for service in services.SERVICES:
        if service.start is not None:
            starting = service.start(context, directory, keys.published, data.get(service.name))
            if starting is not None:
                parts[service.name] = await start(service.name, starting)
    return CloudHalf(
        context=context,
        database=database,
        keys=keys,
        directory=directory,
        admin=admin,
        authority=authority,
        pipelines=pipelines,
        issuers=issuers,
        data=data,
        parts=parts,
    )


async def _open_directory(
    context: CloudContext, database: "Database"
) -> tuple[tuple["Directory", User], str]:
    """Open the directory; return it, its administrator, and the tenant."""
    opened = await enter_directory(context, context.stack, database)
    return opened, f"tenant {context.config.tenant_id}"


async def enter_directory(
    context: CloudContext, stack: AsyncExitStack, database: "Database"
) -> tuple["Directory", User]:
    """Open a directory in a database; create the tenant and the administrator of this cloud in it."""
    from podpass.directory.model import ResourcePrincipal, Tenant
    from podpass.directory.resources import VAULT_APP_ID
    from podpass.lab import services

    config = context.config
    vault = ResourcePrincipal(
        app_id=VAULT_APP_ID,
        uris=(context.direct_vault, config.direct_origin("vault")),
        display_name="Azure Key Vault, without gateway",
        token_version=1,
    )
    graph = ResourcePrincipal(
        app_id=GRAPH_APP_ID,
        uris=(config.direct_origin("azure"),),
        display_name="Microsoft Graph, without gateway",
        token_version=1,
    )
    directory = await stack.enter_async_context(
        services.create_directory(database, (vault, graph), context.clock, context.expressions)
    )
    domains = (config.admin_domain,)
    await directory.create_tenant(
        Tenant(id=config.tenant_id, display_name=_TENANT_NAME, domains=domains)
    )
    return directory, await _ensure_administrator(directory, config)


async def _ensure_administrator(directory: "Directory", config: "InstanceConfig") -> User:
    """Create the administrator with the role Owner on the subscription, unless it exists.

    The password is hashed in a thread, because hashing is slow by design.
    """
    from podpass.exchange.sign_in.passwords import hash_password

    user = await directory.users.get(config.admin_id)
    if user is None:
        user = User(
            id=config.admin_id,
            tenant_id=config.tenant_id,
            name=config.admin_username,
            display_name="podpass administrator",
            password=await asyncio.to_thread(hash_password, config.admin_password.reveal()),
        )
        ownership = RoleAssignment(
            scope=f"/subscriptions/{config.subscription_id}",
            principal_id=user.id,
            role=OWNER,
            principal_type="User",
        )
        await directory.users.put(user)
        await directory.assignments.put(ownership)
    return user


async def _start_authority(
    context: CloudContext,
    keys: CloudKeys,
    directory: "Directory",
    admin: User,
    fetcher: "JsonFetcher",
) -> tuple["TokenService", str]:
    """Serve tokens, and sign `az` in; return the token service and its origin."""
    from podpass.exchange.app import create_app
    from podpass.settings import AuthoritySettings

    config, cluster = context.config, context.cluster
    origin = config.direct_origin("authority")
    origins = [f"https://{alias}" for alias in names.LOGIN_ALIASES]
    settings = AuthoritySettings(
        origins=(*origins, origin, config.url("authority")),
        pages_origin=context.login,
        graph_origin=config.direct_origin("azure"),
        administrators=(admin.id,),
        propagation_seconds=context.settings.propagation_seconds,
        issuer_refetch_seconds=context.refetch_seconds(REFETCH_SECONDS),
        assertion_algorithms=tuple(context.settings.assertion_algorithms.split(",")),
        require_pod_claims=context.settings.require_pod_claims,
        flexible_kubernetes=tuple(context.expressions.issuers),
        allow_wide=context.expressions.allow_wide,
        cluster_issuer="" if cluster is None else cluster.issuer,
        cluster_server="" if cluster is None else cluster.server,
    )
    running = await context.stack.enter_async_context(keys.authority.running())
    app = create_app(settings, directory, fetcher, running, context.clock)
    await context.serve("authority", app)
    _sign_az_in(context, keys, admin)
    return app, origin


def _sign_az_in(context: CloudContext, keys: CloudKeys, admin: User) -> None:
    from podpass.exchange.sign_in import refresh_tokens
    from podpass.exchange.sign_in.well_known_clients import AZURE_CLI
    from podpass.lab.data import azure_config

    seal, clock = keys.authority.token_sealer, context.clock
    azure_config.sign_in_administrator(
        context.data_dir.path("azure"),
        _az_account(context.config, admin),
        mint=lambda: refresh_tokens.issue(seal, admin, AZURE_CLI, clock=clock),
        works=lambda token: refresh_tokens.is_valid(seal, token, admin, clock=clock),
        clock=clock,
    )


def _az_account(config: "InstanceConfig", admin: User) -> "AzAccount":
    from podpass.lab.data.azure_config import AzAccount

    return AzAccount(
        tenant_id=config.tenant_id,
        tenant_name=_TENANT_NAME,
        user_id=admin.id,
        user_name=admin.name,
        subscription_id=config.subscription_id,
        subscription_name=_SUBSCRIPTION_NAME,
    )


async def start_apis(cloud: CloudHalf, cluster: "ClusterBackend") -> tuple[None, str]:
    """Serve Resource Manager, Microsoft Graph and the portal's API on one port; return their addresses."""
    app: App = LazyApp(_import_apis, partial(_create_apis, cloud, cluster))
    await cloud.context.serve("azure", cloud.pipelines.wrap(app))
    return None, f"https://{names.ARM_HOST}, https://{names.GRAPH_HOST}"


def _import_apis() -> None:
    from podpass.lab import services

    for name in _API_MODULES:
        importlib.import_module(name)
    services.list_providers()


def _create_apis(cloud: CloudHalf, cluster: "ClusterBackend") -> "App":
    from podpass.directory.graph.app import create_app as create_graph_app
    from podpass.directory.portal.app import create_app as create_portal_app
    from podpass.directory.resource_manager.app import create_app as create_manager_app
    from podpass.directory.resource_manager.model import SubscriptionContext
    from podpass.exchange.sign_in.passwords import hash_password
    from podpass.lab import services

    context, directory = cloud.context, cloud.directory
    config, clock = context.config, context.clock
    # The origins of `place` and Graph are for clients without the gateway.
    place = SubscriptionContext(
        tenant_id=config.tenant_id,
        tenant_name=_TENANT_NAME,
        domain=config.admin_domain,
        subscription_id=config.subscription_id,
        subscription_name=_SUBSCRIPTION_NAME,
        authority=config.direct_origin("authority"),
        vault_suffix=context.direct_vault.removeprefix("https://"),
    )
    graph_audiences = audiences(GRAPH_APP_ID, [config.direct_origin("azure")])
    arm = _create_admit(cloud, audiences(MANAGER_APP_ID))
    msgraph = _create_admit(cloud, graph_audiences)
    portal = _create_admit(cloud, audiences(PORTAL_APP_ID))
    return create_management_app(
        create_manager_app(
            directory, arm, place, clock, services.list_providers(), {"clusters": cluster}
        ),
        create_graph_app(
            directory,
            msgraph,
            config.tenant_id,
            config.admin_domain,
            clock,
            hash_password=hash_password,
            administrators=(cloud.admin.id,),
        ),
        create_portal_app(directory, portal, config.tenant_id),
    )


def _create_admit(cloud: CloudHalf, accepted: frozenset[str]) -> "Admit":
    from podpass.resource.api_callers import admit_with
    from podpass.resource.guard import Guard

    return admit_with(
        Guard(
            tenant_id=cloud.context.config.tenant_id,
            audiences=accepted,
            authorities=(),  # Azure's own APIs accept version 1 tokens only, never those of applications
            keys=cloud.keys.published,
            clock=cloud.context.clock,
        )
    )


async def start_gateway(
    cloud: CloudHalf,
    address: str,
    *,
    direct: socket.socket | None,
    pods: socket.socket | None = None,
) -> tuple[None, str]:
    """Serve Azure's names; return the address.

    `direct` is a listening socket for clients without proxy settings, `pods` one for pods with their own
    network.
    """
    from podpass.lab.gateway import gateway

    context = cloud.context
    running = gateway.run_gateway(
        context.sockets["gateway"],
        gateway.routes(context.config.ports, storage=context.storage_services),
        pods=pods,
        direct=direct,
        host_exists=cloud.has_host,
        sources=context.sources,
        clock=context.clock,
    )
    await context.stack.enter_async_context(running)
    return None, address
