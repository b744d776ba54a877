"""The API server of commands that work on any cluster, chosen as kubectl chooses it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from podpass.cli.client import check_not_stopped, not_running, read_status
from podpass.cli.options import format_command
from podpass.errors import UsageError
from podpass.kubernetes.client import KubeClient, in_cluster
from podpass.lab.data.datadir import DataDir

_HINT = "pass --kubeconfig FILE or set KUBECONFIG; for a local instance, run `{}`, then `{}`, which sets it"


def connect(
    kubeconfig: Path | None, environ: Mapping[str, str], context: str = "", *, hint: str = ""
) -> KubeClient:
    """Connect by `--kubeconfig`, KUBECONFIG, ~/.kube/config, or the in-cluster configuration of a pod.

    `context` is one of the kubeconfig, by default the current one. Raises BadKubeconfig; UsageError for no
    file, or several files in KUBECONFIG.
    """
    path = kubeconfig or find_kubeconfig(environ)
    if path is not None:
        return KubeClient.from_kubeconfig(path, context)
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return KubeClient(in_cluster(environ))
    raise UsageError(
        "there is no kubeconfig", hint=hint or _HINT.format("podpass up --detach", "podpass env")
    )


def connect_to_cluster(
    data_dir: DataDir, kubeconfig: Path | None, environ: Mapping[str, str]
) -> KubeClient:
    """Connect to the cluster of the kubeconfig; without one, to the running instance.

    Raises as `connect`; NotRunning if the kubeconfig is that of an instance that does not run; NotResponding
    if it is the running instance and a signal has stopped it.
    """
    status, start = read_status(data_dir), format_command(data_dir, "up --detach")
    if status and kubeconfig is None and not environ.get("KUBECONFIG"):
        kubeconfig = find_instance_kubeconfig(status)
    if not status and (kubeconfig or find_kubeconfig(environ)) == data_dir.kubeconfig:
        raise not_running(data_dir, start)
    hint = _HINT.format(start, format_command(data_dir, "env"))
    client = connect(kubeconfig, environ, hint=hint)
    if status and status["kubernetes"].get("server") == client.server:
        # Without this check, each request would wait until its timeout.
        check_not_stopped(data_dir, status["pids"]["podpass"])
    return client


def find_instance_kubeconfig(status: Mapping[str, Any]) -> Path | None:
    """Return the kubeconfig of an instance; None for `podpass cloud serve`, which has no cluster."""
    found = status["kubernetes"].get("kubeconfig")
    return None if found is None else Path(found)


def find_kubeconfig(environ: Mapping[str, str]) -> Path | None:
    """Return the kubeconfig that kubectl would read, None if there is none.

    Raises UsageError for several files in KUBECONFIG.
    """
    named = [Path(each) for each in environ.get("KUBECONFIG", "").split(os.pathsep) if each]
    existing = [path for path in named if path.exists()]
    if len(existing) > 1:
        raise UsageError(
            "KUBECONFIG names several files",
            hint="pass the one with the context of the cluster: --kubeconfig FILE",
        )
    if named:
        return (existing or named)[0]
    home = Path.home() / ".kube" / "config"
    return home if home.exists() else None
