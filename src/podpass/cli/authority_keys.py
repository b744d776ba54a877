"""`podpass authority keys` and `podpass authority rotate`: the token service's signing keys.

Both work on the database itself, so it does not matter whether the service runs; every replica hears of a
change within a second.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass.cli import options
from podpass.cli.output import emit, say
from podpass.clock import rfc3339, system
from podpass.errors import Error, UsageError
from podpass.local.datadir import DataDir
from podpass.settings import AuthorityProcessSettings

if TYPE_CHECKING:
    from podpass.database import Database
    from podpass.exchange.signing.key_set import AuthorityKeys
    from podpass.exchange.signing.schedule import Schedule, Turn

_COLUMNS = {
    "KID": "kid",
    "STATE": "state",
    "SIGNS FROM": "signs_from",
    "SIGNS UNTIL": "signs_until",
    "PUBLISHED UNTIL": "published_until",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Whose keys they are; `sealing` is None where nobody said it, `files` an earlier version's folder."""

    url: str
    sealing: Path | None
    files: Path | None
    schedule: "Schedule"


def _where(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        options.setting(AuthorityProcessSettings, "publish_ahead_seconds", "N"),
        options.setting(AuthorityProcessSettings, "rotation_seconds", "N"),
        click.option(
            "--sealing-key-file",
            type=click.Path(path_type=Path),
            envvar="PODPASS_AUTHORITY_SEALING_KEY_FILE",
            metavar="FILE",
            help="What the keys in that database are sealed with.",
        ),
        click.option(
            "--database",
            envvar="PODPASS_AUTHORITY_DATABASE",
            metavar="URL",
            help="The authority's database; without it, the local instance's keys.",
        ),
        options.data_dir,
    ):
        command = option(command)
    return command


@click.command("keys")
@_where
@options.output()
def keys(output: str, **given: Any) -> None:
    """List the signing keys: which one signs, which comes, which are still published."""
    turns, damaged = asyncio.run(_list(_find(**given)))
    if not turns and not damaged and output == "table":
        say("there are no keys yet: the first start makes them")
        return
    emit(_rows(turns), output, _COLUMNS)
    for kid in damaged:
        say(f"{kid} is damaged, or sealed with another key")


@click.command("rotate")
@_where
@click.option(
    "--at-once",
    is_flag=True,
    help="Sign with the next key now, also if it is too new for everybody to know it.",
)
@click.option(
    "--retire",
    "retired",
    multiple=True,
    metavar="KID",
    help="Withdraw this key, which signs no longer or is damaged; its tokens are refused from then on.",
)
@click.option(
    "--retire-others", is_flag=True, help="Make new keys, sign at once, and withdraw all others."
)
@options.output()
def rotate(
    at_once: bool, retired: Sequence[str], retire_others: bool, output: str, **given: Any
) -> None:
    """Sign with the next key.

    The next key signs as soon as it has been published for long enough, and the old one stays published
    until no token of it lives: nobody notices. --at-once and --retire are for a key that leaked, and
    --retire-others for keys that leaked all, or that no longer open. --retire alone does not rotate.
    """
    if retire_others and (at_once or retired):
        raise UsageError("--retire-others does what --at-once and --retire do, for every key")
    where = _find(**given)
    if retire_others:
        turns = asyncio.run(_replace(where))
    else:
        turns = asyncio.run(_rotate(where, at_once=at_once, retired=retired))
    if output != "table":
        emit(_rows(turns), output)
        return
    for line in _told(turns):
        click.echo(line)
    if at_once or retire_others:
        say("who keeps published keys and does not ask again refuses tokens for up to a day")


def _find(
    data_dir: DataDir,
    database: str | None,
    sealing_key_file: Path | None,
    rotation_seconds: float,
    publish_ahead_seconds: float,
) -> Where:
    from podpass.exchange.signing.schedule import Schedule

    schedule = Schedule(rotation_seconds=rotation_seconds, ahead_seconds=publish_ahead_seconds)
    if database is not None:
        return Where(url=database, sealing=sealing_key_file, files=None, schedule=schedule)
    path = data_dir.path("directory.db")
    if not path.exists():
        raise UsageError(
            f"{data_dir.root} holds no instance",
            hint="name one with --data-dir D, or a cluster's database with --database URL",
        )
    folder = data_dir.path("keys")
    return Where(
        url=f"sqlite:///{path}",
        sealing=folder / "authority.key",
        files=folder / "authority",
        schedule=schedule,
    )


