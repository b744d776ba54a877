"""Node controller: taint nodes that are not ready, so that no pod is scheduled on them."""

from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.patch import server_side_apply
from kubeling.controllers.client import MANAGER, ControllerClient

_KIND = kind_by_name("Node")


class NodeController:
    """Reconciles the taints of nodes."""

    def __init__(self, client: ControllerClient) -> None:
        self._client = client

    async def reconcile(self, _: str, name: str) -> float | None:
        """Set the taints that follow from the Ready condition of a node."""
        store = self._client.store
        node = store.get(_KIND, "", name)
        if node is None:
            return None
        spec = node.get("spec") or {}
        taints = defaults.node_taints(node)
        if taints != (spec.get("taints") or []):
            others = {part: value for part, value in spec.items() if part != "taints"}
            changed = node | {"spec": others | ({"taints": taints} if taints else {})}
            owners = server_side_apply.track_update(
                _KIND, node, changed, MANAGER, now=self._client.now
            )
            metadata = node["metadata"] | ({"managedFields": owners} if owners else {})
            revision = int(node["metadata"]["resourceVersion"])
            store.update(_KIND, changed | {"metadata": metadata}, revision)
        return None
