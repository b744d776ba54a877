"""The endpoints of a cloud for a management client, chosen by name as in azure-workload-identity. Pure."""

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from podpass.clouds import CLOUDS, PUBLIC, Cloud
from podpass.errors import UsageError
from podpass.names import EXCHANGE_AUDIENCE

AZURE_STACK = "AzureStackCloud"
_STACK_FILE = "AZURE_ENVIRONMENT_FILEPATH"
_FAILED = "failed to parse --azure-env as a valid target Azure cloud environment"
# azure-workload-identity's names of the clouds that `az` names differently.
_ALIASES = {"azurepubliccloud": PUBLIC.name, "azureusgovernmentcloud": "AzureUSGovernment"}
CLOUD_NAMES = ("AzurePublicCloud", *list(CLOUDS)[1:], AZURE_STACK)
_NAMES = {name.lower(): name for name in CLOUDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a cloud's APIs are.

    `login`, `graph` and `manager` are https origins without a trailing slash; `manager_resource` is the
    resource of tokens for Resource Manager; `audience` that of federated credentials.
    """

    cloud: str
    login: str
    graph: str
    manager: str
    manager_resource: str
    audience: str


def find_endpoints(name: str, *, stack_file: str = "") -> Endpoints:
    """Return the endpoints of a cloud by the name of `--azure-env`, in any case. Raises UsageError."""
    lowered = name.lower()
    if lowered == AZURE_STACK.lower():
        return _read_stack_file(Path(stack_file))
    found = CLOUDS.get(_ALIASES.get(lowered) or _NAMES.get(lowered, ""))
    if found is None:
        raise UsageError(
            f'{_FAILED}: there is no cloud named "{name.upper()}"',
            hint=f"use {', '.join(CLOUD_NAMES[:-1])} or {AZURE_STACK}",
        )
    return _endpoints_of(found)


def _endpoints_of(cloud: Cloud) -> Endpoints:
    return Endpoints(
        cloud=cloud.name,
        login=f"https://{cloud.login}",
        graph=f"https://{cloud.graph}",
        manager=cloud.managers[0],
        manager_resource=cloud.managers[0],
        audience=cloud.exchange_audience,
    )


def _read_stack_file(file: Path) -> Endpoints:
    """Read the endpoints of another cloud, as for Azure Stack or a self-hosted token service."""
    hint = (
        f"set {_STACK_FILE} to a JSON file with activeDirectoryEndpoint, resourceManagerEndpoint and"
        " microsoftGraphEndpoint, each an https URL"
    )
    try:
        values = json.loads(file.read_bytes())
        login, manager, graph = (
            _origin(values[name])
            for name in (
                "activeDirectoryEndpoint",
                "resourceManagerEndpoint",
                "microsoftGraphEndpoint",
            )
        )
        resource = str(values.get("tokenAudience") or manager).rstrip("/")
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"{_FAILED}: {_STACK_FILE} {str(file)!r} is not valid", hint=hint) from exc
    return Endpoints(
        cloud=AZURE_STACK,
        login=login,
        graph=graph,
        manager=manager,
        manager_resource=resource,
        audience=EXCHANGE_AUDIENCE,
    )


def _origin(url: object) -> str:
    """Return the origin of an https URL. Raises ValueError."""
    parts = urlsplit(str(url))
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not an https URL")
    return f"https://{parts.netloc}"
