"""`podpass cloud serve`."""

import sys
from typing import Any

import click

from podpass import names
from podpass.cli import options
from podpass.cli.output import print_message, print_output
from podpass.errors import SettingsError
from podpass.lab.data.datadir import DataDir
from podpass.settings import CloudSettings
from podpass.settings.fields import CLOUD_PREFIX
from podpass.settings.reading import find_unknown_variables

_IN_CLUSTER = "set --azurite-image of `podpass cloud install`, or azuriteImage of the chart"


@click.command
@options.data_dir
@options.setting(CloudSettings, "listen", "ADDRESS")
@options.setting(CloudSettings, "health_listen", "ADDRESS")
@options.setting(CloudSettings, "tenant_id", "GUID")
@options.setting(CloudSettings, "service", "NAME")
@options.setting(CloudSettings, "dns_listen", "ADDRESS")
@options.setting(CloudSettings, "dns_address", "ADDRESSES")
@options.setting(CloudSettings, "dns_upstream", "ADDRESS")
@options.setting(CloudSettings, "webhook_listen", "ADDRESS")
@options.setting(CloudSettings, "identity_secret", "NAME")
@options.setting(CloudSettings, "managed_identity_listen", "ADDRESS")
@options.setting(CloudSettings, "managed_identities", "NAMES")
@options.setting(CloudSettings, "managed_identity_hosts", "NAMES")
@options.setting(CloudSettings, "trust_dir", "FOLDER")
@options.azure_settings(CloudSettings)
@click.option(
    "--seed",
    metavar="FILE",
    help="Seed file to apply, as YAML: identities, vaults, storage accounts, DNS zones and roles.",
)
@options.output("text", "json")
def command(data_dir: DataDir, seed: str | None, output: str, **chosen: Any) -> None:
    """Run the cloud half in this process: one address for all of Azure's names.

    The data folder has the database, the CA and the keys. A process that starts again with the same folder
    is the same cloud. In a pod, `issuer: cluster` in the seed means the cluster of that pod.
    """
    from podpass import log
    from podpass.cli.apply import list_storage_warnings, read_valid_seed
    from podpass.lab.instance.run_cloud import run

    environ = options.environ()
    known = (names.ENV_IDENTITY_HEADERS,)
    if problems := find_unknown_variables(CLOUD_PREFIX, (CloudSettings,), environ, others=known):
        raise SettingsError(problems)
    settings = CloudSettings(data_dir=data_dir.root, **chosen)
    text = None if seed is None else (read_valid_seed(seed, seed), seed)
    if text is not None:
        more = {"no_azurite": _IN_CLUSTER} if settings.service else {}
        for line in list_storage_warnings(text[0], settings.azurite, environ, **more):
            print_message(line)
    log.configure()

    def ready(status: dict[str, Any]) -> None:
        if output == "json":
            print_output({**status, "admin": {"username": status["admin"]["username"]}}, output)
            sys.stdout.flush()
        else:
            print_message(f"the cloud half is ready on {settings.listen}")

    run(
        data_dir,
        settings=settings,
        seed=text,
        environ=environ,
        progress=lambda _part, _detail: None,
        ready=ready,
    )
