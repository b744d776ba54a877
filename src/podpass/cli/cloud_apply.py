"""`podpass cloud apply`."""

import asyncio
import json
from pathlib import Path

import click

from podpass.cli import options
from podpass.cli.apply import print_changes, read_valid_seed, warn_of_policies
from podpass.cli.cloud_cluster import (
    kubeconfig_option,
    list_cloud_storage_warnings,
    namespace_option,
    open_cluster,
    read_cloud_status,
    run_in_pod,
)
from podpass.cli.output import print_message, print_output


@click.command
@kubeconfig_option
@namespace_option
@options.output("text", "json")
@click.option("-f", "--filename", required=True, metavar="FILE", help="Seed file; - reads stdin.")
def command(kubeconfig: Path | None, namespace: str, output: str, filename: str) -> None:
    """Apply a seed file to the installed cloud: identities, federated credentials, vaults and roles.

    `issuer: cluster` means the cluster in which the cloud runs. Applying the same file again changes nothing.
    A pod that is replaced applies the seed of `podpass cloud install` only.
    """
    text = read_valid_seed(filename, filename).encode()
    changed, warnings = asyncio.run(_run(kubeconfig, namespace, text))
    if output == "json":
        print_output({"changed": changed}, output)
    else:
        print_changes(changed)
    for line in warnings:
        print_message(line)
    warn_of_policies(text.decode())


async def _run(kubeconfig: Path | None, namespace: str, text: bytes) -> tuple[list[str], list[str]]:
    """Apply a seed; return the changes, and the warnings."""
    from podpass.lab.install.azurite import list_accounts

    client, _ = open_cluster(kubeconfig)
    command = ["apply", "-f", "-", "--stdin-bytes", str(len(text)), "-o", "json"]
    async with client:
        changed: list[str] = json.loads(await run_in_pod(client, namespace, command, text))[
            "changed"
        ]
        if not list_accounts(text.decode()):
            return changed, []
        status = await read_cloud_status(client, namespace)
        return changed, list_cloud_storage_warnings(text.decode(), status)
