"""The parts of one instance that replace Azure: directory, authority, vaults and the management APIs."""

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from podpass import names
from podpass.lab.instance import administrator, azure_apis
from podpass.lab.instance.context import CloudContext
from podpass.settings.azure import REFETCH_SECONDS

if TYPE_CHECKING:
    from podpass.database import Database
    from podpass.directory.model import User
    from podpass.directory.resource_manager.cluster_backend import ClusterBackend
    from podpass.directory.store.directory import Directory
    from podpass.lab.data.azure_config import AzAccount
    from podpass.resource.store import SecretStore
    from podpass.settings.storage import StorageSettings


class CloudParts:
    """Starts the parts of the cloud half. The methods are called in this order."""

    def __init__(self, context: CloudContext) -> None:
        self._context = context
        self._config, self._data_dir = context.config, context.data_dir
        self._stack, self._clock = context.stack, context.clock
        self.directory: Directory
        self.secret_store: SecretStore
        self._storage: StorageSettings | None = None

    async def open_database(self) -> None:
        """Open the database that directory, authority and vault share."""
        from podpass.database import Database

        database = Database(f"sqlite:///{self._data_dir.path('directory.db')}")
        self.database = await self._stack.enter_async_context(database)

    async def open_keys(self) -> None:
        """Open or create the keys of the token service, and prepare to read those that it publishes."""
        from podpass.exchange.signing.key_set import AuthorityKeys
        from podpass.resource.authority_keys import PublishedKeys
        from podpass.settings import VaultSettings

        # The sealing key of the token service is stored outside the database with the sealed keys.
        path = self._data_dir.path("keys", "authority.key")
        self.authority_keys = await AuthorityKeys.open(self.database, path, self._clock)
        self.published_keys = PublishedKeys(
            self._context.create_fetcher(),
            VaultSettings().keys_url,
            self._clock,
            interval_seconds=self._refetch_seconds(10),
        )

    async def open_directory(self) -> str:
        """Open the directory, and create its tenant and administrator; return the tenant."""
        self.directory, self._admin = await self.enter_directory(self._stack, self.database)
        return f"tenant {self._config.tenant_id}"

    async def enter_directory(
        self, stack: AsyncExitStack, database: "Database"
    ) -> "tuple[Directory, User]":
        """Open a directory in a database; create the tenant and the administrator of this cloud in it."""
        from podpass.directory.model import ResourcePrincipal, Tenant
        from podpass.directory.resources import GRAPH_APP_ID, VAULT_APP_ID
        from podpass.directory.store.directory import Directory

        vault = ResourcePrincipal(
            app_id=VAULT_APP_ID,
            uris=(self._context.direct_vault, self._config.direct_origin("vault")),
            display_name="Azure Key Vault, without gateway",
            token_version=1,
        )
        graph = ResourcePrincipal(
            app_id=GRAPH_APP_ID,
            uris=(self._config.direct_origin("azure"),),
            display_name="Microsoft Graph, without gateway",
            token_version=1,
        )
        directory = await stack.enter_async_context(
            Directory(database, (vault, graph), self._clock)
        )
        domain = self._config.admin_username.partition("@")[2]
        await directory.create_tenant(
            Tenant(
                id=self._config.tenant_id,
                display_name=azure_apis.TENANT_NAME,
                domains=(domain,),
            )
        )
        return directory, await administrator.ensure_administrator(directory, self._config)

    async def start_authority(self) -> str:
        """Serve tokens, and sign `az` in; return the origin."""
        from podpass.exchange.app import create_app
        from podpass.settings import AuthoritySettings

        cluster = self._context.cluster
        origins = [f"https://{alias}" for alias in names.LOGIN_ALIASES]
        settings = AuthoritySettings(
            origins=(
                *origins,
                self._config.direct_origin("authority"),
                self._config.url("authority"),
            ),
            pages_origin=self._context.login,
            graph_origin=self._config.direct_origin("azure"),
            administrators=(self._admin.id,),
            propagation_seconds=self._context.settings.propagation_seconds,
            issuer_refetch_seconds=self._refetch_seconds(REFETCH_SECONDS),
            assertion_algorithms=tuple(self._context.settings.assertion_algorithms.split(",")),
            cluster_issuer="" if cluster is None else cluster.issuer,
            cluster_server="" if cluster is None else cluster.server,
        )
        keys = await self._stack.enter_async_context(self.authority_keys.running())
        fetcher = self._context.create_fetcher()
        app = create_app(settings, self.directory, fetcher, keys, self._clock)
        self.issuer_keys = app.issuer_keys
        self.managed_identity_tokens = app.managed_identities
        await self._context.serve("authority", app)
        self._sign_az_in()
        return self._config.direct_origin("authority")

    def forget_keys(self) -> None:
        """Make authority and vault fetch the keys again before their caches expire."""
        self.issuer_keys.clear()
        self.published_keys.clear()

    def _refetch_seconds(self, usual: int) -> int:
        """Return the interval of fetches for an unknown key ID; tests rotate keys more often."""
        return usual if self._context.faults is None else 0

    def _sign_az_in(self) -> None:
        from podpass.exchange.sign_in import refresh_tokens
        from podpass.exchange.sign_in.well_known_clients import AZURE_CLI
        from podpass.lab.data import azure_config

        seal, admin, clock = self.authority_keys.token_sealer, self._admin, self._clock
        azure_config.sign_in_administrator(
            self._data_dir.path("azure"),
            self.az_account,
            mint=lambda: refresh_tokens.issue(seal, admin, AZURE_CLI, clock=clock),
            works=lambda token: refresh_tokens.is_valid(seal, token, admin, clock=clock),
            clock=clock,
        )

    @property
    def az_account(self) -> "AzAccount":
        """Return the administrator as `az` stores a signed-in user."""
        from podpass.lab.data.azure_config import AzAccount

        return AzAccount(
            tenant_id=self._config.tenant_id,
            tenant_name=azure_apis.TENANT_NAME,
            user_id=self._admin.id,
            user_name=self._admin.name,
            subscription_id=self._config.subscription_id,
            subscription_name=azure_apis.SUBSCRIPTION_NAME,
        )

    async def issue_refresh_token(self) -> str:
        """Issue a refresh token of the administrator for Azure CLI."""
        from podpass.exchange.sign_in import refresh_tokens
        from podpass.exchange.sign_in.well_known_clients import AZURE_CLI

        # Read again: a reset hashes the password with another salt, which makes earlier tokens invalid.
        admin = await self.directory.users.get(self._admin.id) or self._admin
        seal = self.authority_keys.token_sealer
        return refresh_tokens.issue(seal, admin, AZURE_CLI, clock=self._clock)

    async def start_vault(self) -> str:
        """Serve the vaults; return their address."""
        from podpass.resource.app import create_app
        from podpass.resource.purge_job import PurgeJob
        from podpass.resource.store import SecretStore
        from podpass.settings import AZURE_VAULTS, VaultOrigin, VaultSettings

        # The sealing key of the vault is stored outside the database with the sealed values.
        store = SecretStore(self.database, self._data_dir.path("keys", "vault.key"))
        self.secret_store = await self._stack.enter_async_context(store)
        direct = VaultOrigin(
            suffix=names.DIRECT_VAULT_SUFFIX,
            authority=self._config.direct_origin("authority"),
            resource=self._context.direct_vault,
        )
        settings = VaultSettings(origins=(AZURE_VAULTS, direct))
        purge_job = PurgeJob(self.directory, store, self._clock)
        await self._stack.enter_async_context(purge_job)
        app = create_app(settings, self.directory, store, self.published_keys, self._clock)
        await self._context.serve("vault", app)
        return f"https://*.{names.VAULT_SUFFIX}"

    async def start_storage(self, azurite: str, accounts: str) -> str:
        """Serve storage accounts in front of Azurite; return their addresses.

        The values of `--azurite` and of Azurite's own variable with the keys of its accounts.
        """
        from podpass.resource.storage.app import create_app
        from podpass.settings.storage import StorageSettings, parse_accounts, parse_services

        settings = StorageSettings(
            tenant_id=self._config.tenant_id,
            services=parse_services(azurite),
            keys=parse_accounts(accounts),
        )
        app = create_app(settings, self.directory, self.published_keys, self._clock)
        self._stack.push_async_callback(app.close)
        await self._context.serve("storage", app)
        self._storage = settings
        return ", ".join(f"https://*.{each}.{names.STORAGE_SUFFIX}" for each in settings.services)

    async def describe_storage(self) -> dict[str, Any]:
        """Return the storage accounts, the services that are served, and the accounts that Azurite has.

        Without Azurite, no service is served.
        """
        found = await self.directory.list_storage_accounts(self._config.subscription_id)
        served = self._storage
        return {
            "accounts": [each.name for each in found],
            "services": [*served.services] if served else [],
            "azurite_accounts": [*served.keys] if served else [],
        }

    async def start_apis(self, managed: "ClusterBackend") -> str:
        """Serve Resource Manager and Microsoft Graph; return their addresses."""
        create = partial(
            azure_apis.create_app,
            self.directory,
            managed,
            self.published_keys,
            self._config,
            self._clock,
            authority=self._config.direct_origin("authority"),
            graph_origin=self._config.direct_origin("azure"),
            vault_suffix=self._context.direct_vault.removeprefix("https://"),
        )
        await self._context.serve("azure", azure_apis.AzureApis(create))
        return f"https://{names.ARM_HOST}, https://{names.GRAPH_HOST}"

    async def has_vault(self, name: str) -> bool:
        """Return whether a vault exists."""
        return await self.directory.find_vault(name) is not None

    async def has_host(self, host: str) -> bool:
        """Return whether the vault or the storage account of a host exists; another host always does.

        `host` is in lower case without a trailing dot.
        """
        from podpass.resource.storage.wire import parse_host

        label, _, parent = host.partition(".")
        if parent == names.VAULT_SUFFIX:
            return await self.has_vault(label)
        storage = parse_host(host)
        if storage is None:
            return not host.endswith(f".{names.STORAGE_SUFFIX}")
        return await self.directory.find_storage_account(storage.account) is not None
