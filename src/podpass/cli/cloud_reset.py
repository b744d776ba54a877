"""`podpass cloud reset`."""

import asyncio
from pathlib import Path
from typing import Any

import click

from podpass.cli import options
from podpass.cli.cloud_cluster import (
    kubeconfig_option,
    namespace_option,
    open_cluster,
    run_in_pod_json,
)
from podpass.cli.output import print_output


@click.command
@kubeconfig_option
@namespace_option
@options.output("text", "json")
def command(kubeconfig: Path | None, namespace: str, output: str) -> None:
    """Return the installed cloud to its seed, for example between two tests.

    Identities, secrets and roles are those of the seed again. Tokens that were issued before are refused,
    so restart pods that keep running. The cluster, the tenant and the CA do not change.
    """
    done = asyncio.run(_run(kubeconfig, namespace))
    if output == "json":
        print_output(done, output)
    else:
        click.echo(f"the cloud in namespace {namespace} is as at its start ({done['took_ms']} ms)")


async def _run(kubeconfig: Path | None, namespace: str) -> dict[str, Any]:
    client, _ = open_cluster(kubeconfig)
    async with client:
        return await run_in_pod_json(client, namespace, "reset")
