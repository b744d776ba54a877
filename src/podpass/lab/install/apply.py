"""Apply objects with server-side apply, and delete them; only objects with the owner's label are touched."""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from podpass.errors import Error
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.client.client import APPLY_PATCH
from podpass.kubernetes.paths import path_of
from podpass.lab.install.objects import OWNER_LABELS, Object

FIELD_MANAGER = "podpass-cloud"
_NOT_FOUND, _CONFLICT = 404, 409
# The deployment controller writes it some time after the object is created.
_REVISION = "deployment.kubernetes.io/revision"


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
    """Read the existing objects by name; refuse those of another owner, except a namespace.

    Raises NotOurs, KubeError.
    """
    found = {}
    stored = await asyncio.gather(*(read(client, item) for item in objects))
    for item, existing in zip(objects, stored, strict=True):
        if existing is None:
            continue
        if not _is_owned(existing) and item["kind"] != "Namespace":
            raise NotOurs(
                f"{describe(item)} exists already and does not belong to podpass",
                hint="install into another namespace with --namespace, or delete that object",
            )
        found[describe(item)] = existing
    return found


async def apply(
    client: KubeClient, item: Object, existing: Object | None, *, dry_run: bool = False
) -> ObjectChange:
    """Apply one object; the API server says whether that changed it. Raises KubeError."""
    if existing is not None and not _is_owned(existing):
        # A namespace that was there before: the installation does not own it.
        return ObjectChange.UNCHANGED
    query = f"fieldManager={FIELD_MANAGER}&force=true" + ("&dryRun=All" if dry_run else "")
    applied = await client.patch(f"{_path(item)}?{query}", item, APPLY_PATCH)
    if existing is None:
        return ObjectChange.CREATED
    return ObjectChange.CONFIGURED if _differ(existing, applied) else ObjectChange.UNCHANGED


async def create(client: KubeClient, item: Object) -> None:
    """Create an object, unless it exists. Raises KubeError."""
    collection = _path(item).rpartition("/")[0]
    try:
        await client.create(f"{collection}?fieldManager={FIELD_MANAGER}-first", item)
    except KubeError as exc:
        if exc.status != _CONFLICT:
            raise


async def delete(client: KubeClient, item: Object) -> bool:
    """Delete an object, if it exists and belongs to an installation; return whether it did.

    Raises KubeError.
    """
    existing = await read(client, item)
    if existing is None or not _is_owned(existing):
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
    """Read an object, None if it does not exist. Raises KubeError."""
    return await client.find(_path(item))


def group_of(item: Object) -> str:
    """Return the API group of an object; the core group is empty."""
    group, slash, _ = item["apiVersion"].partition("/")
    return str(group) if slash else ""


def namespace_of(item: Object) -> str:
    """Return the namespace of an object, empty if it belongs to the whole cluster."""
    return str(item["metadata"].get("namespace", ""))


def _path(item: Object) -> str:
    return path_of(item["kind"], item["metadata"]["name"], namespace=namespace_of(item))


def _is_owned(item: Object) -> bool:
    return OWNER_LABELS.items() <= (item["metadata"].get("labels") or {}).items()


def _differ(before: Object, after: Object) -> bool:
    return _without_bookkeeping(before) != _without_bookkeeping(after)


def _without_bookkeeping(item: Object) -> dict[str, Any]:
    kept = {key: value for key, value in item.items() if key != "status"}
    ignored = ("managedFields", "resourceVersion", "generation")
    kept["metadata"] = {key: value for key, value in item["metadata"].items() if key not in ignored}
    annotations = item["metadata"].get("annotations") or {}
    kept["metadata"]["annotations"] = {k: v for k, v in annotations.items() if k != _REVISION}
    return kept
