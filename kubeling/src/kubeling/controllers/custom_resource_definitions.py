"""CustomResourceDefinition controller: accept names, establish, and empty a deleted definition."""

from kubeling.apiserver.customresources import definitions
from kubeling.apiserver.customresources.definitions import CLEANUP
from kubeling.apiserver.customresources.served_kinds import DEFINITION
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.storage.fairness import CooperativeYield
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers.client import ControllerClient


class CustomResourceDefinitionController:
    """Reconciles CustomResourceDefinitions."""

    def __init__(self, client: ControllerClient) -> None:
        self._client, self._store = client, client.store

    async def reconcile(self, _: str, name: str) -> None:
        """Set the conditions of a definition, or delete the objects of a deleted definition."""
        definition = self._store.get(DEFINITION, "", name)
        if definition is None:
            return
        if definition["metadata"].get("deletionTimestamp"):
            if CLEANUP in (definition["metadata"].get("finalizers") or ()):
                await self._empty(definition)
            return
        others = [
            entry.object() for entry in self._store.list_stored(DEFINITION) if entry.name != name
        ]
        made = definitions.accept_names(definition, others, self._client.now)
        await self._client.write_status(DEFINITION.key, definition, made["status"])

    async def _empty(self, definition: Object) -> None:
        """Delete the objects of a definition; remove its finalizer when no object is left."""
        kind = self._client.kinds.by_key(definition["metadata"]["name"])
        if kind is not None:
            await self._delete_objects(kind)
            if self._store.list_stored(kind):  # an object waits for a finalizer of its own
                await self._set_condition(definition, definitions.IN_PROGRESS)
                return
        finalizers = definition["metadata"]["finalizers"]
        metadata = {
            **definition["metadata"],
            "finalizers": [each for each in finalizers if each != CLEANUP],
        }
        await self._client.update(DEFINITION.key, {**definition, "metadata": metadata})
        self._store.watch_cache.wake(definition["metadata"]["name"])

    async def _delete_objects(self, kind: Kind) -> None:
        fairness = CooperativeYield()
        for entry in self._store.list_stored(kind):
            await fairness.yield_if_due()
            metadata = entry.object()["metadata"]
            if not metadata.get("deletionTimestamp"):
                await self._client.delete(kind.key, entry.namespace, entry.name, metadata["uid"])

    async def _set_condition(
        self, definition: Object, condition: definitions.DefinitionCondition
    ) -> None:
        made = {**definition, "status": dict(definition.get("status") or {})}
        definitions.set_condition(made, condition, self._client.now)
        await self._client.write_status(DEFINITION.key, definition, made["status"])
