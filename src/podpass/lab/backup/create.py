"""Back up a local instance: the rows of its database, and its files."""

from pathlib import Path

from podpass.backup import create
from podpass.backup.model import Manifest, Progress
from podpass.clock import Clock
from podpass.lab import services
from podpass.lab.backup import instance
from podpass.lab.data.datadir import DataDir


async def back_up_instance(
    data_dir: DataDir, path: Path, progress: Progress, clock: Clock, *, with_keys: bool
) -> Manifest:
    """Back up a local instance, running or stopped, into a new file.

    Raises BackupRefused, DatabaseUnusable, DatabaseFailed. No file remains after an error.
    """
    services.add_backup_tables()
    instance.check_exists(data_dir)
    with create.create_file(path) as stream:
        writer, stores = await create.write_rows(instance.database_url(data_dir), stream, progress)
        instance.add_files(writer, data_dir, with_keys=with_keys)
        manifest = create.build_manifest(
            writer,
            stores,
            clock,
            sealing=instance.sealing_fingerprints(data_dir),
            facts=instance.public_config(data_dir),
        )
        writer.finish(manifest)
    return manifest
