"""The two containers that serve workloads which only speak IMDS, exactly as the reference writes them.

Pure. The init container redirects the metadata address to the sidecar; the sidecar answers there.
"""

import re
from typing import Any

from podpass import names
from podpass.errors import Error
from podpass.settings import WebhookSettings

_NATIVE_SINCE = (1, 32)


class UnknownVersion(Error):
    """The API server's version cannot be read, so neither can what it does with sidecars."""

    code = "unknown_version"
    hint = "see what `kubectl get --raw /version` says in gitVersion"


def runs_native_sidecars(git_version: str) -> bool:
    """Tell from an API server's `gitVersion`, such as `v1.34.4+k3s1`, whether sidecars are native to it.

    Errors:  UnknownVersion.
    """
    found = re.match(r"v?([0-9]+)\.([0-9]+)\.[0-9]+", git_version, re.ASCII)
    if found is None:
        raise UnknownVersion(f"{git_version!r} is no version of Kubernetes", version=git_version)
    return (int(found[1]), int(found[2])) >= _NATIVE_SINCE


def init_container(port: int, settings: WebhookSettings) -> dict[str, Any]:
    """Describe the container that sets the redirection up; it needs the right to change the pod's network."""
    return {
        "name": names.PROXY_INIT_CONTAINER,
        "image": settings.proxy_init_image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PROXY_PORT", "value": str(port)}],
        "securityContext": {
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "privileged": True,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
    }


def container(port: int, settings: WebhookSettings) -> dict[str, Any]:
    """Describe the sidecar; it logs at the webhook's own level."""
    port_flag, log_flag = f"--proxy-port={port}", f"--log-level={settings.log_level}"
    probe = ["/proxy", port_flag, "--probe", log_flag]
    described: dict[str, Any] = {
        "name": names.PROXY_CONTAINER,
        "image": settings.proxy_image,
        "imagePullPolicy": "IfNotPresent",
        "args": [port_flag, log_flag],
        "ports": [{"containerPort": port}],
        "lifecycle": {"postStart": {"exec": {"command": probe}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
    }
    if settings.native_sidecar:
        described["restartPolicy"] = "Always"
    return described
