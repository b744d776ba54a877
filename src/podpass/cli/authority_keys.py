"""`podpass authority keys` and `podpass authority rotate`: the signing keys of the token service.

Both commands use the database directly, so the service does not have to run. Every running replica reads a
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
from podpass.cli.output import print_message, print_output
from podpass.clock import rfc3339, system
from podpass.errors import Error, UsageError
from podpass.lab.data.datadir import DataDir
from podpass.settings import AuthorityProcessSettings

if TYPE_CHECKING:
    from podpass.database import Database
    from podpass.exchange.signing.key_set import AuthorityKeys
    from podpass.exchange.signing.schedule import KeyPeriod, KeySchedule

_COLUMNS = {
    "KID": "kid",
    "STATE": "state",
    "SIGNS FROM": "signs_from",
    "SIGNS UNTIL": "signs_until",
    "PUBLISHED UNTIL": "published_until",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLocation:
    """The database and the sealing key file; `sealing` is None without --sealing-key-file."""

    url: str
    sealing: Path | None
    schedule: "KeySchedule"


def _location_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        options.setting(AuthorityProcessSettings, "publish_ahead_seconds", "N"),
        options.setting(AuthorityProcessSettings, "rotation_seconds", "N"),
        click.option(
            "--sealing-key-file",
            type=click.Path(path_type=Path),
            envvar="PODPASS_AUTHORITY_SEALING_KEY_FILE",
            metavar="FILE",
            help="File of the sealing key of that database.",
        ),
        click.option(
            "--database",
            envvar="PODPASS_AUTHORITY_DATABASE",
            metavar="URL",
            help="Database of the token service; default: the keys of the local instance.",
        ),
        options.data_dir,
    ):
        command = option(command)
    return command


@click.command("keys")
@_location_options
@options.output()
def keys(output: str, **given: Any) -> None:
    """List the signing keys: active, upcoming and still published ones."""
    periods, damaged = asyncio.run(_list_keys(_locate_keys(**given)))
    if not periods and not damaged and output == "table":
        print_message("there are no keys yet: the first start of the service creates them")
        return
    print_output(_rows(periods), output, _COLUMNS)
    for kid in damaged:
        print_message(f"{kid} is damaged, or encrypted with another sealing key")


@click.command("rotate")
@_location_options
@click.option(
    "--at-once",
    is_flag=True,
    help="Sign with the next key now, even if clients may not have fetched it yet.",
)
@click.option(
    "--retire",
    "retired",
    multiple=True,
    metavar="KID",
    help="Withdraw this key, an old or damaged one; its tokens are refused from now on.",
)
@click.option(
    "--retire-others",
    is_flag=True,
    help="Create new keys, sign with them now, and withdraw all other keys.",
)
@options.output()
def rotate(
    at_once: bool, retired: Sequence[str], retire_others: bool, output: str, **given: Any
) -> None:
    """Rotate the signing key.

    The next key signs as soon as it has been published for the configured time. The old key stays published
    until its last token expires, so clients are not affected. Use --at-once with --retire for a leaked key.
    Use --retire-others if all keys leaked or cannot be decrypted. --retire alone does not rotate.
    """
    if retire_others and (at_once or retired):
        raise UsageError(
            "--retire-others cannot be combined with --at-once or --retire",
            hint="pass --retire-others alone: it rotates at once and withdraws every other key",
        )
    location = _locate_keys(**given)
    if retire_others:
        periods = asyncio.run(_replace_all(location))
    else:
        periods = asyncio.run(_rotate(location, at_once=at_once, retired=retired))
    if output != "table":
        print_output(_rows(periods), output)
        return
    for line in _describe(periods):
        click.echo(line)
    if at_once or retire_others:
        print_message("clients that cache the published keys may refuse tokens for up to a day")


def _locate_keys(
    data_dir: DataDir,
    database: str | None,
    sealing_key_file: Path | None,
    rotation_seconds: float,
    publish_ahead_seconds: float,
) -> KeyLocation:
    from podpass.exchange.signing.schedule import KeySchedule

    schedule = KeySchedule(rotation_seconds=rotation_seconds, ahead_seconds=publish_ahead_seconds)
    if database is not None:
        return KeyLocation(url=database, sealing=sealing_key_file, schedule=schedule)
    path = data_dir.path("directory.db")
    if not path.exists():
        raise UsageError(
            f"there is no instance in {data_dir.root}",
            hint="pass the data directory with --data-dir D, or a cluster's database with --database URL",
        )
    return KeyLocation(
        url=f"sqlite:///{path}", sealing=data_dir.path("keys", "authority.key"), schedule=schedule
    )


async def _list_keys(location: KeyLocation) -> tuple[Sequence["KeyPeriod"], Sequence[str]]:
    """Return the keys' timeline, and the keys that cannot be decrypted if the sealing key is known."""
    from podpass.exchange.signing import key_store
    from podpass.exchange.signing import schedule as key_schedule
    from podpass.exchange.signing.key_store import load_sealer, unseal_keys

    async with _open_database(location) as database:
        found = await database.read(key_store.read_keys)
    known = location.sealing is not None and location.sealing.exists()
    damaged = (
        unseal_keys(found, load_sealer(_require_sealing_key(location))).damaged
        if known
        else found.undated
    )
    return key_schedule.timeline(found.slots, system(), location.schedule), sorted(damaged)


