"""`podpass demo`."""

import asyncio

import click

from podpass.cli import options
from podpass.local.demo import run_demo
from podpass.settings import LocalSettings


@click.command
@options.setting(LocalSettings, "kubernetes", "KIND")
@click.option("--keep", is_flag=True, help="Keep the instance's folder for a look.")
def command(keep: bool, kubernetes: str) -> None:
    """Follow one token from a pod to a secret, hop by hop, and see it refused twice.

    An instance is started on free ports in a folder of its own, and stopped and removed at the end.
    """
    asyncio.run(run_demo(click.echo, keep=keep, kubernetes=kubernetes))
