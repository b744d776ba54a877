"""`podpass demo`."""

import asyncio
import signal

import click

from podpass.cli import options
from podpass.cli.invocation import command_name
from podpass.lab.tutorial.demo import run_demo
from podpass.settings import LocalSettings


@click.command
@options.setting(LocalSettings, "kubernetes", "KIND")
@click.option("--keep", is_flag=True, help="Keep the data directory of the instance.")
def command(keep: bool, kubernetes: str) -> None:
    """Follow one token from a pod to a vault secret, hop by hop, then see two refused requests.

    It starts an instance on free ports in a temporary directory. At the end it stops the instance and removes
    the directory.
    """
    try:
        asyncio.run(_run(keep, kubernetes))
    except asyncio.CancelledError as exc:  # SIGTERM and SIGHUP have the effect of Ctrl-C
        raise KeyboardInterrupt from exc


async def _run(keep: bool, kubernetes: str) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await run_demo(click.echo, keep=keep, kubernetes=kubernetes, command=command_name())
