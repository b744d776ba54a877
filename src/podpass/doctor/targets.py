"""Find the workloads that the argument of `podpass doctor` names."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from podpass import names
from podpass.doctor.cluster_facts import WorkloadRef
from podpass.errors import Error, UsageError
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.object_names import is_object_name

_KINDS = {
    **dict.fromkeys(("pod", "pods", "po"), "pod"),
    **dict.fromkeys(("serviceaccount", "serviceaccounts", "sa"), "serviceaccount"),
    **dict.fromkeys(("namespace", "namespaces", "ns"), "namespace"),
}
_ENDED = ("Succeeded", "Failed")
_NOT_FOUND = 404


class WorkloadNotFound(Error):
    """No pod, ServiceAccount or namespace has the name, or the namespace has no workload with an identity."""

    code = "workload_not_found"


async def find_workloads(client: KubeClient, word: str, namespace: str) -> list[WorkloadRef]:
    """Return the workloads of an argument; without one, those of the namespace.

    Shapes:  `word` is `pod/NAME`, `serviceaccount/NAME`, `namespace/NAME`, or a name that is looked up in
             this order; empty for the namespace.
    Errors:  UsageError, WorkloadNotFound, KubeError.
    """
    kind, slash, name = word.partition("/")
    if not word:
        return await _list_namespace(client, namespace)
    name, kind = (name, _KINDS.get(kind, "")) if slash else (word, "any")
    if not kind or not is_object_name(name):
        raise UsageError(
            f"{word!r} names no workload",
            hint="pass pod/NAME, serviceaccount/NAME, namespace/NAME or a name",
        )
    if kind == "pod":
        return [WorkloadRef(namespace=namespace, pod=name)]
    if kind == "namespace":
        return await _list_namespace(client, name)
    if kind == "any" and await _exists(client, namespace, "pods", name):
        return [WorkloadRef(namespace=namespace, pod=name)]
    if kind == "serviceaccount" or await _exists(client, namespace, "serviceaccounts", name):
        pods = await _list(client, namespace, "pods", {"fieldSelector": _runs_as(name)})
        found = [WorkloadRef(namespace=namespace, pod=each) for each in _names(pods)]
        return found or [WorkloadRef(namespace=namespace, account=name)]
    if await _exists(client, "", "namespaces", name):
        return await _list_namespace(client, name)
    raise WorkloadNotFound(
        f"no pod and no ServiceAccount in the namespace {namespace}, and no namespace, has the name {name}",
        hint="list them: kubectl get pods,serviceaccounts -A; then pass the name and -n NAMESPACE",
    )


async def _list_namespace(client: KubeClient, namespace: str) -> list[WorkloadRef]:
    """Return pods with the label or an annotated account, and annotated accounts without a pod."""
    pods = await _list(client, namespace, "pods")
    accounts = {
        each["metadata"]["name"]
        for each in await _list(client, namespace, "serviceaccounts")
        if any(key.startswith(names.PREFIX) for key in each["metadata"].get("annotations") or ())
    }
    chosen = [each for each in pods if _is_labelled(each) or _account(each) in accounts]
    used = {_account(each) for each in chosen if not _has_ended(each)}
    found = [WorkloadRef(namespace=namespace, pod=each) for each in _names(chosen)]
    found += [WorkloadRef(namespace=namespace, account=each) for each in sorted(accounts - used)]
    if not found:
        raise WorkloadNotFound(
            f"no pod in the namespace {namespace} has the label {names.USE_LABEL}, and no ServiceAccount"
            f" has the annotation {names.CLIENT_ID}",
            hint="pass the name of a pod or of a ServiceAccount; for another namespace, -n NAMESPACE",
        )
    return found


def _is_labelled(pod: Mapping[str, Any]) -> bool:
    return names.USE_LABEL in (pod["metadata"].get("labels") or {})


def _account(pod: Mapping[str, Any]) -> str:
    return str((pod.get("spec") or {}).get("serviceAccountName") or "default")


def _has_ended(pod: Mapping[str, Any]) -> bool:
    ended = (pod.get("status") or {}).get("phase") in _ENDED
    return bool(ended or pod["metadata"].get("deletionTimestamp"))


def _names(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(str(each["metadata"]["name"]) for each in pods if not _has_ended(each))


def _runs_as(account: str) -> str:
    return f"spec.serviceAccountName={account}"


async def _list(
    client: KubeClient, namespace: str, kind: str, params: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    return (await client.list(f"/api/v1/namespaces/{quote(namespace, safe='')}/{kind}", params))[0]


async def _exists(client: KubeClient, namespace: str, kind: str, name: str) -> bool:
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    try:
        await client.get(f"/api/v1{within}/{kind}/{quote(name, safe='')}", metadata_only=True)
    except KubeError as exc:
        if exc.status == _NOT_FOUND:
            return False
        raise
    return True
