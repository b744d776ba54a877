"""Write the Secret and the ServiceAccount of a connection of Service Connector into the cluster."""

import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from podpass import names
from podpass.directory.resource_manager import errors
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.cluster.backend import ConnectionObjects

_logger = logging.getLogger(__name__)
_Object = dict[str, Any]
_Undo = Callable[[], Awaitable[object]]
_MANAGER = {"fieldManager": "service-connector"}
_UNREACHABLE = 503


def written(client: KubeClient, objects: ConnectionObjects) -> AbstractAsyncContextManager[None]:
    """Write the objects of a connection; restore the earlier state if the block fails.

    An object that already is as it should be is not written.

    Raises ManagerError.
    """
    return _Writer(client, objects).written()


class _Writer:
    """Writes the objects of one connection, and can undo its writes."""

    def __init__(self, client: KubeClient, objects: ConnectionObjects) -> None:
        self._client, self._objects = client, objects
        self._undo: list[_Undo] = []
        self._base = f"/api/v1/namespaces/{objects.namespace}"

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        try:
            try:
                name = self._objects.namespace
                found = await self._client.find(f"/api/v1/namespaces/{name}")
                if found is None:
                    raise errors.bad_request(
                        "NamespaceNotFound",
                        f"The cluster has no namespace '{name}'. Create it: kubectl create namespace {name}.",
                    )
                if self._objects.secret_values is not None:
                    await self._write_secret(self._objects.secret_values)
                await self._write_account()
            except KubeError as exc:
                raise _from_kube_error(exc) from exc
            yield
        except BaseException:
            await self._restore()
            raise

    async def _restore(self) -> None:
        for step in reversed(self._undo):
            try:
                await step()
            except KubeError as exc:
                # The object is harmless without the connection; the next run of the command adopts it.
                _logger.warning(
                    "connection_object_not_restored",
                    extra={"cause": exc.message, "connection": self._objects.connection_id},
                )

    async def _write_secret(self, values: Mapping[str, str]) -> None:
        name, owner = self._objects.secret, self._objects.connection_id
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        old = await self._client.find(f"{self._base}/secrets/{name}")
        if old is None:
            await self._create("secrets", _secret(name, owner, data))
            return
        annotations = old["metadata"].get("annotations") or {}
        # Another connection or a user may own this Secret: its name has only some characters of the
        # connection's name.
        is_ours = annotations.get(names.CONNECTION, "").lower() == owner.lower()
        if not is_ours and old.get("data") != data:
            raise errors.conflict(
                "SecretExists",
                f"The Secret '{name}' in the namespace '{self._objects.namespace}' does not belong to this"
                " connection. Delete it (kubectl delete secret), or use another connection name.",
            )
        if is_ours and old.get("data") == data:
            return
        annotated = {**annotations, names.CONNECTION: owner}
        new = {**old, "data": data, "metadata": {**old["metadata"], "annotations": annotated}}
        await self._replace("secrets", old, new)

    async def _write_account(self) -> None:
        name, client_id = self._objects.account, self._objects.client_id
        old = await self._client.find(f"{self._base}/serviceaccounts/{name}")
        if old is None:
            await self._create("serviceaccounts", _account(name, client_id))
            return
        annotations = old["metadata"].get("annotations") or {}
        current = annotations.get(names.CLIENT_ID)
        if current == client_id:
            return
        if current is not None:
            raise errors.conflict(
                "ServiceAccountExists",
                f"The ServiceAccount '{name}' in the namespace '{self._objects.namespace}' has the annotation"
                f" {names.CLIENT_ID} with another client id. Remove the annotation, or delete the account.",
            )
        annotated = {**annotations, names.CLIENT_ID: client_id}
        new = {**old, "metadata": {**old["metadata"], "annotations": annotated}}
        await self._replace("serviceaccounts", old, new)

    async def _create(self, kind: str, body: _Object) -> None:
        made = await self._client.create(f"{self._base}/{kind}", body, _MANAGER)
        path = f"{self._base}/{kind}/{body['metadata']['name']}"
        meta = made["metadata"]
        # A later change by another client is kept.
        conditions = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        self._undo.append(lambda: self._client.delete(path, {"preconditions": conditions}))

    async def _replace(self, kind: str, old: _Object, new: _Object) -> None:
        path = f"{self._base}/{kind}/{old['metadata']['name']}"
        made = await self._client.replace(path, new, _MANAGER)
        version = made["metadata"]["resourceVersion"]
        before = {**old, "metadata": {**old["metadata"], "resourceVersion": version}}
        self._undo.append(lambda: self._client.replace(path, before, _MANAGER))


def _secret(name: str, owner: str, data: Mapping[str, str]) -> _Object:
    meta = {"name": name, "annotations": {names.CONNECTION: owner}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data}


def _account(name: str, client_id: str) -> _Object:
    meta = {"name": name, "annotations": {names.CLIENT_ID: client_id}}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}


def _from_kube_error(exc: KubeError) -> errors.ManagerError:
    if exc.status >= 500:
        text = f"The API server of the cluster is unavailable: {exc.message}."
        return errors.ManagerError(_UNREACHABLE, "ClusterUnavailable", text)
    text = f"The API server of the cluster refused the request: {exc.message}."
    return errors.conflict("ClusterRequestRefused", text)
