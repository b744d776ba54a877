"""`podpass cloud uninstall`."""

import asyncio
from pathlib import Path

import click

from podpass.cli.cloud_cluster import kubeconfig_option, namespace_option, open_cluster
from podpass.cli.output import print_message
from podpass.kubernetes.client import KubeClient


@click.command
@kubeconfig_option
@namespace_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 3600),
    default=180,
    show_default=True,
    metavar="SECONDS",
    help="Time to wait until the namespace is deleted.",
)
def command(kubeconfig: Path | None, namespace: str, yes: bool, timeout: int) -> None:
    """Remove the cloud half from the cluster, with its tenant, its CA and its data.

    It deletes only objects with the label of an installation, and completes a removal that was interrupted.
    """
    client, context = open_cluster(kubeconfig)
    where = f"namespace {namespace} of {context or client.server}"
    if not yes:
        click.confirm(f"Delete the cloud in {where}, with all its data?", abort=True, err=True)
    asyncio.run(_run(client, namespace, timeout))


async def _run(client: KubeClient, namespace: str, timeout: int) -> None:
    from podpass.clock import system
    from podpass.lab.install.installer import Installer

    async with client:
        installer = Installer(
            client=client, report=click.echo, progress=print_message, timeout=timeout, clock=system
        )
        served = await installer.uninstall(namespace)
    if installer.changes:
        click.echo("podpass cloud is removed")
        for each in served:
            click.echo(f"next: replace the older pods of {each}: the CA that they mount is gone")
            click.echo(f"      kubectl rollout restart -n {each} deployment")
    else:
        print_message(f"namespace {namespace} has no installation; nothing was deleted")
