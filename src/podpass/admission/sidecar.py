"""Build the two containers of the migration sidecar, exactly as the reference builds them.

Pure. They serve workloads that can only use IMDS: the init container redirects requests for the metadata
address to the sidecar, and the sidecar answers them.
"""

import re
from typing import Any

from podpass import names
from podpass.errors import Error
from podpass.settings import WebhookSettings

_NATIVE_SINCE = (1, 32)


class UnknownVersion(Error):
    """The version of the API server is invalid, so its support for native sidecars is unknown."""

    code = "unknown_version"
    hint = "check gitVersion in the output of `kubectl get --raw /version`"


def supports_native_sidecars(git_version: str) -> bool:
    """Return whether an API server with this `gitVersion`, such as `v1.34.4+k3s1`, has native sidecars.

    Errors:  UnknownVersion.
    """
    found = re.match(r"v?([0-9]+)\.([0-9]+)\.[0-9]+", git_version, re.ASCII)
    if found is None:
        raise UnknownVersion(f"{git_version!r} is not a Kubernetes version", version=git_version)
    return (int(found[1]), int(found[2])) >= _NATIVE_SINCE


def build_init_container(port: int, settings: WebhookSettings) -> dict[str, Any]:
    """Build the init container that redirects; it needs the capability to change the pod's network."""
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


def build_container(port: int, settings: WebhookSettings) -> dict[str, Any]:
    """Build the sidecar; its log level is that of the webhook."""
    port_flag, log_flag = f"--proxy-port={port}", f"--log-level={settings.log_level}"
    probe = ["/proxy", port_flag, "--probe", log_flag]
    built: dict[str, Any] = {
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
        built["restartPolicy"] = "Always"
    return built
