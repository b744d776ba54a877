"""`podpass cloud status`."""

import asyncio
from pathlib import Path
from typing import Any

import click

from podpass.cli import options
from podpass.cli.cloud_cluster import (
    kubeconfig_option,
    namespace_option,
    open_cluster,
    read_cloud_status,
)
from podpass.cli.output import align, print_output, text_width


@click.command
@kubeconfig_option
@namespace_option
@options.output("table", "json", "yaml")
@click.pass_context
def command(ctx: click.Context, kubeconfig: Path | None, namespace: str, output: str) -> None:
    """Show the cloud that is installed in the cluster: its pod, tenant, issuer and vaults.

    Exits with status 1 when it is not installed, or not ready.
    """
    status = asyncio.run(_read(kubeconfig, namespace))
    if output == "table":
        click.echo(align(_rows(status), text_width()), nl=False)
    else:
        print_output(status, output)
    ctx.exit(0 if status["ready"] else 1)


async def _read(kubeconfig: Path | None, namespace: str) -> dict[str, Any]:
    from podpass.cloud.install import installer

    client, context = open_cluster(kubeconfig)
    async with client:
        found = await installer.observe(client, namespace)
        running = await read_cloud_status(client, namespace) if found["ready"] else {}
    return {"context": context, "namespace": namespace, **found, **running}


def _rows(status: dict[str, Any]) -> list[list[str]]:
    rows = [
        ["context", status["context"]],
        ["namespace", status["namespace"]],
        ["pod", status["pod"]],
        ["image", status["image"]],
        ["address", status["address"]],
    ]
    if status["ready"]:
        rows += [
            ["tenant", status["tenant_id"]],
            ["subscription", status["subscription_id"]],
            ["issuer", status["issuer"]],
            ["vaults", ", ".join(status["vaults"]) or "none"],
        ]
    return rows
