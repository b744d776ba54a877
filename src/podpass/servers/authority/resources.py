"""What the processes of an authority open, each for itself: the database, the directory in it, the keys."""

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
from podpass.directory.model import ResourcePrincipal
from podpass.directory.resources import GRAPH_APP_ID, of_cloud
from podpass.directory.store.directory import Directory
from podpass.errors import Error
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.schedule import Schedule
from podpass.http.fetcher import Fetcher, FetchRules
from podpass.settings import AuthorityProcessSettings, AuthoritySettings

_log = logging.getLogger(__name__)
_AGAIN_SECONDS = 0.5

Opened = TypeVar("Opened")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that `podpass authority` was told."""

    process: AuthorityProcessSettings
    exchange: AuthoritySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is open."""

    database: Database
    directory: Directory
    keys: AuthorityKeys


@contextlib.asynccontextmanager
async def opened(
    settings: Settings,
    clock: Clock,
    waiting: Callable[[str], None],
    lost: Callable[[], None],
) -> AsyncIterator[Parts]:
    """Open everything, waiting for a database that is not to be had yet.

    Shapes:  `waiting` is told why, in words for everybody, each time it is; `lost` is called when
             only a new start helps.
    Errors:  what a part says of its own data; DatabaseUnusable, DatabaseFailed when the time is over.
    """
    until = time.monotonic() + settings.process.start_seconds
    async with contextlib.AsyncExitStack() as stack:
        parts = await _patiently(lambda: _open(stack, settings, clock), until, waiting)
        await stack.enter_async_context(parts.keys.running(lost))
        yield parts


async def _open(stack: contextlib.AsyncExitStack, settings: Settings, clock: Clock) -> Parts:
    async with contextlib.AsyncExitStack() as opening:
        database = await opening.enter_async_context(Database(settings.process.database))
        directory = await opening.enter_async_context(
            Directory(database, resources(settings), clock)
        )
        keys = await AuthorityKeys.open(
            database, settings.process.sealing_key_file, clock, schedule(settings)
        )
        stack.push_async_exit(opening.pop_all())
    return Parts(database=database, directory=directory, keys=keys)


async def _patiently(
    step: Callable[[], Awaitable[Opened]], until: float, waiting: Callable[[str], None]
) -> Opened:
    while True:
        try:
            return await step()
        except (DatabaseFailed, DatabaseUnusable) as exc:
            if not _may_pass(exc) or time.monotonic() > until:
                raise
            # Whoever reaches the probes is told no more: not where it is, and whose it is.
            waiting("the database cannot be opened")
            _log.warning("database_awaited", extra={"cause": exc.message})
            await asyncio.sleep(_AGAIN_SECONDS)


def _may_pass(exc: Error) -> bool:
    """Tell whether a fault of the database is one that waiting may help."""
    below = exc if isinstance(exc, DatabaseFailed) else exc.__cause__
    return isinstance(below, DatabaseFailed) and below.retry_seconds is not None


def resources(settings: Settings) -> tuple[ResourcePrincipal, ...]:
    """List what tokens can be asked for besides the public cloud's resources."""
    known = of_cloud(CLOUDS[settings.exchange.cloud])
    if not settings.process.admin_origin:
        return known
    graph = ResourcePrincipal(
        app_id=GRAPH_APP_ID,
        uris=(settings.process.admin_origin,),
        display_name="Microsoft Graph of this authority",
        token_version=1,
    )
    return (*known, graph)


def schedule(settings: Settings) -> Schedule:
    """Say when keys sign: old ones stay as long as the longest token lives."""
    exchange, process = settings.exchange, settings.process
    return Schedule(
        rotation_seconds=process.rotation_seconds,
        ahead_seconds=process.publish_ahead_seconds,
        token_seconds=max(exchange.token_seconds, exchange.user_token_seconds),
    )


def fetcher(settings: Settings) -> Fetcher:
    """Make what fetches issuers' keys."""
    exchange = settings.exchange
    rules = FetchRules(private=exchange.private_issuers, private_ca_file=exchange.issuer_ca_file)
    return Fetcher(rules)
