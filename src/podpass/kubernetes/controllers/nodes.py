"""Nodes: new pods stay off those that are not ready, and come onto those that are."""

from podpass.kubernetes.apiserver.defaulting import defaults
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.patch import server_side_apply
from podpass.kubernetes.controllers.client import MANAGER, Writer

_KIND = named("Node")


class Nodes:
    """Keeps the taints of nodes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def look(self, _: str, name: str) -> float | None:
        """Taint a node as its Ready condition wants it.

        Errors:  Moved.
        """
        store = self._writer.store
        node = store.get(_KIND, "", name)
        if node is None:
            return None
        spec = node.get("spec") or {}
        taints = defaults.node_taints(node)
        if taints != (spec.get("taints") or []):
            kept = {part: value for part, value in spec.items() if part != "taints"}
            changed = node | {"spec": kept | ({"taints": taints} if taints else {})}
            owners = server_side_apply.track_update(
                _KIND, node, changed, MANAGER, now=self._writer.now
            )
            metadata = node["metadata"] | ({"managedFields": owners} if owners else {})
            seen = int(node["metadata"]["resourceVersion"])
            store.update(_KIND, changed | {"metadata": metadata}, seen)
        return None
