"""Namespaces: what each holds from its birth, and what happens at its end."""

import asyncio
import logging
import uuid
from collections.abc import Iterator

from podpass.clock import rfc3339
from podpass.kubernetes.apiserver.kinds import KINDS, Kind, named
from podpass.kubernetes.apiserver.patch import server_side_apply
from podpass.kubernetes.apiserver.registry.store import is_finished
from podpass.kubernetes.apiserver.storage.fairness import Pace
from podpass.kubernetes.apiserver.storage.storage import Entry, Object
from podpass.kubernetes.controllers.client import MANAGER, Writer

_log = logging.getLogger(__name__)

ROOT_CA = "kube-root-ca.crt"
ACCOUNT = "default"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints "
    "such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
)
# Between a namespace's deletion and its emptying, so that requests under way see it Terminating.
GRACE_SECONDS = 1.0
_KIND, _POD = named("Namespace"), named("Pod")


class Namespaces:
    """Keeps namespaces complete, and empties those that are deleted."""

    def __init__(self, writer: Writer, authority: str) -> None:
        self._writer, self._ca = writer, authority
        self._store = writer.store
        self._seen: dict[str, float] = {}

    async def look(self, _: str, name: str) -> float | None:
        """Complete a namespace, or empty one that is going; say when to look again.

        Errors:  StatusError, Moved, Taken.
        """
        namespace = self._store.get(_KIND, "", name)
        if namespace is None:
            return None
        if not namespace["metadata"].get("deletionTimestamp"):
            self.complete(name)
            return None
        now = asyncio.get_running_loop().time()
        due = self._seen.setdefault(namespace["metadata"]["uid"], now) + GRACE_SECONDS
        if now < due:
            return due - now
        await self._end(namespace)
        return None

    def complete(self, namespace: str) -> None:
        """Give a namespace its default account and the cluster's CA, and keep the latter as it is."""
        kind = named("ServiceAccount")
        if self._store.entry(kind, namespace, ACCOUNT) is None:
            self._store.create(kind, {"metadata": self._metadata(namespace, ACCOUNT)})
        kind = named("ConfigMap")
        current = self._store.get(kind, namespace, ROOT_CA)
        if current is None:
            metadata = self._metadata(namespace, ROOT_CA)
            metadata["annotations"] = {"kubernetes.io/description": _DESCRIPTION}
            made = {"metadata": metadata, "data": {"ca.crt": self._ca}}
            owners = server_side_apply.track_update(kind, None, made, MANAGER, now=self._writer.now)
            metadata["managedFields"] = owners
            self._store.create(kind, made)
        elif current.get("data") != {"ca.crt": self._ca}:
            seen = int(current["metadata"]["resourceVersion"])
            self._store.update(kind, current | {"data": {"ca.crt": self._ca}}, seen)

    def _metadata(self, namespace: str, name: str) -> Object:
        return {
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": rfc3339(self._writer.now),
        }

    async def _end(self, namespace: Object) -> None:
        """Empty a namespace, and let it go when nothing is left in it.

        Pods go first: while one runs, what it runs with stays.
        """
        name = namespace["metadata"]["name"]
        pods = [(_POD, entry) for entry in self._store.entries(_POD, name)]
        pace = Pace()
        for kind, entry in pods or list(self._contents(name)):
            await pace.step()  # of 10,000 that are going already, none is written and each is read
            metadata = entry.object()["metadata"]
            if not metadata.get("deletionTimestamp"):
                await self._writer.delete(kind.kind, name, entry.name, metadata["uid"])
        if not any(self._contents(name)):
            self._let_go(name)

    def _contents(self, namespace: str) -> Iterator[tuple[Kind, Entry]]:
        for kind in KINDS:
            if kind.namespaced and kind.stored:
                for found in self._store.entries(kind, namespace):
                    yield kind, found

    def _let_go(self, name: str) -> None:
        namespace = self._store.get(_KIND, "", name)
        if namespace is None:
            return
        namespace["spec"] = {**namespace.get("spec", {}), "finalizers": []}
        self._seen.pop(namespace["metadata"]["uid"], None)
        seen = int(namespace["metadata"]["resourceVersion"])
        if is_finished(namespace):
            self._store.delete(_KIND, namespace, seen)
            _log.info("namespace_removed", extra={"namespace": name})
        else:
            self._store.update(_KIND, namespace, seen)
