"""What the commands of `podpass cloud` share: the cluster, the namespace, and commands in the cloud's pod."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from podpass import names
from podpass.cli import options
from podpass.cli.cluster import connect, find_kubeconfig
from podpass.cli.completion_values import complete_namespaces
from podpass.errors import Error
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.config import read_current_context
from podpass.lab.install.object_names import NAMESPACE

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

    Raises BadKubeconfig, UsageError.
    """
    environ = options.environ()
    path = kubeconfig or find_kubeconfig(environ)
    client = connect(kubeconfig, environ, hint=_HINT)
    return client, read_current_context(path) if path is not None else ""


async def find_installation(client: KubeClient) -> str:
    """Return the namespace of the installation; the default one if the caller may not search.

    Raises NotInstalled, KubeError.
    """
    from podpass.kubernetes.client import KubeError
    from podpass.lab.install.installer import find_installations
    from podpass.lab.install.rollout import NotInstalled

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

    Raises NotInstalled, KubeError; Error with the message of the command.
    """
    from podpass.kubernetes.client.pod_exec import run_command
    from podpass.lab.install.rollout import find_pod

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

    Raises NotInstalled, KubeError; Error with the message of the action.
    """
    found: dict[str, Any] = json.loads(
        await run_in_pod(client, namespace, ["cloud", "control", *action])
    )
    return found


def describe_storage(storage: Mapping[str, Any]) -> str:
    """Return the storage accounts of a running cloud in one line."""
    if not storage.get("services"):
        return "not served, see --azurite-image of `podpass cloud install`"
    return ", ".join(f"{each}.*.{names.STORAGE_SUFFIX}" for each in storage["accounts"]) or "none"


async def read_cloud_status(client: KubeClient, namespace: str) -> dict[str, Any]:
    """Return the status of the running cloud, without its administrator. Raises NotInstalled, KubeError."""
    return await run_in_pod_json(client, namespace, "info")


def list_cloud_storage_warnings(seed: str, status: dict[str, Any]) -> list[str]:
    """Return a warning if the data of a seed's storage accounts is not served.

    `status` is that of the running cloud.
    """
    from podpass.lab.install.azurite import EXAMPLE_IMAGE, list_accounts, warn_of_unserved

    storage = status.get("storage", {})
    return warn_of_unserved(
        list_accounts(seed),
        storage["azurite_accounts"] if storage.get("services") else None,
        no_azurite=f"run `podpass cloud install` with --azurite-image, for example {EXAMPLE_IMAGE}",
        no_key="it has those of the seed at its start: add them to the seed of `podpass cloud install`",
    )
