"""The hand of the controllers: writes as a client of the API would, under the name of who writes.

Everything goes the way of every other request, webhooks included, so that a pod a deployment makes is
changed, refused and validated as one that a user makes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from podpass.kubernetes.apiserver.kinds import Kind, named
from podpass.kubernetes.apiserver.options import BACKGROUND, DeleteOptions, WriteOptions
from podpass.kubernetes.apiserver.registry.deletion import Deletions
from podpass.kubernetes.apiserver.registry.store import Resources
from podpass.kubernetes.apiserver.request import Request, Target, User
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import Object, Store
from podpass.kubernetes.service_account.names import group_names, subject

Made = TypeVar("Made")

MANAGER = "kube-controller-manager"
_HOW = WriteOptions(manager=MANAGER)
_NAMESPACE = "kube-system"
_GROUPS = (*group_names(_NAMESPACE), "system:authenticated")


class Writer:
    """Writes objects for one controller."""

    def __init__(self, resources: Resources, deletions: Deletions, controller: str) -> None:
        self._resources, self._deletions = resources, deletions
        self._user = User(name=subject(_NAMESPACE, controller), groups=_GROUPS)

    @property
    def store(self) -> Store:
        return self._resources.store

    @property
    def now(self) -> float:
        return self._resources.clock()

    async def create(self, kind: str, obj: Object) -> Object:
        """Make an object.

        Errors:  StatusError.
        """
        request = self._request(kind, obj["metadata"].get("namespace", ""), "")
        return await self._written(self._resources.insert(request, obj, _HOW))

    async def update(self, kind: str, obj: Object, *, part: str = "") -> Object:
        """Replace an object, or its `status`, if it is still as it was read.

        Errors:  StatusError 404, 409 and others.
        """
        metadata = obj["metadata"]
        request = self._request(kind, metadata.get("namespace", ""), metadata["name"], part)
        change = self._resources.change(request, lambda _: _tidy(obj), _HOW, "UpdateOptions")
        return await self._written(change)

    async def change(
        self, kind: str, namespace: str, name: str, wanted: Callable[[Object], Object]
    ) -> Object:
        """Change an object as it is by then.

        Errors:  StatusError.
        """
        request = self._request(kind, namespace, name)

        def unbound(live: Object) -> Object:
            changed = _tidy(wanted(live))
            changed["metadata"].pop("resourceVersion", None)
            return changed

        change = self._resources.change(request, unbound, _HOW, "UpdateOptions")
        return await self._written(change)

    async def delete(
        self, kind: str, namespace: str, name: str, uid: str, *, policy: str = BACKGROUND
    ) -> None:
        """Delete an object if it is still the same; one that is gone already is as well.

        Errors:  StatusError.
        """
        request = self._request(kind, namespace, name)
        how = DeleteOptions(uid=uid, policy=policy)
        try:
            await self._written(self._deletions.named(request, namespace, name, how))
        except StatusError as exc:
            if exc.status != 404:
                raise

    async def _written(self, work: Awaitable[Made]) -> Made:
        try:
            return await work
        finally:
            # Writes are done without a pause where no webhook is asked; others have their turn here.
            await asyncio.sleep(0)

    def _request(self, kind_name: str, namespace: str, name: str, part: str = "") -> Request:
        kind: Kind = named(kind_name)
        target = Target(
            verb="update",
            path="",
            group=kind.group,
            version=kind.version,
            plural=kind.plural,
            namespace=name if kind.kind == "Namespace" else namespace,
            name=name,
            subresource=part,
        )
        return Request(
            method="PUT",
            scope={},
            receive=_nothing,
            query={},
            headers={},
            target=target,
            user=self._user,
        )


def _tidy(obj: Object) -> Object:
    """Leave out lists that have become empty, as they are never stored."""
    kept = {name: value for name, value in obj["metadata"].items() if value != []}
    return {**obj, "metadata": kept}


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def owner_reference(kind: Kind, owner: Object) -> Object:
    """Refer to the owner that controls what it makes."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
