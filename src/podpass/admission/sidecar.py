"""Build the migration sidecar, and the redirection or the variables by which workloads reach it. Pure.

In the mode `iptables`, an init container redirects requests for the metadata address to the sidecar, exactly
as in azure-workload-identity. In the mode `env`, variables name the sidecar's address to the Azure SDKs; no
container needs a privilege.
"""

import re
from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.account.model import ENV
from podpass.errors import Error
from podpass.settings import WebhookSettings

_NATIVE_SINCE = (1, 32)
_LOOPBACK = "127.0.0.1"
# A pod of a local instance shares the loopback interface with all others, and has its own address there.
_POD_ADDRESS = "PODPASS_POD_ADDRESS"
_POD_IP = {"fieldRef": {"fieldPath": "status.podIP"}}
# App Service requires a header, and its SDKs require a value. The sidecar does not check it: it listens on
# loopback.
_HEADER = "azwi-proxy"
CONTAINERS = frozenset({names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER})
# An SDK chooses its protocol by all of these together. A variable of the user must keep its meaning.
ENDPOINT_VARIABLES = frozenset(
    {
        _POD_ADDRESS,
        names.ENV_IMDS_HOST,
        names.ENV_MSI_ENDPOINT,
        names.ENV_MSI_SECRET,
        names.ENV_IDENTITY_ENDPOINT,
        names.ENV_IDENTITY_HEADER,
        names.ENV_ARC_ENDPOINT,
        names.ENV_IDENTITY_THUMBPRINT,
    }
)


class UnknownVersion(Error):
    """The version of the API server is invalid, so its support for native sidecars is unknown."""

    code = "unknown_version"
    hint = "check gitVersion in the output of `kubectl get --raw /version`"


def supports_native_sidecars(git_version: str) -> bool:
    """Return whether an API server with this `gitVersion`, such as `v1.34.4+k3s1`, has native sidecars.

    Raises UnknownVersion.
    """
    found = re.match(r"v?([0-9]+)\.([0-9]+)\.[0-9]+", git_version, re.ASCII)
    if found is None:
        raise UnknownVersion(f"{git_version!r} is not a Kubernetes version", version=git_version)
    return (int(found[1]), int(found[2])) >= _NATIVE_SINCE


def build_endpoint_variables(port: int, settings: WebhookSettings) -> list[dict[str, Any]]:
    """Build the variables by which the SDKs of a container find the sidecar."""
    found: list[dict[str, Any]] = []
    host = _LOOPBACK
    if settings.proxy_on_pod_address:
        found, host = [{"name": _POD_ADDRESS, "valueFrom": _POD_IP}], f"$({_POD_ADDRESS})"
    origin = f"http://{host}:{port}"
    values = {
        names.ENV_IMDS_HOST: origin,
        names.ENV_MSI_ENDPOINT: origin + names.MSI_TOKEN_PATH,
        names.ENV_IDENTITY_ENDPOINT: origin + names.MSI_TOKEN_PATH,
        names.ENV_IDENTITY_HEADER: _HEADER,
    }
    return found + [{"name": name, "value": value} for name, value in values.items()]


def is_own(entry: Mapping[str, Any], endpoints: list[dict[str, Any]]) -> bool:
    """Return whether an earlier pass has set a variable: it equals one of `endpoints`."""
    # The API server adds a default to the source of the address.
    return entry.get("name") == _POD_ADDRESS or entry in endpoints


def build_init_container(port: int, settings: WebhookSettings) -> dict[str, Any]:
    """Build the init container that redirects requests; it needs the capability NET_ADMIN."""
    security: dict[str, Any] = {
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
        "privileged": True,
        "runAsNonRoot": False,
        "runAsUser": 0,
    }
    if not settings.proxy_init_privileged:
        security |= {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
        }
    return {
        "name": names.PROXY_INIT_CONTAINER,
        "image": settings.proxy_init_image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PROXY_PORT", "value": str(port)}],
        "securityContext": security,
    }


def build_container(port: int, mode: str, settings: WebhookSettings) -> dict[str, Any]:
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
    if mode == ENV:
        # The restricted profile requires it, and the pod may set it only on its own containers.
        built["securityContext"]["seccompProfile"] = {"type": "RuntimeDefault"}
        if settings.proxy_on_pod_address:
            built["env"] = [{"name": names.ENV_PROXY_ADDRESS, "valueFrom": _POD_IP}]
    if settings.native_sidecar:
        built["restartPolicy"] = "Always"
    return built
