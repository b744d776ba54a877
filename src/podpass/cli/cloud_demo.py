"""`podpass cloud demo`."""

import asyncio
import signal
from functools import partial
from pathlib import Path

import click

from podpass.cli.cloud_cluster import kubeconfig_option, namespace_option, open_cluster, run_in_pod


@click.command
@kubeconfig_option
@namespace_option
@click.option(
    "--image",
    metavar="IMAGE",
    help="Image of the pod; it needs Python.  [default: that of the installed cloud]",
)
@click.option(
    "--timeout",
    type=click.IntRange(1, 3600),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="Time to wait for the pod, and for its removal.",
)
def command(kubeconfig: Path | None, namespace: str, image: str | None, timeout: int) -> None:
    """Follow one token from a pod of the cluster to a vault secret, step by step.

    It creates a namespace with one pod, and an identity and a vault in the installed cloud. All of them are
    removed at the end, also after a failure or Ctrl-C.
    """
    try:
        asyncio.run(_run(kubeconfig, namespace, image, timeout))
    except asyncio.CancelledError as exc:  # SIGTERM ends it as Ctrl-C does
        raise KeyboardInterrupt from exc


async def _run(kubeconfig: Path | None, namespace: str, image: str | None, timeout: int) -> None:
    from podpass.clock import system
    from podpass.lab.install import installer
    from podpass.lab.install.demo import CloudDemo
    from podpass.lab.install.rollout import find_pod

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    client, _ = open_cluster(kubeconfig)
    async with client:
        await find_pod(client, namespace)
        found = await installer.observe(client, namespace)
        demo = CloudDemo(
            client=client,
            namespace=namespace,
            image=image or str(found["image"]),
            run_in_pod=partial(run_in_pod, client, namespace),
            echo=click.echo,
            clock=system,
            timeout=timeout,
        )
        await demo.run()
