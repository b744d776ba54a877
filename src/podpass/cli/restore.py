"""`podpass restore`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from podpass.cli import options
from podpass.cli.backup_summary import print_summary, table_progress
from podpass.cli.output import print_message
from podpass.errors import UsageError
from podpass.lab.data.datadir import DataDir


@click.command
@options.data_dir
@options.database
@options.sealing_key_file
@options.output()
@click.option(
    "--replace",
    is_flag=True,
    help="Replace existing data. Without this flag the target must be empty.",
)
@click.option(
    "--trust",
    is_flag=True,
    help="Do not ask before a restore to a local instance. With the images, Kubernetes objects, keys,"
    " passwords or roles in it, the author of the backup could run programs as you.",
)
@click.argument("file", type=click.Path(path_type=Path))
def command(
    data_dir: DataDir,
    database: str | None,
    sealing_key_file: Path | None,
    output: str,
    replace: bool,
    trust: bool,
    file: Path,
) -> None:
    """Restore all data from a backup file.

    It restores to a local instance, running or not, or to the database of a cluster (--database). The target
    can be SQLite or PostgreSQL, whatever the source was. The restore is atomic. A running instance uses the
    restored data immediately.

    The images and Kubernetes objects in a backup decide which programs run, and a person with its keys or
    a role in it can create pods. Restore the backup of another person only if you trust that person.
    """
    from podpass.backup.restore import restore_database
    from podpass.lab.backup.restore import restore_instance
    from podpass.lab.services import add_backup_tables

    if database is not None and trust:
        raise UsageError(
            "--trust has no effect with --database: only a local instance runs programs of a backup",
            hint="leave out --trust, or restore to a local instance with --data-dir",
        )
    add_backup_tables()
    if database is not None:
        work = restore_database(
            database, file, table_progress(), replaces=replace, sealing_key=sealing_key_file
        )
        manifest = asyncio.run(work)
        if sealing_key_file is None and manifest.rows.get("authority_keys"):
            print_message("the sealing key was not checked: pass --sealing-key-file F to check it")
    else:
        manifest, runs = asyncio.run(
            restore_instance(
                data_dir,
                file,
                table_progress(),
                replaces=replace,
                trusts_author=lambda found: trust or _confirm_trust(found),
            )
        )
        if runs and manifest.files:
            print_message(
                f"not restored, because the instance is running: {', '.join(manifest.files)}"
            )
        elif not runs:
            print_message(f"start it with `{options.format_command(data_dir, 'up')}`")
    print_summary(file, manifest, output)


def _confirm_trust(parts: Sequence[str]) -> bool:
    """Ask the user whether programs of the backup may run; return False without a terminal."""
    if not sys.stdin.isatty():
        return False
    question = (
        f"The backup contains {', '.join(parts)}: its author could run programs as you. Continue?"
    )
    return click.confirm(question, err=True)
