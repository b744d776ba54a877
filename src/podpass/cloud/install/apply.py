"""Apply objects with server-side apply, and delete them; only objects with the owner's label are touched."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from podpass.cloud.install.objects import OWNER_LABELS, Object
from podpass.errors import Error
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.client.client import APPLY_PATCH

FIELD_MANAGER = "podpass-cloud"
_NOT_FOUND = 404
_PLURALS = {
    "Namespace": "namespaces",
    "ServiceAccount": "serviceaccounts",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "ConfigMap": "configmaps",
    "Service": "services",
    "Deployment": "deployments",
    "NetworkPolicy": "networkpolicies",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
}


class NotOurs(Error):
    """An object of this name exists and does not belong to an installation of podpass."""

    code = "object_not_ours"


class ObjectChange(StrEnum):
    """What an apply did to an object."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"


def describe(item: Object) -> str:
    """Return an object as kubectl names it: `deployment/podpass-cloud`."""
    return f"{item['kind'].lower()}/{item['metadata']['name']}"


async def check_owned(client: KubeClient, objects: Sequence[Object]) -> dict[str, Object]:
    """Read the existing objects by name; refuse those of others.

    Errors:  NotOurs, KubeError.
    """
    found = {}
    for item in objects:
        existing = await read(client, item)
        if existing is None:
            continue
        labels = existing["metadata"].get("labels") or {}
        if not OWNER_LABELS.items() <= labels.items():
            raise NotOurs(
                f"{describe(item)} exists already and does not belong to podpass",
                hint="install into another namespace with --namespace, or delete that object",
            )
        found[describe(item)] = existing
    return found


async def apply(
    client: KubeClient, item: Object, existing: Object | None, *, dry_run: bool = False
) -> ObjectChange:
    """Apply one object; the API server says whether that changed it.

    Errors:  KubeError.
    """
    query = f"fieldManager={FIELD_MANAGER}&force=true" + ("&dryRun=All" if dry_run else "")
    applied = await client.patch(f"{_path(item)}?{query}", item, APPLY_PATCH)
    if existing is None:
        return ObjectChange.CREATED
    return ObjectChange.CONFIGURED if _differ(existing, applied) else ObjectChange.UNCHANGED


async def delete(client: KubeClient, item: Object) -> bool:
    """Delete an object, if it exists and belongs to an installation; return whether it did.

    Errors:  KubeError.
    """
    existing = await read(client, item)
    labels = (existing or {}).get("metadata", {}).get("labels") or {}
    if existing is None or not OWNER_LABELS.items() <= labels.items():
        return False
    # Another object of the same name, made in between, is not deleted.
    precondition = {"preconditions": {"uid": existing["metadata"]["uid"]}}
    try:
        await client.delete(_path(item), precondition)
    except KubeError as exc:
        if exc.status != _NOT_FOUND:
            raise
    return True


async def read(client: KubeClient, item: Object) -> Object | None:
    """Read an object, None if it does not exist.

    Errors:  KubeError.
    """
    try:
        return await client.get(_path(item))
    except KubeError as exc:
        if exc.status == _NOT_FOUND:
            return None
        raise


def _path(item: Object) -> str:
    version, metadata = item["apiVersion"], item["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{scope}/{_PLURALS[item['kind']]}/{metadata['name']}"


def _differ(before: Object, after: Object) -> bool:
    return _without_bookkeeping(before) != _without_bookkeeping(after)


def _without_bookkeeping(item: Object) -> dict[str, Any]:
    kept = {key: value for key, value in item.items() if key != "status"}
    ignored = ("managedFields", "resourceVersion", "generation")
    kept["metadata"] = {key: value for key, value in item["metadata"].items() if key not in ignored}
    return kept
