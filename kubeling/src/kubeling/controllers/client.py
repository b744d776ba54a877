"""The write client of the controllers: each write is a request of the controller's ServiceAccount.

Writes take the same path as every other request, webhooks included. A pod that a Deployment creates is
mutated, refused and validated as a pod that a user creates.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from kubeling.api import ApiError
from kubeling.apiserver.customresources.served_kinds import ServedKinds
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.options import BACKGROUND, DeleteOptions, WriteOptions
from kubeling.apiserver.registry.deletion import DeletionHandler
from kubeling.apiserver.registry.store import Registry
from kubeling.apiserver.request import Request, RequestInfo, UserInfo
from kubeling.apiserver.status import StatusError, no_such_resource
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.event_recorder import Reference, object_reference
from kubeling.service_account.names import account_groups, subject

Made = TypeVar("Made")

MANAGER = "kube-controller-manager"
_HOW = WriteOptions(manager=MANAGER)
_NAMESPACE = "kube-system"
_GROUPS = (*account_groups(_NAMESPACE), "system:authenticated")


class ControllerClient:
    """Writes objects for one controller."""

    def __init__(self, resources: Registry, deletions: DeletionHandler, controller: str) -> None:
        self._resources, self._deletions = resources, deletions
        self._user = UserInfo(name=subject(_NAMESPACE, controller), groups=_GROUPS)

    @property
    def store(self) -> ObjectStore:
        return self._resources.store

    @property
    def kinds(self) -> ServedKinds:
        """Return the kinds of the cluster."""
        return self._resources.kinds

    @property
    def now(self) -> float:
        return self._resources.clock()

    async def create(self, kind: str, obj: Object) -> Object:
        """Create an object. Raises StatusError."""
        request = self._request(kind, obj["metadata"].get("namespace", ""), "")
        return await self._written(self._resources.create_object(request, obj, _HOW))

    async def update(self, kind: str, obj: Object, *, part: str = "") -> Object:
        """Replace an object, or its `status`, if its resourceVersion is still current.

        Raises StatusError 404, 409 and others.
        """
        metadata = obj["metadata"]
        request = self._request(kind, metadata.get("namespace", ""), metadata["name"], part)
        change = self._resources.guaranteed_update(
            request, lambda _: _tidy(obj), _HOW, "UpdateOptions"
        )
        return await self._written(change)

    async def write_status(self, kind: str, obj: Object, status: Object) -> None:
        """Write a status, unless the object has it already. Raises StatusError, as `update`."""
        if status != (obj.get("status") or {}):
            await self.update(kind, {**obj, "status": status}, part="status")

    async def change(
        self, kind: str, namespace: str, name: str, mutate: Callable[[Object], Object]
    ) -> Object:
        """Apply a function to the current object and store the result. Raises StatusError."""
        request = self._request(kind, namespace, name)

        def unbound(live: Object) -> Object:
            changed = _tidy(mutate(live))
            changed["metadata"].pop("resourceVersion", None)
            return changed

        change = self._resources.guaranteed_update(request, unbound, _HOW, "UpdateOptions")
        return await self._written(change)

    async def change_list(
        self, kind: str, obj: Object, field: str, mutate: Callable[[list[Any]], list[Any]]
    ) -> None:
        """Change a list in the metadata of an object; ignore an object that does not exist."""

        def changed(live: Object) -> Object:
            found = mutate(live["metadata"].get(field) or [])
            return {**live, "metadata": {**live["metadata"], field: found}}

        metadata = obj["metadata"]
        try:
            await self.change(kind, metadata.get("namespace", ""), metadata["name"], changed)
        except StatusError as exc:
            if exc.status != 404:
                raise

    async def delete_object(self, kind: str, obj: Object, *, policy: str = BACKGROUND) -> None:
        """Delete an object by uid; ignore an object that does not exist. Raises StatusError."""
        metadata = obj["metadata"]
        namespace, name, uid = metadata.get("namespace", ""), metadata["name"], metadata["uid"]
        await self.delete(kind, namespace, name, uid, policy=policy)

    async def delete(
        self, kind: str, namespace: str, name: str, uid: str, *, policy: str = BACKGROUND
    ) -> None:
        """Delete an object by uid; ignore an object that does not exist. Raises StatusError."""
        request = self._request(kind, namespace, name)
        how = DeleteOptions(uid=uid, policy=policy)
        try:
            await self._written(self._deletions.delete_named(request, namespace, name, how))
        except StatusError as exc:
            if exc.status != 404:
                raise

    async def create_event(self, namespace: str, event: Object) -> None:  # noqa: ARG002 it is in the event
        """Create an Event; see `EventSink`."""
        with _as_kube_error():
            await self.create("Event", event)

    async def patch_event(self, namespace: str, name: str, change: Object) -> None:
        """Merge top-level fields into an Event; see `EventSink`."""
        with _as_kube_error():
            await self.change("Event", namespace, name, lambda live: {**live, **change})

    async def _written(self, work: Awaitable[Made]) -> Made:
        try:
            return await work
        finally:
            # A write that calls no webhook never yields; let other tasks run.
            await asyncio.sleep(0)

    def _request(self, kind_name: str, namespace: str, name: str, part: str = "") -> Request:
        kind = self.kinds.by_key(kind_name)
        if kind is None:  # its CustomResourceDefinition was deleted
            raise no_such_resource()
        target = RequestInfo(
            verb="update",
            path="",
            group=kind.group,
            version=kind.version,
            plural=kind.plural,
            namespace=name if kind.type_name == "Namespace" else namespace,
            name=name,
            subresource=part,
            lookup=self.kinds.find,
        )
        return Request(
            method="PUT",
            scope={},
            receive=_nothing,
            query={},
            headers={},
            info=target,
            user=self._user,
        )


@contextlib.contextmanager
def _as_kube_error() -> Iterator[None]:
    try:
        yield
    except StatusError as exc:
        raise ApiError(exc.status, exc.reason, exc.message) from exc


def _tidy(obj: Object) -> Object:
    """Remove empty metadata lists, which the API server never stores."""
    metadata = {name: value for name, value in obj["metadata"].items() if value != []}
    return {**obj, "metadata": metadata}


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def event_reference(kind: Kind, obj: Object) -> Reference:
    """Return the reference to an object for an Event."""
    return object_reference({**obj, "kind": kind.kind, "apiVersion": kind.api_version})


def owner_reference(kind: Kind, owner: Object) -> Object:
    """Return the controller reference for objects that an owner creates."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