async def _rotate(
    location: KeyLocation, *, at_once: bool, retired: Sequence[str]
) -> Sequence["KeyPeriod"]:
    from podpass.exchange.signing.key_set import AuthorityKeys

    async with _open_database(location) as database:
        await _require_keys(database)
        if at_once or not retired:
            keys = await AuthorityKeys.open(
                database, _require_sealing_key(location), system, location.schedule
            )
            await keys.rotate(at_once=at_once)
        else:
            keys = _without_decryption(database, location)
        for kid in retired:
            await keys.retire(kid)
        return await _read_timeline(keys)


async def _replace_all(location: KeyLocation) -> Sequence["KeyPeriod"]:
    async with _open_database(location) as database:
        await _require_keys(database)
        keys = _without_decryption(database, location)
        await keys.replace_all()
        return await _read_timeline(keys)


async def _require_keys(database: "Database") -> None:
    from podpass.exchange.signing import key_store

    if (await database.read(key_store.read_keys)).is_empty:
        raise Error(
            "the database contains no signing keys",
            hint="check --database; the first start of the service creates keys",
        )


def _without_decryption(database: "Database", location: KeyLocation) -> "AuthorityKeys":
    """Return the keys without decrypting them: keys that are being replaced may be undecryptable."""
    from podpass.exchange.signing.key_set import AuthorityKeys
    from podpass.exchange.signing.key_store import load_sealer

    return AuthorityKeys(
        database, load_sealer(_require_sealing_key(location)), system, location.schedule
    )


@asynccontextmanager
async def _open_database(location: KeyLocation) -> AsyncIterator["Database"]:
    from podpass.database import Database
    from podpass.exchange.signing.key_set import prepare_tables

    # A mistyped URL must not create a database.
    async with Database(location.url, make=False) as database:
        await prepare_tables(database)
        yield database


async def _read_timeline(keys: "AuthorityKeys") -> Sequence["KeyPeriod"]:
    from podpass.exchange.signing import key_store
    from podpass.exchange.signing import schedule as key_schedule

    found = await keys.database.read(key_store.read_keys)
    return key_schedule.timeline(found.slots, system(), keys.schedule)


def _require_sealing_key(location: KeyLocation) -> Path:
    if location.sealing is None:
        raise UsageError(
            "the sealing key is needed to create keys in that database",
            hint="pass its file with --sealing-key-file FILE",
        )
    return location.sealing


def _rows(periods: Sequence["KeyPeriod"]) -> list[dict[str, str | None]]:
    return [
        {
            "kid": period.slot.kid,
            "state": period.state,
            "created": rfc3339(period.slot.created),
            "signs_from": rfc3339(period.slot.activates),
            "signs_until": _format_time(period.until),
            "published_until": _format_time(period.published),
        }
        for period in periods
    ]


def _format_time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _describe(periods: Sequence["KeyPeriod"]) -> list[str]:
    """Describe each key: when it signs, and until when an old key is published."""
    lines = []
    for period in periods:
        kid, begins = period.slot.kid, rfc3339(period.slot.activates)
        if period.state == "old":
            assert period.published is not None
            lines.append(
                f"{kid} no longer signs; it is published until {rfc3339(period.published)}"
            )
        elif period.state == "active":
            lines.append(f"{kid} has signed since {begins}")
        else:
            lines.append(f"{kid} is published and will sign from {begins}")
    if not lines:
        raise Error("there are no keys", hint="start the service: its first start creates keys")
    return lines
