"""`podpass backup`."""

import asyncio
from pathlib import Path

import click

from podpass.cli import options
from podpass.cli.backup_summary import format_size, print_summary, table_progress
from podpass.cli.output import print_message
from podpass.clock import system
from podpass.errors import UsageError
from podpass.lab.data.datadir import DataDir


@click.command
@options.data_dir
@options.database
@options.sealing_key_file
@options.output()
@click.option(
    "--with-keys", is_flag=True, help="Also save the instance's keys and its Kubernetes objects."
)
@click.option("--check", is_flag=True, help="Only check an existing backup file; change nothing.")
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
    """Write all stored data to one file.

    It saves a local instance, running or not, or the database of a cluster (--database). The backup is a
    consistent snapshot. The service keeps running. Encrypted values stay encrypted: store the keys
    separately.
    """
    from podpass.backup import archive, create
    from podpass.lab.backup.create import back_up_instance
    from podpass.lab.services import add_backup_tables

    if database is not None and with_keys:
        raise UsageError(
            "--with-keys works only with a local instance",
            hint="omit --with-keys; store the sealing key of a cluster separately",
        )
    add_backup_tables()
    if check:
        manifest = archive.check(file)
    elif database is not None:
        work = create.back_up_database(database, file, table_progress(), system, sealing_key_file)
        manifest = asyncio.run(work)
        if sealing_key_file is None and manifest.rows.get("authority_keys"):
            print_message(
                "the backup does not name its sealing key: pass --sealing-key-file F to record it"
            )
    else:
        work = back_up_instance(data_dir, file, table_progress(), system, with_keys=with_keys)
        manifest = asyncio.run(work)
        print_message(
            f"{file} contains the keys of this instance: protect it as you protect the keys"
            if with_keys
            else "not saved: the instance's keys and its Kubernetes objects; to save them, pass --with-keys"
        )
    if not check:
        print_message(f"wrote {file.absolute()}, {format_size(file.stat().st_size)}")
    print_summary(file, manifest, output)
