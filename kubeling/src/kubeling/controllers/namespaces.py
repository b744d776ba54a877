"""Namespace controller: create the default objects of each namespace, and empty deleted namespaces."""

import asyncio
import logging
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.patch import server_side_apply
from kubeling.apiserver.registry.store import is_ready_to_remove
from kubeling.apiserver.storage.fairness import CooperativeYield
from kubeling.apiserver.storage.storage import Object, StoredObject
from kubeling.clock import rfc3339
from kubeling.controllers.client import MANAGER, ControllerClient

Condition = dict[str, Any]
_NO_CONTENT = "all objects are deleted or being deleted"


def deletion_conditions(
    before: Sequence[Mapping[str, Any]],
    resources: Collection[str],
    finalizers: Collection[str],
    now: float,
) -> list[Condition]:
    """Return the conditions; `resources` and `finalizers` are those that remain.

    The messages have no counts: otherwise each deleted object would change the namespace.
    """
    times = {(each["type"], each["status"]): each.get("lastTransitionTime") for each in before}
    made: list[Condition] = []
    for name, reason, message, names in (
        ("DeletionDiscoveryFailure", "ResourcesDiscovered", "all kinds are known", ()),
        ("DeletionGroupVersionParsingFailure", "ParsedGroupVersions", "all kinds are known", ()),
        ("DeletionContentFailure", "ContentDeleted", _NO_CONTENT, ()),
        ("ContentRemaining", "ContentRemoved", "nothing remains", resources),
        ("FinalizersRemaining", "ContentHasNoFinalizers", "nothing remains", finalizers),
    ):
        kind, status = f"Namespace{name}", "True" if names else "False"
        if names:
            message = f"remaining: {', '.join(sorted(names))}"
            reason = "SomeResourcesRemain" if names is resources else "SomeFinalizersRemain"
        made.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastTransitionTime": times.get((kind, status)) or rfc3339(now),
            }
        )
    return made


_log = logging.getLogger(__name__)

ROOT_CA = "kube-root-ca.crt"
ACCOUNT = "default"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints "
    "such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
)
# Delay between deletion and emptying, so that requests in flight see the namespace Terminating.
GRACE_SECONDS = 1.0
_KIND, _POD = kind_by_name("Namespace"), kind_by_name("Pod")


class NamespaceController:
    """Reconciles namespaces."""

    def __init__(self, client: ControllerClient, ca: str) -> None:
        self._client, self._ca = client, ca
        self._store = client.store
        self._deleted_since: dict[str, float] = {}

    def use_ca(self, ca: str) -> None:
        """Publish another CA bundle in the ConfigMap of each namespace that is reconciled from now on."""
        self._ca = ca

    async def reconcile(self, _: str, name: str) -> float | None:
        """Create the default objects of a namespace or delete its contents; return the delay."""
        namespace = self._store.get(_KIND, "", name)
        if namespace is None:
            return None
        if not namespace["metadata"].get("deletionTimestamp"):
            self.complete(name)
            return None
        now = asyncio.get_running_loop().time()
        due = self._deleted_since.setdefault(namespace["metadata"]["uid"], now) + GRACE_SECONDS
        if now < due:
            return due - now
        await self._empty(namespace)
        return None

    def complete(self, namespace: str) -> None:
        """Create the default ServiceAccount, and create or restore the ConfigMap with the CA."""
        kind = kind_by_name("ServiceAccount")
        if self._store.get_stored(kind, namespace, ACCOUNT) is None:
            self._store.create(kind, {"metadata": self._metadata(namespace, ACCOUNT)})
        kind = kind_by_name("ConfigMap")
        current = self._store.get(kind, namespace, ROOT_CA)
        if current is None:
            metadata = self._metadata(namespace, ROOT_CA)
            metadata["annotations"] = {"kubernetes.io/description": _DESCRIPTION}
            made = {"metadata": metadata, "data": {"ca.crt": self._ca}}
            owners = server_side_apply.track_update(kind, None, made, MANAGER, now=self._client.now)
            metadata["managedFields"] = owners
            self._store.create(kind, made)
        elif current.get("data") != {"ca.crt": self._ca}:
            revision = int(current["metadata"]["resourceVersion"])
            self._store.update(kind, current | {"data": {"ca.crt": self._ca}}, revision)

    def _metadata(self, namespace: str, name: str) -> Object:
        return {
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": rfc3339(self._client.now),
        }

    async def _empty(self, namespace: Object) -> None:
        """Delete the contents of a namespace; remove its finalizer when it is empty.

        Pods are deleted first, because a running pod needs its Secrets and ConfigMaps.
        """
        name = namespace["metadata"]["name"]
        pods = [(_POD, entry) for entry in self._store.list_stored(_POD, name)]
        contents = pods or list(self._contents(name))
        fairness = CooperativeYield()
        for kind, entry in contents:
            # Up to 10,000 objects that are already being deleted are read without a write that yields.
            await fairness.yield_if_due()
            metadata = entry.object()["metadata"]
            if not metadata.get("deletionTimestamp"):
                await self._client.delete(kind.key, name, entry.name, metadata["uid"])
        if any(self._contents(name)):
            await self._report_contents(name, contents)
        else:
            self._remove_finalizer(name)

    async def _report_contents(
        self, name: str, contents: Sequence[tuple[Kind, StoredObject]]
    ) -> None:
        """Write what remains into the conditions of a namespace, if that has changed."""
        resources: set[str] = set()
        finalizers: set[str] = set()
        for kind, entry in contents:
            if (left := self._store.get(kind, name, entry.name)) is not None:
                resources.add(kind.resource)
                finalizers.update(left["metadata"].get("finalizers") or ())
        namespace = self._store.get(_KIND, "", name)
        if namespace is None:
            return
        status = namespace.get("status") or {}
        before = status.get("conditions") or []
        made = deletion_conditions(before, resources, finalizers, self._client.now)
        if made != before:
            await self._client.write_status("Namespace", namespace, {**status, "conditions": made})

    def _contents(self, namespace: str) -> Iterator[tuple[Kind, StoredObject]]:
        for kind in self._client.kinds.stored():
            if kind.namespaced:
                for found in self._store.list_stored(kind, namespace):
                    yield kind, found

    def _remove_finalizer(self, name: str) -> None:
        namespace = self._store.get(_KIND, "", name)
        if namespace is None:
            return
        namespace["spec"] = {**namespace.get("spec", {}), "finalizers": []}
        self._deleted_since.pop(namespace["metadata"]["uid"], None)
        revision = int(namespace["metadata"]["resourceVersion"])
        if is_ready_to_remove(_KIND, namespace):
            self._store.delete(_KIND, namespace, revision)
            _log.info("namespace_removed", extra={"namespace": name})
        else:
            self._store.update(_KIND, namespace, revision)
