"""What the commands of `podpass cloud` share: the cluster, the namespace, and commands in the cloud's pod."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from podpass.cli import options
from podpass.cli.cluster import connect, find_kubeconfig
from podpass.cli.completion_values import complete_namespaces
from podpass.cloud.install.objects import NAMESPACE
from podpass.errors import Error
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.config import read_current_context

kubeconfig_option = click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Kubeconfig of the cluster.  [default: KUBECONFIG, then ~/.kube/config]",
)
namespace_option = click.option(
    "-n",
    "--namespace",
    default=NAMESPACE,
    show_default=True,
    metavar="N",
    shell_complete=complete_namespaces,
    help="Namespace of the installation.",
)


class NotInstalled(Error):
    """The namespace has no pod of an installation that is ready."""

    code = "cloud_not_installed"


def open_cluster(kubeconfig: Path | None) -> tuple[KubeClient, str]:
    """Connect to the cluster of the current context; return the client and the name of the context.

    Errors:  BadKubeconfig, UsageError.
    """
    environ = options.environ()
    path = kubeconfig or find_kubeconfig(environ)
    client = connect(kubeconfig, environ)
    return client, read_current_context(path) if path is not None else ""


async def find_pod(client: KubeClient, namespace: str) -> str:
    """Return the name of the cloud's pod.

    Errors:  NotInstalled, KubeError.
    """
    from podpass.cloud.install.rollout import list_pods

    for pod in await list_pods(client, namespace):
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        if "deletionTimestamp" not in pod["metadata"] and any(
            each.get("ready") for each in statuses
        ):
            return str(pod["metadata"]["name"])
    raise NotInstalled(
        f"namespace {namespace} has no cloud that is ready",
        hint="install it with `podpass cloud install`, or see `podpass cloud status`",
    )


async def run_in_pod(
    client: KubeClient, namespace: str, command: Sequence[str], given: bytes = b""
) -> str:
    """Run podpass in the cloud's pod; return its output.

    Errors:  NotInstalled, KubeError; Error with the message of the command.
    """
    from podpass.kubernetes.client.pod_exec import run_command

    pod = await find_pod(client, namespace)
    done = await run_command(
        client, namespace, pod, "cloud", ["podpass", *command], seconds=60.0, given=given
    )
    if done.exit_code != 0:
        first, _, rest = done.messages.strip().partition("\n")
        message = first.removeprefix("podpass: ") or done.error
        raise Error(message, hint=rest.strip() or None)
    return done.output


async def read_cloud_status(client: KubeClient, namespace: str) -> dict[str, Any]:
    """Return the status of the running cloud, without its administrator.

    Errors:  NotInstalled, KubeError.
    """
    status: dict[str, Any] = json.loads(
        await run_in_pod(client, namespace, ["cloud", "control", "info"])
    )
    return status
