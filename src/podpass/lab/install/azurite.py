"""The container of Azurite in the pod of an installation. Pure.

It listens on the loopback interface of the pod, so that only podpass, which checks tokens and roles, reaches
it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from podpass import names

Object = dict[str, Any]

CONTAINER = "azurite"
# An example for messages: the image of Microsoft with the release of Azurite that the tests use.
EXAMPLE_IMAGE = "mcr.microsoft.com/azure-storage/azurite:3.35.0"
ORIGIN = "http://127.0.0.1:10000"
# Not a secret: the network of the pod protects Azurite, and a client outside the pod cannot use the key.
ACCOUNT_KEY = "b25seSB0aGUgY2xvdWQncyBwb2QgcmVhY2hlcyBBenVyaXRl"

_MAX_LISTED = 10
_HOST, _LAST_PORT, _FOLDER = "127.0.0.1", 10002, "/data"
# A probe by TCP would come from the node, which does not reach the loopback interface of the pod.
_CONNECT = (
    f"require('net').connect({_LAST_PORT}, '{_HOST}')"
    ".on('connect', () => process.exit(0)).on('error', () => process.exit(1))"
)
_VOLUME = "blobs"


def list_accounts(seed: str) -> list[str]:
    """Return the names of the storage accounts of a seed. Raises UsageError."""
    from podpass.lab.services import parse_seed

    if not seed:
        return []
    return [each.name for each in parse_seed(seed, "seed").entries.get("storage_accounts", ())]


def warn_of_unserved(
    accounts: Iterable[str], known: Collection[str] | None, *, no_azurite: str, no_key: str
) -> list[str]:
    """Return a warning for the accounts of a seed whose data nothing serves.

    `known` are the accounts that Azurite has, None without Azurite; `no_azurite` and `no_key` say how to fix
    each case.
    """
    unserved = [each for each in accounts if each not in (known or ())]
    if not unserved:
        return []
    listed = ", ".join(unserved[:_MAX_LISTED]) + (", ..." if len(unserved) > _MAX_LISTED else "")
    if known is None:
        return [
            f"warning: without Azurite, storage accounts are not served ({listed}); {no_azurite}"
        ]
    return [f"warning: Azurite does not have the storage accounts {listed}; {no_key}"]


def build_accounts(seed: str) -> list[Object]:
    """Build the variable with the accounts of a seed; without accounts, Azurite has one of its own."""
    value = ";".join(f"{each}:{ACCOUNT_KEY}" for each in list_accounts(seed))
    return [{"name": names.ENV_AZURITE_ACCOUNTS, "value": value}] if value else []


def build_container(image: str, seed: str, claim: str, security: Mapping[str, Any]) -> Object:
    """Build the container; with a claim, the data is in a folder of its volume."""
    command = ["azurite", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    command += ["--location", _FOLDER]
    command += ["--blobHost", _HOST, "--queueHost", _HOST, "--tableHost", _HOST]
    volume = {"name": "data", "subPath": CONTAINER} if claim else {"name": _VOLUME}
    accounts = build_accounts(seed)
    return {
        "name": CONTAINER,
        "image": image,
        "command": command,
        **({"env": accounts} if accounts else {}),
        "startupProbe": {
            "exec": {"command": ["node", "-e", _CONNECT]},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
            "failureThreshold": 120,
        },
        "resources": {"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": dict(security),
        "volumeMounts": [{**volume, "mountPath": _FOLDER}],
    }


def build_volumes(claim: str) -> list[Object]:
    """Build the volume for the data, which ends with the pod; none with a claim."""
    return [] if claim else [{"name": _VOLUME, "emptyDir": {"sizeLimit": "2Gi"}}]


def find_image(containers: list[Object]) -> str:
    """Return the image of Azurite in the containers of a pod, empty if there is none."""
    return next((str(each["image"]) for each in containers if each["name"] == CONTAINER), "")
