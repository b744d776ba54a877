"""Write the ConfigMaps of the CA bundle into a namespace, before its first pod needs them."""

import asyncio
import logging
import re

from podpass.errors import Error
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.names.injection import BundleNames
from podpass.lab.names.trust_objects import (
    CONFIGURATION_PATH,
    FINGERPRINT,
    Object,
    build_config_maps,
    is_selected,
    selects_all_namespaces,
)

_log = logging.getLogger(__name__)
_NOT_FOUND, _CONFLICT = 404, 409
_JSON_PATCH = "application/json-patch+json"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class NamespaceNotSelected(Error):
    """The namespace is not one whose pods get the CA."""

    code = "namespace_not_selected"
    status = 403


class BundleNotWritten(Error):
    """The ConfigMaps of the CA bundle cannot be written into a namespace."""

    code = "trust_bundle_not_written"
    status = 500
    hint = (
        "try again; if it stays so, check podpass cloud and its permissions: `podpass cloud status`"
    )


class BundlePublisher:
    """Writes the bundle into namespaces, where it is missing or of another CA."""

    def __init__(
        self, client: KubeClient, names: BundleNames, files: dict[str, bytes], own_namespace: str
    ) -> None:
        self._client = client
        self._objects = build_config_maps(names, files)
        self._own_namespace = own_namespace

    async def ensure(self, namespace: str) -> None:
        """Write the ConfigMaps of a namespace, unless it has the current ones.

        They are read each time: a namespace may have been deleted and created again.

        Raises NamespaceNotSelected, BundleNotWritten.
        """
        # The name becomes part of a path.
        if not _NAME.fullmatch(namespace):
            raise NamespaceNotSelected("the review has no valid namespace")
        path = f"/api/v1/namespaces/{namespace}/configmaps/"
        try:
            present = await asyncio.gather(
                *(self._is_current(path, each) for each in self._objects)
            )
            if all(present):
                return
            # Any program that reaches the port may send a review, so the request alone selects no namespace.
            if not await self._is_selected(namespace):
                raise NamespaceNotSelected(f"namespace {namespace} is not selected")
            for each in self._objects:
                await self._write(path, each)
        except KubeError as exc:
            raise BundleNotWritten(
                f"cannot write the CA bundle into namespace {namespace}: {exc.message}"
            ) from exc
        _log.info("trust_bundle_written", extra={"namespace": namespace})

    async def _write(self, path: str, desired: Object) -> None:
        # Not by server-side apply, which takes a second for the fields of so large an object.
        try:
            await self._client.create(path.removesuffix("/"), desired)
        except KubeError as exc:
            if exc.status != _CONFLICT:
                raise
            # `add` replaces a member, with the files of an earlier bundle that are gone.
            metadata = desired["metadata"]
            members = {
                "data": desired["data"],
                "binaryData": desired.get("binaryData", {}),
                "metadata/labels": metadata["labels"],
                "metadata/annotations": metadata["annotations"],
            }
            change = [
                {"op": "add", "path": f"/{name}", "value": value} for name, value in members.items()
            ]
            await self._client.patch(path + metadata["name"], change, _JSON_PATCH)

    async def _is_selected(self, namespace: str) -> bool:
        """Return whether the registration selects a namespace; its selector is read where it matters."""
        found = await self._client.get(f"/api/v1/namespaces/{namespace}", metadata_only=True)
        if is_selected(found, self._own_namespace, all_namespaces=False):
            return True
        if not is_selected(found, self._own_namespace, all_namespaces=True):
            return False
        return selects_all_namespaces(await self._client.get(CONFIGURATION_PATH))

    async def _is_current(self, path: str, desired: Object) -> bool:
        metadata = desired["metadata"]
        try:
            found = await self._client.get(path + metadata["name"], metadata_only=True)
        except KubeError as exc:
            if exc.status == _NOT_FOUND:
                return False
            raise
        annotations = found.get("metadata", {}).get("annotations") or {}
        return bool(annotations.get(FINGERPRINT) == metadata["annotations"][FINGERPRINT])
