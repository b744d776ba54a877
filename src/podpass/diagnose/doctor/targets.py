"""Find the workloads that the argument of `podpass doctor` names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podpass import names
from podpass.diagnose.doctor.cluster_facts import WorkloadRef
from podpass.errors import Error, UsageError
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.objects import controller_of, has_ended
from podpass.kubernetes.paths import is_object_name, path_of

_KINDS = {
    **dict.fromkeys(("pod", "pods", "po"), "pod"),
    **dict.fromkeys(("serviceaccount", "serviceaccounts", "sa"), "serviceaccount"),
    **dict.fromkeys(("namespace", "namespaces", "ns"), "namespace"),
}
# The first that has the name is chosen. A ReplicaSet belongs to a Deployment, which is what users name.
_CONTROLLERS = {
    "Deployment": ("deployment", "deployments", "deploy"),
    "StatefulSet": ("statefulset", "statefulsets", "sts"),
    "DaemonSet": ("daemonset", "daemonsets", "ds"),
    "Job": ("job", "jobs"),
}
_KINDS |= {word: kind for kind, words in _CONTROLLERS.items() for word in words}
_NEWEST = 3
_FORBIDDEN = 403


class WorkloadNotFound(Error):
    """No pod, controller, ServiceAccount or namespace has the name, or the namespace has no workload."""

    code = "workload_not_found"


async def find_workloads(client: KubeClient, word: str, namespace: str) -> list[WorkloadRef]:
    """Return the workloads of an argument; without one, those of the namespace.

    `word` is `pod/NAME`, `deployment/NAME` (also statefulset, daemonset, job), `serviceaccount/NAME`,
    `namespace/NAME`, or a name that is looked up in this order; empty for the namespace. Raises UsageError,
    WorkloadNotFound, KubeError.
    """
    kind, slash, name = word.partition("/")
    if not word:
        return await _list_namespace(client, namespace)
    name, kind = (name, _KINDS.get(kind, "")) if slash else (word, "any")
    if not kind or not is_object_name(name):
        raise UsageError(
            f"{word!r} names no workload",
            hint="pass pod/NAME, deployment/NAME (or statefulset, daemonset, job), serviceaccount/NAME,"
            " namespace/NAME or a name",
        )
    if kind == "pod":
        return [WorkloadRef(namespace=namespace, pod=name)]
    if kind == "namespace":
        return await _list_namespace(client, name)
    if kind == "any" and await _exists(client, namespace, "Pod", name):
        return [WorkloadRef(namespace=namespace, pod=name)]
    if kind == "any" or kind in _CONTROLLERS:
        kinds = tuple(_CONTROLLERS) if kind == "any" else (kind,)
        if found := await _find_controller(client, namespace, kinds, name):
            return found
    if kind == "serviceaccount" or (
        kind == "any" and await _exists(client, namespace, "ServiceAccount", name)
    ):
        pods = await _list(
            client, namespace, "Pod", {"fieldSelector": f"spec.serviceAccountName={name}"}
        )
        found = [WorkloadRef(namespace=namespace, pod=each) for each in _names(pods)]
        return found or [WorkloadRef(namespace=namespace, account=name)]
    if kind == "any" and await _exists(client, "", "Namespace", name):
        return await _list_namespace(client, name)
    raise _not_found(kind, name, namespace)


def _not_found(kind: str, name: str, namespace: str) -> WorkloadNotFound:
    listed = "pods,deployments,serviceaccounts" if kind == "any" else f"{kind.lower()}s"
    said = (
        f"no pod, Deployment, StatefulSet, DaemonSet, Job or ServiceAccount in the namespace {namespace},"
        f" and no namespace, has the name {name}"
        if kind == "any"
        else f"the namespace {namespace} has no {kind} {name}"
    )
    return WorkloadNotFound(
        said, hint=f"list them: kubectl get {listed} -A; then pass the name and -n NAMESPACE"
    )


async def _find_controller(
    client: KubeClient, namespace: str, kinds: Sequence[str], name: str
) -> list[WorkloadRef]:
    """Return the pod template of the first controller of the name, and its newest pods."""
    for kind in kinds:
        try:
            controller = await client.find(path_of(kind, name, namespace=namespace))
        except KubeError as exc:
            # A caller without permission to read each kind can still name a ServiceAccount.
            if len(kinds) == 1 or exc.status != _FORBIDDEN:
                raise
            continue
        if controller is not None:
            pods = await _list_newest_pods(client, namespace, kind, controller)
            template = WorkloadRef(namespace=namespace, controller=f"{kind}/{name}")
            return [template, *(WorkloadRef(namespace=namespace, pod=each) for each in pods)]
    return []


async def _list_newest_pods(
    client: KubeClient, namespace: str, kind: str, controller: Mapping[str, Any]
) -> list[str]:
    """Return the names of the newest pods of a controller that have not ended."""
    labels = ((controller.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    selector = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
    owners = {controller["metadata"]["uid"]}
    if kind == "Deployment":
        sets = await _list(client, namespace, "ReplicaSet", selector)
        owners = {each["metadata"]["uid"] for each in sets if _owner_uid(each) in owners}
    pods = [
        each
        for each in await _list(client, namespace, "Pod", selector)
        if _owner_uid(each) in owners and not has_ended(each)
    ]
    pods.sort(key=lambda each: str(each["metadata"].get("creationTimestamp")), reverse=True)
    return [str(each["metadata"]["name"]) for each in pods[:_NEWEST]]


def _owner_uid(thing: Mapping[str, Any]) -> str:
    return str(controller_of(thing).get("uid", ""))


async def _list_namespace(client: KubeClient, namespace: str) -> list[WorkloadRef]:
    """Return pods with the label or an annotated account, and annotated accounts without a pod."""
    pods = await _list(client, namespace, "Pod")
    accounts = {
        each["metadata"]["name"]
        for each in await _list(client, namespace, "ServiceAccount")
        if any(key.startswith(names.PREFIX) for key in each["metadata"].get("annotations") or ())
    }
    chosen = [each for each in pods if _is_labelled(each) or _account(each) in accounts]
    used = {_account(each) for each in chosen if not has_ended(each)}
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


def _names(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(str(each["metadata"]["name"]) for each in pods if not has_ended(each))


async def _list(
    client: KubeClient, namespace: str, kind: str, params: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    return (await client.list(path_of(kind, namespace=namespace), params))[0]


async def _exists(client: KubeClient, namespace: str, kind: str, name: str) -> bool:
    path = path_of(kind, name, namespace=namespace)
    return await client.find(path, metadata_only=True) is not None
