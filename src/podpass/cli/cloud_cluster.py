"""What the commands of `podpass cloud` share: the cluster, the namespace, and commands in the cloud's pod."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from podpass.cli import options
from podpass.cli.cluster import connect, find_kubeconfig
from podpass.cli.completion_values import complete_namespaces
from podpass.cloud.install.object_names import NAMESPACE
from podpass.errors import Error
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.config import read_current_context

_FORBIDDEN = 403
_HINT = (
    "create a test cluster, for example with `kind create cluster`; for an existing one, pass"
    " --kubeconfig FILE or set KUBECONFIG"
)

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


def open_cluster(kubeconfig: Path | None) -> tuple[KubeClient, str]:
    """Connect to the cluster of the current context; return the client and the name of the context.

    Errors:  BadKubeconfig, UsageError.
    """
    environ = options.environ()
    path = kubeconfig or find_kubeconfig(environ)
    client = connect(kubeconfig, environ, hint=_HINT)
    return client, read_current_context(path) if path is not None else ""


async def find_installation(client: KubeClient) -> str:
    """Return the namespace of the installation; the default one if the caller may not search.

    Errors:  NotInstalled, KubeError.
    """
    from podpass.cloud.install.installer import find_installations
    from podpass.cloud.install.rollout import NotInstalled
    from podpass.kubernetes.client import KubeError

    try:
        found = await find_installations(client)
    except KubeError as exc:
        if exc.status != _FORBIDDEN:
            raise
        return NAMESPACE
    if not found:
        raise NotInstalled(
            "the cluster has no podpass cloud", hint="install it with `podpass cloud install`"
        )
    return found[0]


async def run_in_pod(
    client: KubeClient, namespace: str, command: Sequence[str], given: bytes = b""
) -> str:
    """Run podpass in the cloud's pod; return its output.

    Errors:  NotInstalled, KubeError; Error with the message of the command.
    """
    from podpass.cloud.install.rollout import find_pod
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


async def run_in_pod_json(client: KubeClient, namespace: str, *action: str) -> dict[str, Any]:
    """Run an action of `podpass cloud control` in the cloud's pod; return its result.

    Errors:  NotInstalled, KubeError; Error with the message of the action.
    """
    found: dict[str, Any] = json.loads(
        await run_in_pod(client, namespace, ["cloud", "control", *action])
    )
    return found


async def read_cloud_status(client: KubeClient, namespace: str) -> dict[str, Any]:
    """Return the status of the running cloud, without its administrator.

    Errors:  NotInstalled, KubeError.
    """
    return await run_in_pod_json(client, namespace, "info")
