"""What pods can do on this machine, and what to install for more: for `podpass up` and `podpass status`."""

import shutil
from collections.abc import Mapping
from typing import Any

_SANDBOXES = {
    "bubblewrap": "processes of your user; bubblewrap hides other files of the data directory",
    "namespaces": "processes of your user; mount namespaces hide other files of the data directory",
    "rewrite": "processes of your user; they can read all your files and the instance's keys (no bubblewrap)",
}
_NETWORKS = {
    "pod-networks": "each pod has its own network and loopback; Services have addresses and DNS names",
    "pod-addresses": "each pod has its own loopback address (status.podIP); ports of 0.0.0.0 are shared",
    "node-address": "all pods share 127.0.0.1 and its ports",
}
# The package has the same name everywhere.
_INSTALLERS = {
    "apt-get": "apt-get install bubblewrap",
    "dnf": "dnf install bubblewrap",
    "apk": "apk add bubblewrap",
    "pacman": "pacman -S bubblewrap",
    "zypper": "zypper install bubblewrap",
}


def describe_pods(status: Mapping[str, Any]) -> list[list[str]]:
    """Return rows of name and value about the files and the network of pods."""
    sandbox, network = status["sandbox"], status["pod_network"]
    return [
        ["containers", _SANDBOXES.get(sandbox, sandbox)],
        ["pod network", _NETWORKS.get(network, network)],
    ]


def outdated_warnings(status: Mapping[str, Any]) -> list[str]:
    """Return a line for each pod whose variables differ from the annotations of its ServiceAccount."""
    return [
        f"pod {pod['namespace']}/{pod['name']} differs from its ServiceAccount {pod['service_account']}"
        f" ({', '.join(sorted(pod['differs']))}): create the pod again"
        for pod in status.get("outdated_pods", ())
    ]


def mount_warning(status: Mapping[str, Any], path: str) -> list[str]:
    """Return lines about mounts that do not exist, and how to get them; none if they exist.

    `path` is searched for a package manager.
    """
    if status["sandbox"] != "rewrite":
        return []
    found = [command for name, command in _INSTALLERS.items() if shutil.which(name, path=path)]
    install = f"`{found[0]}`" if found else "the package bubblewrap"
    return [
        "volumes are not mounted here: neither bubblewrap nor the kernel's mount namespaces work.",
        "  Paths of mounts are replaced in the variables, command and arguments of containers. A program",
        "  with such a path in its code, as /var/run/secrets/..., does not find the file, and pods can read",
        f"  the instance's keys. Install {install}, then `podpass down` and `podpass up`. In a container,",
        "  namespaces must be permitted too; docs/develop/pods.md lists how.",
    ]
