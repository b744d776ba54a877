"""`podpass restore`."""

import asyncio
from pathlib import Path

import click

from podpass.cli import options
from podpass.cli.backup_summary import print_summary, progress
from podpass.cli.output import say
from podpass.local.datadir import DataDir


@click.command
@options.data_dir
@options.database
@options.sealing_key_file
@options.output()
@click.option(
    "--replace", is_flag=True, help="What is there now goes; otherwise there may be nothing."
)
@click.argument("file", type=click.Path(path_type=Path))
def command(
    data_dir: DataDir,
    database: str | None,
    sealing_key_file: Path | None,
    output: str,
    replace: bool,
    file: Path,
) -> None:
    """Bring back what a backup holds, all of it or nothing.

    To a local instance, running or not, or to a cluster's --database, SQLite or PostgreSQL whatever it came
    from. Who runs meanwhile goes on with it at once.
    """
    from podpass.backup import restore

    if database is not None:
        bringing = restore.to_database(
            database, file, progress(), replaces=replace, sealing_key=sealing_key_file
        )
        manifest = asyncio.run(bringing)
        if sealing_key_file is None and manifest.rows.get("authority_keys"):
            say("whether your sealing key opens it was not checked: name it, --sealing-key-file F")
    else:
        manifest, runs = asyncio.run(
            restore.to_instance(data_dir, file, progress(), replaces=replace)
        )
        if runs and manifest.files:
            say(f"the instance runs, so these stay as they are: {', '.join(manifest.files)}")
        elif not runs:
            say(f"start it with `{options.as_command(data_dir, 'up')}`")
    print_summary(file, manifest, output)
