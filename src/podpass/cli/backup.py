"""`podpass backup`."""

import asyncio
from pathlib import Path

import click

from podpass.cli import options
from podpass.cli.backup_summary import print_summary, progress
from podpass.cli.output import say
from podpass.clock import system
from podpass.errors import UsageError
from podpass.local.datadir import DataDir


@click.command
@options.data_dir
@options.database
@options.sealing_key_file
@options.output()
@click.option(
    "--with-keys", is_flag=True, help="Also what opens it: the instance's keys, and its cluster."
)
@click.option("--check", is_flag=True, help="Read a backup to its end, and change nothing.")
@click.argument("file", type=click.Path(path_type=Path))
def command(
    data_dir: DataDir,
    database: str | None,
    sealing_key_file: Path | None,
    output: str,
    with_keys: bool,
    check: bool,
    file: Path,
) -> None:
    """Write all that podpass keeps to one file.

    Of a local instance, running or not, or of a cluster's --database. Everybody goes on working; the file
    holds one moment. What is sealed stays sealed: keep the keys apart.
    """
    from podpass.backup import archive, create

    if database is not None and with_keys:
        raise UsageError(
            "--with-keys is for a local instance", hint="a cluster's sealing key is kept apart"
        )
    if check:
        manifest = archive.check(file)
    elif database is not None:
        taking = create.of_database(database, file, progress(), system, sealing_key_file)
        manifest = asyncio.run(taking)
        if sealing_key_file is None and manifest.rows.get("authority_keys"):
            say("which sealing key opens it is not in it: name the key, --sealing-key-file F")
    else:
        taking = create.of_instance(data_dir, file, progress(), system, with_keys=with_keys)
        manifest = asyncio.run(taking)
        if with_keys:
            say(f"{file} opens all that this instance seals: keep it as you keep its keys")
    print_summary(file, manifest, output)
