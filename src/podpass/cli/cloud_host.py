"""What `podpass cloud env`, `run` and `browser` share: the folder of the context, and its variables."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from podpass.cli import options
from podpass.cli.cloud_cluster import open_cluster, run_in_pod_json
from podpass.cli.cluster import connect, find_kubeconfig
from podpass.errors import Error

if TYPE_CHECKING:
    from podpass.lab.data.datadir import DataDir
    from podpass.lab.host.forwarded_cloud import CloudTarget

_FORBIDDEN = 403
_ADMIN_HINT = (
    "use an account with the ClusterRole admin in the namespace of the cloud; an administrator can bind it to"
    " yours: kubectl create rolebinding NAME --clusterrole=admin --user=USER -n {}"
)


class FolderNotWritable(Error):
    """The folder of the context cannot be written."""

    code = "cloud_folder_not_writable"
    hint = "free space on the disk, or set XDG_STATE_HOME to a folder that you can write to"


def find_target(kubeconfig: Path | None, namespace: str) -> "CloudTarget":
    """Return the installation of the current context. Raises BadKubeconfig, UsageError."""
    from podpass.lab.host.forwarded_cloud import CloudTarget

    environ = options.environ()
    found = kubeconfig or find_kubeconfig(environ)
    # The background process has another working directory.
    path = None if found is None else found.absolute()
    client, context = open_cluster(path)
    return CloudTarget(
        context=context,
        kubeconfig=path,
        server=client.server,
        namespace=namespace,
        # Not of a context that becomes the current one later: a token of that cluster would be sent here.
        open_client=lambda: connect(path, environ, context),
    )


@contextmanager
def lock_folder(data_dir: "DataDir") -> Iterator[None]:
    """Let one command at a time change the folder of the context. Raises FolderNotWritable."""
    from podpass.lab.host.forwarded_cloud import exclusive

    try:
        with exclusive(data_dir):
            yield
    except OSError as exc:
        raise FolderNotWritable(f"cannot write to {data_dir.root}: {exc.strerror}") from exc


async def read_facts(target: "CloudTarget") -> dict[str, Any]:
    """Read what clients need of the running cloud, and check that connections are forwarded.

    Raises NotInstalled, MissingRights, KubeError.
    """
    from podpass.kubernetes.client import KubeError
    from podpass.kubernetes.client.port_forward import forward_port
    from podpass.lab.install.object_names import PORT
    from podpass.lab.install.rights import check_rights
    from podpass.lab.install.rollout import find_pod

    async with target.open_client() as client:
        try:
            found = await run_in_pod_json(client, target.namespace, "sign-in")
            pod = await find_pod(client, target.namespace)
            async with forward_port(client, target.namespace, pod, PORT):
                return found
        except KubeError as exc:
            if exc.status == _FORBIDDEN:
                rights = list_host_rights(target.namespace)
                await check_rights(client, rights, _ADMIN_HINT.format(target.namespace))
            raise


def list_host_rights(namespace: str) -> list[Any]:
    """Return the rights that forwarding needs."""
    from podpass.lab.install.rights import Right

    needed = (
        ("list", "pods"),
        ("get", "pods/exec"),
        ("create", "pods/exec"),
        ("get", "pods/portforward"),
        ("create", "pods/portforward"),
    )
    return [Right(verb=verb, resource=resource, namespace=namespace) for verb, resource in needed]


def build_environment(
    data_dir: "DataDir", target: "CloudTarget", port: int, kubeconfig: Path | None
) -> dict[str, str]:
    """Return the variables for Azure's clients; kubectl still reaches the API server directly."""
    from podpass.lab.data.environment import DIRECT, client_environment

    host = urlsplit(target.server).hostname or ""
    direct = [host] if host and host not in DIRECT else []
    values = client_environment(data_dir, port, options.environ(), direct)
    chosen = {} if kubeconfig is None else {"KUBECONFIG": str(kubeconfig.absolute())}
    return {**values, **chosen}
