"""The resources that each process of an authority opens: database, directory, signing keys."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from podpass.clock import Clock
from podpass.clouds import CLOUDS
from podpass.database import Database, DatabaseFailed, DatabaseUnusable
from podpass.directory.claims_expression import KubernetesIssuers
from podpass.directory.model import ResourcePrincipal
from podpass.directory.resources import GRAPH_APP_ID, resources_of_cloud
from podpass.directory.store.directory import Directory
from podpass.errors import Error
from podpass.exchange.client_auth.issuer_keys import cluster_issuer
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.schedule import KeySchedule
from podpass.http.fetcher import Fetcher, FetchRules, TrustedUrls
from podpass.settings import AuthorityProcessSettings, AuthoritySettings

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 0.5

Opened = TypeVar("Opened")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of `podpass authority`."""

    process: AuthorityProcessSettings
    exchange: AuthoritySettings


def has_console(settings: Settings) -> bool:
    """Return whether the admin address serves the console, which needs a configured origin."""
    return bool(settings.process.admin_listen and settings.process.admin_origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityResources:
    """The open resources of a process."""

    database: Database
    directory: Directory
    keys: AuthorityKeys


@contextlib.asynccontextmanager
async def open_resources(
    settings: Settings, clock: Clock, on_waiting: Callable[[str], None], on_lost: Callable[[], None]
) -> AsyncIterator[AuthorityResources]:
    """Open all resources; retry while the database is unavailable.

    `on_waiting` is called with the reason, without secrets, before each retry; `on_lost` is called when a
    restart is required. Raises DatabaseUnusable, DatabaseFailed and errors in stored data when the start time
    is over.
    """
    until = time.monotonic() + settings.process.start_seconds
    async with contextlib.AsyncExitStack() as stack:
        opened = await _retry(lambda: _open(stack, settings, clock), until, on_waiting)
        await stack.enter_async_context(opened.keys.running(on_lost))
        yield opened


async def _open(
    stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock
) -> AuthorityResources:
    async with contextlib.AsyncExitStack() as opening:
        database = await opening.enter_async_context(Database(settings.process.database))
        directory = await opening.enter_async_context(
            Directory(
                database,
                list_resource_principals(settings),
                clock,
                KubernetesIssuers(
                    issuers=frozenset(settings.exchange.flexible_kubernetes),
                    allow_wide=settings.exchange.allow_wide,
                ),
            )
        )
        keys = await AuthorityKeys.open(
            database, settings.process.sealing_key_file, clock, create_schedule(settings)
        )
        stack.push_async_exit(opening.pop_all())
    return AuthorityResources(database=database, directory=directory, keys=keys)


async def _retry(
    step: Callable[[], Awaitable[Opened]], until: float, on_waiting: Callable[[str], None]
) -> Opened:
    while True:
        try:
            return await step()
        except (DatabaseFailed, DatabaseUnusable) as exc:
            if not _is_temporary(exc) or time.monotonic() > until:
                raise
            # The probes show this reason to every caller, so it contains no host and no user name.
            on_waiting("the database cannot be opened")
            _log.warning("database_open_retried", extra={"cause": exc.message})
            await asyncio.sleep(_RETRY_SECONDS)


def _is_temporary(exc: Error) -> bool:
    """Return whether a retry may succeed after this database error."""
    cause = exc if isinstance(exc, DatabaseFailed) else exc.__cause__
    return isinstance(cause, DatabaseFailed) and cause.retry_seconds is not None


def list_resource_principals(settings: Settings) -> tuple[ResourcePrincipal, ...]:
    """Return the resources for which tokens are issued in addition to those of the public cloud."""
    known = resources_of_cloud(CLOUDS[settings.exchange.cloud])
    if not settings.process.admin_origin:
        return known
    graph = ResourcePrincipal(
        app_id=GRAPH_APP_ID,
        uris=(settings.process.admin_origin,),
        display_name="Microsoft Graph of this authority",
        token_version=1,
    )
    return (*known, graph)


def create_schedule(settings: Settings) -> KeySchedule:
    """Return the key schedule; an old key stays published as long as the longest token is valid."""
    exchange, process = settings.exchange, settings.process
    return KeySchedule(
        rotation_seconds=process.rotation_seconds,
        ahead_seconds=process.publish_ahead_seconds,
        token_seconds=max(exchange.token_seconds, exchange.user_token_seconds),
    )


def create_fetcher(settings: Settings) -> Fetcher:
    """Create the fetcher for the keys of issuers."""
    exchange = settings.exchange
    cluster = cluster_issuer(exchange)
    rules = FetchRules(
        private=exchange.private_issuers,
        private_ca_file=exchange.issuer_ca_file,
        trusted=cluster.trusted if cluster else TrustedUrls(),
    )
    return Fetcher(rules)