async def _list(where: Where) -> tuple[Sequence["Turn"], Sequence[str]]:
    """Give the keys' times, and which of them do not open, where the sealing key is known."""
    from podpass.exchange.signing import key_store
    from podpass.exchange.signing import schedule as key_schedule
    from podpass.exchange.signing.key_store import open_all, sealer_of

    async with _opened(where) as database:
        found = await database.read(key_store.read)
    known = where.sealing is not None and where.sealing.exists()
    damaged = open_all(found, sealer_of(_sealing(where))).damaged if known else found.timeless
    return key_schedule.timeline(found.slots, system(), where.schedule), sorted(damaged)


async def _rotate(where: Where, *, at_once: bool, retired: Sequence[str]) -> Sequence["Turn"]:
    from podpass.exchange.signing.key_set import AuthorityKeys

    async with _opened(where) as database:
        await _check_there_are(database, where)
        if at_once or not retired:
            keys = await AuthorityKeys.open(
                database, _sealing(where), system, where.schedule, files=where.files
            )
            await keys.rotate(at_once=at_once)
        else:
            keys = _unchecked(database, where)
        for kid in retired:
            await keys.retire(kid)
        return await _turns(keys)


async def _replace(where: Where) -> Sequence["Turn"]:
    async with _opened(where) as database:
        await _check_there_are(database, where)
        keys = _unchecked(database, where)
        await keys.replace_all()
        return await _turns(keys)


async def _check_there_are(database: "Database", where: Where) -> None:
    from podpass.exchange.signing import key_store

    old = where.files is not None and where.files.exists()
    if not old and (await database.read(key_store.read)).is_empty:
        raise Error(
            "there are no keys in that database",
            hint="see that it is the service's database; its first start makes keys",
        )


def _unchecked(database: "Database", where: Where) -> "AuthorityKeys":
    """Take the keys as they are: they may not open, and to read them would cry of damage that is expected."""
    from podpass.exchange.signing.key_set import AuthorityKeys
    from podpass.exchange.signing.key_store import sealer_of

    return AuthorityKeys(database, sealer_of(_sealing(where)), system, where.schedule)


@asynccontextmanager
async def _opened(where: Where) -> AsyncIterator["Database"]:
    from podpass.database import Database
    from podpass.exchange.signing.key_set import prepare

    # A name that was mistyped must not become a database of its own.
    async with Database(where.url, make=False) as database:
        await prepare(database)
        yield database


async def _turns(keys: "AuthorityKeys") -> Sequence["Turn"]:
    from podpass.exchange.signing import key_store
    from podpass.exchange.signing import schedule as key_schedule

    found = await keys.database.read(key_store.read)
    return key_schedule.timeline(found.slots, system(), keys.schedule)


def _sealing(where: Where) -> Path:
    if where.sealing is None:
        raise UsageError("--sealing-key-file is needed to make keys in that database")
    return where.sealing


def _rows(turns: Sequence["Turn"]) -> list[dict[str, str | None]]:
    return [
        {
            "kid": turn.slot.kid,
            "state": turn.state,
            "created": rfc3339(turn.slot.created),
            "signs_from": rfc3339(turn.slot.activates),
            "signs_until": _when(turn.until),
            "published_until": _when(turn.published),
        }
        for turn in turns
    ]


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _told(turns: Sequence["Turn"]) -> list[str]:
    """Say from when each key signs and until when each old one is published."""
    lines = []
    for turn in turns:
        kid, begins = turn.slot.kid, rfc3339(turn.slot.activates)
        if turn.state == "old":
            assert turn.published is not None
            lines.append(f"{kid} signs no longer; published until {rfc3339(turn.published)}")
        elif turn.state == "active":
            lines.append(f"{kid} signs since {begins}")
        else:
            lines.append(f"{kid} is published, and signs from {begins}")
    if not lines:
        raise Error("there are no keys", hint="start the service, which makes them")
    return lines
