"""What a controller manager does that the loop cannot be without: what each namespace holds from its
birth, what happens at its end, and which nodes take pods.

One task that follows namespaces, accounts, config maps and nodes through the store's history, as any client
would through a watch, and never trusts that it has seen everything: it looks at the state each time.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

from podpass.clock import Clock, rfc3339
from podpass.errors import Error
from podpass.tools.local.cluster import apply, defaults
from podpass.tools.local.cluster.deletion import mark
from podpass.tools.local.cluster.kinds import KINDS, named
from podpass.tools.local.cluster.resources import is_finished
from podpass.tools.local.cluster.store import Entry, Moved, Object, Store, Taken

_log = logging.getLogger(__name__)

ROOT_CA = "kube-root-ca.crt"
_MANAGER = "kube-controller-manager"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints "
    "such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
)
# Between a namespace's deletion and its emptying, so that requests under way see it Terminating.
GRACE_SECONDS = 1.0
_LOOK_SECONDS = 5.0
_FOLLOWED = ("namespaces", "serviceaccounts", "configmaps", "pods", "nodes")
_EVENT_SECONDS = 3600
_SWEEP_SECONDS = 60


class Controllers:
    """Keeps namespaces complete, empties those that are deleted, and opens nodes that are ready."""

    def __init__(self, store: Store, ca_file: Path, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._ca = ca_file.read_text()
        self._seen: dict[str, float] = {}
        self._swept = 0.0

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            wait = _LOOK_SECONDS
            try:
                self.taint_nodes()
                for entry in self._store.entries(named("Namespace")):
                    namespace = entry.object()
                    if not namespace["metadata"].get("deletionTimestamp"):
                        self.complete(entry.name)
                        continue
                    due = self._seen.setdefault(namespace["metadata"]["uid"], loop.time())
                    if loop.time() >= due + GRACE_SECONDS:
                        self._end(entry, namespace)
                    else:
                        wait = min(wait, due + GRACE_SECONDS - loop.time())
                if loop.time() >= self._swept + _SWEEP_SECONDS:
                    self._swept = loop.time()
                    self.sweep()
            except (Moved, Taken):
                wait = 0.05  # somebody wrote at the same time; look again
            except Error:
                _log.exception("controller_failed")
            await self._store.history.wait(_FOLLOWED, wait)

    def complete(self, namespace: str) -> None:
        """Give a namespace its default account and the cluster's CA, and keep the latter as it is."""
        kind = named("ServiceAccount")
        if self._store.entry(kind, namespace, "default") is None:
            self._store.create(kind, {"metadata": self._metadata(namespace, "default")})
        kind = named("ConfigMap")
        current = self._store.get(kind, namespace, ROOT_CA)
        if current is None:
            metadata = self._metadata(namespace, ROOT_CA)
            metadata["annotations"] = {"kubernetes.io/description": _DESCRIPTION}
            made = {"metadata": metadata, "data": {"ca.crt": self._ca}}
            owners = apply.track_update(kind, None, made, _MANAGER, now=self._clock())
            metadata["managedFields"] = owners
            self._store.create(kind, made)
        elif current.get("data") != {"ca.crt": self._ca}:
            seen = int(current["metadata"]["resourceVersion"])
            self._store.update(kind, current | {"data": {"ca.crt": self._ca}}, seen)

    def taint_nodes(self) -> None:
        """Keep new pods from nodes that are not ready, and let them onto those that are."""
        kind = named("Node")
        for entry in self._store.entries(kind):
            node = entry.object()
            spec = node.get("spec") or {}
            taints = defaults.node_taints(node)
            if taints == (spec.get("taints") or []):
                continue
            kept = {name: value for name, value in spec.items() if name != "taints"}
            changed = node | {"spec": kept | ({"taints": taints} if taints else {})}
            owners = apply.track_update(kind, node, changed, _MANAGER, now=self._clock())
            metadata = node["metadata"] | ({"managedFields": owners} if owners else {})
            self._store.update(kind, changed | {"metadata": metadata}, entry.revision)

    def sweep(self) -> None:
        """Forget events that nothing has been added to for an hour."""
        kind, limit = named("Event"), rfc3339(self._clock() - _EVENT_SECONDS)
        for entry in self._store.entries(kind):
            event = entry.object()
            times = (event.get("lastTimestamp"), event.get("eventTime"))
            last = max(event["metadata"]["creationTimestamp"], *(time or "" for time in times))
            if last < limit:
                self._store.delete(kind, event, entry.revision)

    def _metadata(self, namespace: str, name: str) -> Object:
        return {
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": rfc3339(self._clock()),
        }

    def _end(self, entry: Entry, namespace: Object) -> None:
        """Empty a namespace, and let it go when nothing is left in it."""
        left = [self._empty(kind, found) for kind, found in self._contents(entry.name)]
        if any(left):
            return
        kind = named("Namespace")
        namespace["spec"] = {**namespace.get("spec", {}), "finalizers": []}
        self._seen.pop(namespace["metadata"]["uid"], None)
        if is_finished(namespace):
            self._store.delete(kind, namespace, entry.revision)
            _log.info("namespace_removed", extra={"namespace": entry.name})
        else:
            self._store.update(kind, namespace, entry.revision)

    def _contents(self, namespace: str) -> Iterator[tuple[str, Entry]]:
        for kind in KINDS:
            if kind.namespaced and kind.stored:
                for found in self._store.entries(kind, namespace):
                    yield kind.kind, found

    def _empty(self, kind_name: str, entry: Entry) -> bool:
        """Delete one object; True says that it is still there: a pod that ends, a finalizer."""
        kind, obj = named(kind_name), entry.object()
        grace = 0
        if kind_name == "Pod" and obj["spec"].get("nodeName"):
            phase = (obj.get("status") or {}).get("phase")
            if phase not in ("Succeeded", "Failed"):
                grace = int(obj["spec"].get("terminationGracePeriodSeconds") or 0)
        waits = bool(grace or obj["metadata"].get("finalizers"))
        if not waits:
            self._store.delete(kind, obj, entry.revision)
            return False
        before = entry.object()
        mark(obj, grace, self._clock())
        if obj != before:
            self._store.update(kind, obj, entry.revision)
        return True
