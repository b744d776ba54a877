"""Read the objects of one namespace from the Kubernetes API."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from podpass.errors import Error
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.paths import is_object_name
from podpass.migration.podidentity.model import (
    BINDING_LABEL,
    GROUP,
    BoundIdentity,
    Object,
    UnsupportedWorkload,
    Workload,
)

_COLLECTIONS = {
    "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "Job": ("batch/v1", "jobs"),
    "CronJob": ("batch/v1", "cronjobs"),
    "ReplicationController": ("v1", "replicationcontrollers"),
}
_NOT_FOUND = 404
# CronJob, Job, Pod is the longest chain of Kubernetes itself.
_MAX_OWNERS = 8
_USER_ASSIGNED = 0


class PodIdentityMissing(Error):
    """The cluster has no objects of aad-pod-identity."""

    code = "pod_identity_missing"
    hint = "check the context of the kubeconfig; without pod identity there is nothing to migrate"


class InvalidObject(Error):
    """The API server returned an object that Kubernetes does not allow."""

    code = "invalid_object"


class NamespaceReader:
    """Reads workloads and ServiceAccounts of a namespace."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client, self._namespace = client, namespace

    async def read_identities(self) -> dict[str, BoundIdentity]:
        """Return the identity of each selector. Raises PodIdentityMissing, KubeError."""
        try:
            bindings, _ = await self._client.list(
                self._path(f"{GROUP}/v1", "azureidentitybindings")
            )
            identities, _ = await self._client.list(self._path(f"{GROUP}/v1", "azureidentities"))
        except KubeError as exc:
            if exc.status == _NOT_FOUND:
                raise PodIdentityMissing(
                    f"the API server does not serve AzureIdentityBindings of {GROUP}/v1"
                ) from exc
            raise
        return select_identities(bindings, identities)

    async def read_workloads(self, identities: Mapping[str, BoundIdentity]) -> list[Workload]:
        """Return the workloads whose pods have a label with one of the selectors.

        Raises UnsupportedWorkload, InvalidObject, KubeError.
        """
        pods, _ = await self._client.list(
            self._path("v1", "pods"), {"labelSelector": BINDING_LABEL}
        )
        found: dict[tuple[str, str], Workload] = {}
        for pod in pods:
            selector = pod["metadata"].get("labels", {}).get(BINDING_LABEL, "")
            if selector not in identities:
                continue
            body = await self._find_top_owner({"apiVersion": "v1", "kind": "Pod"} | pod, found)
            if body is not None:
                workload = Workload(body=body, identity=identities[selector])
                found[workload.kind, workload.name] = workload
        return list(found.values())

    async def read_accounts(self, names: Iterable[str]) -> dict[str, Object]:
        """Return all ServiceAccounts of the namespace by name.

        Raises KubeError; InvalidObject if one of `names` does not exist.
        """
        items, _ = await self._client.list(self._path("v1", "serviceaccounts"))
        accounts = {str(each["metadata"]["name"]): each for each in items}
        missing = sorted(set(names) - accounts.keys())
        if missing:
            raise InvalidObject(
                f'serviceaccounts "{missing[0]}" not found in the namespace {self._namespace}',
                hint="create it, or remove serviceAccountName from the workload",
            )
        return accounts

    async def _find_top_owner(
        self, body: Object, known: Mapping[tuple[str, str], Workload]
    ) -> Object | None:
        """Follow controller references to the top; None if the owner is in `known`."""
        for _ in range(_MAX_OWNERS):
            _check_name(body["metadata"]["name"])
            references = body["metadata"].get("ownerReferences") or ()
            reference = next((each for each in references if each.get("controller")), None)
            if reference is None:
                return None if (body["kind"], body["metadata"]["name"]) in known else body
            kind, name = str(reference.get("kind")), str(reference.get("name"))
            if kind not in _COLLECTIONS:
                raise UnsupportedWorkload(f"unsupported owner kind: {kind}, of the object {name}")
            version, plural = _COLLECTIONS[kind]
            _check_name(name)
            found = await self._client.get(f"{self._path(version, plural)}/{name}")
            body = {"apiVersion": version, "kind": kind} | found
        raise UnsupportedWorkload(
            f"{body['kind']} {body['metadata']['name']}: the chain of owners has more than {_MAX_OWNERS}"
            " objects"
        )

    def _path(self, version: str, plural: str) -> str:
        root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        return f"{root}/namespaces/{self._namespace}/{plural}"


def _check_name(name: object) -> None:
    if not is_object_name(name):
        raise InvalidObject(
            f"{str(name)[:64]!r} is not a valid name of an object",
            hint="check that the kubeconfig names the right API server",
        )


def select_identities(
    bindings: Iterable[Mapping[str, Any]], identities: Iterable[Mapping[str, Any]]
) -> dict[str, BoundIdentity]:
    """Return the identity of each selector; bindings are read in the order of their names.

    As in azure-workload-identity, only user-assigned managed identities (type 0) count, bindings without
    selector or with an unknown identity are ignored, and the first binding of a selector has precedence: a
    ServiceAccount has one client id.
    """
    known = {
        each["metadata"]["name"]: str((each.get("spec") or {}).get("clientID") or "")
        for each in identities
        if ((each.get("spec") or {}).get("type") or _USER_ASSIGNED) == _USER_ASSIGNED
    }
    found: dict[str, BoundIdentity] = {}
    for binding in sorted(bindings, key=lambda each: str(each["metadata"]["name"])):
        spec = binding.get("spec") or {}
        selector, name = spec.get("selector"), spec.get("azureIdentity")
        if not isinstance(selector, str) or not isinstance(name, str):
            continue  # not every version of the CRDs validates these types
        if not selector or name not in known:
            continue
        first = found.get(selector)
        if first is None:
            found[selector] = BoundIdentity(selector=selector, client_id=known[name])
        elif known[name] not in (first.client_id, *first.others):
            found[selector] = replace(first, others=(*first.others, known[name]))
    return found
