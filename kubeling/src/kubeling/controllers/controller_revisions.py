"""The history of a StatefulSet or DaemonSet: one ControllerRevision per pod template.

Source: k8s.io/kubernetes v1.34 pkg/controller/history.
"""

from collections.abc import Collection

import orjson

from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.status import StatusError
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers import controller_ref
from kubeling.controllers.client import ControllerClient, owner_reference
from kubeling.controllers.rollout import template_hash

_KIND = kind_by_name("ControllerRevision")
# The label of a pod: the name of its revision in a StatefulSet, the hash of its template in a DaemonSet.
REVISION_HASH = "controller-revision-hash"


async def sync(
    client: ControllerClient, kind: Kind, owner: Object, status: Object, hash_label: str
) -> list[Object]:
    """Return the revisions of an owner, the oldest first; the last is that of its current template.

    A return to an earlier template gives its revision the next number. `status` is the new status of the
    owner: a hash that two templates share increments its `collisionCount`. Raises StatusError: the API
    refused a write; the reconcile is repeated.
    """
    found = await controller_ref.claim_objects(client, _KIND, kind, owner)
    found.sort(key=lambda each: (each.get("revision") or 0, each["metadata"]["name"]))
    data = _data(owner["spec"]["template"])
    same = next((each for each in reversed(found) if each.get("data") == data), None)
    if same is not None and same is found[-1]:
        return found
    if owner["metadata"].get("deletionTimestamp"):
        return found
    revision = (found[-1].get("revision") or 0) + 1 if found else 1
    if same is not None:
        found.remove(same)
        return [*found, await client.update(_KIND.kind, {**same, "revision": revision})]
    while True:
        made = _new(kind, owner, data, revision, hash_label, status.get("collisionCount") or 0)
        try:
            return [*found, await client.create(_KIND.kind, made)]
        except StatusError as exc:
            if exc.reason != "AlreadyExists":
                raise
            status["collisionCount"] = (status.get("collisionCount") or 0) + 1


def _data(template: Object) -> Object:
    """Return the patch that restores a template, with sorted keys: clients compare its bytes."""
    patch = {"spec": {"template": {**template, "$patch": "replace"}}}
    sorted_patch: Object = orjson.loads(orjson.dumps(patch, option=orjson.OPT_SORT_KEYS))
    return sorted_patch


def _new(
    kind: Kind, owner: Object, data: Object, revision: int, hash_label: str, collisions: int
) -> Object:
    metadata, template = owner["metadata"], owner["spec"]["template"]
    hash_ = template_hash(template, collisions)
    labels = (template.get("metadata") or {}).get("labels") or {}
    made: Object = {
        "metadata": {
            "name": f"{metadata['name']}-{hash_}",
            "namespace": metadata["namespace"],
            "labels": {**labels, hash_label: hash_},
            "ownerReferences": [owner_reference(kind, owner)],
        },
        "data": data,
        "revision": revision,
    }
    if annotations := metadata.get("annotations"):
        made["metadata"]["annotations"] = dict(annotations)
    return made


async def truncate(
    client: ControllerClient, owner: Object, revisions: list[Object], used: Collection[str]
) -> None:
    """Delete the oldest revisions over the history limit, but none whose name is in `used`.

    Raises StatusError: the API refused a write; the reconcile is repeated.
    """
    unused = [each for each in revisions if each["metadata"]["name"] not in used]
    surplus = len(unused) - owner["spec"].get("revisionHistoryLimit", len(unused))
    for each in unused[: max(surplus, 0)]:
        await client.delete_object(_KIND.kind, each)
