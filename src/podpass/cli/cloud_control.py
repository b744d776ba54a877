"""`podpass cloud control`: what commands outside the pod ask the running cloud, in its pod."""

from typing import Any

import click

from podpass import names
from podpass.cli import options
from podpass.cli.client import call_control
from podpass.cli.output import print_output
from podpass.cloud.datadir import DataDir


@click.command(hidden=True)
@options.data_dir
@click.argument("action", type=click.Choice(["info", "reset"]))
def command(data_dir: DataDir, action: str) -> None:
    """Print facts of the running cloud as JSON, or reset it; nothing in the output is secret."""
    print_output(
        call_control(data_dir, "POST", "/reset") if action == "reset" else _read_info(data_dir),
        "json",
    )


def _read_info(data_dir: DataDir) -> dict[str, Any]:
    status = call_control(data_dir, "GET", "/status")
    vaults = call_control(data_dir, "GET", "/vaults")["value"]
    return {
        "tenant_id": status["tenant_id"],
        "subscription_id": status["subscription_id"],
        "issuer": status["kubernetes"]["issuer"],
        "vaults": [f"https://{each['name']}.{names.VAULT_SUFFIX}" for each in vaults],
        "ca": data_dir.ca_file.read_text(),
    }
