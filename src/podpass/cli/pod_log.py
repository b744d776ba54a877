"""The last error in the log of a pod, for `podpass explain --pod`."""

import asyncio
from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.cli.client import check_has_cluster, require_status
from podpass.diagnose.drift.comparison import is_injected
from podpass.errors import Error
from podpass.kubernetes.objects import list_containers
from podpass.lab.data.datadir import DataDir


class PodNotFound(Error):
    """No pod has this name in the namespace."""

    code = "pod_not_found"


class PodNotStarted(Error):
    """No container of the pod has a log yet."""

    code = "pod_not_started"


class NothingInjectedInPod(Error):
    """The webhook has not changed the pod, so its programs have no identity and no AADSTS error."""

    code = "nothing_injected_in_pod"


class NoCodeInLog(Error):
    """The log of the pod contains no error that podpass knows."""

    code = "no_code_in_log"


def read_last_error(data_dir: DataDir, namespace: str, pod: str) -> tuple[str, dict[str, str]]:
    """Return the end of the log of a pod, from its last AADSTS code on, or a log with another known error.

    The second value replaces placeholders of commands: POD, NAMESPACE, SERVICEACCOUNT, VAULT. Raises
    NotRunning, KubeError, PodNotFound, PodNotStarted, NothingInjectedInPod, NoCodeInLog.
    """
    from podpass.diagnose.doctor.pods import find_vault
    from podpass.diagnose.explain.recognition import recognize

    check_has_cluster(data_dir, require_status(data_dir))
    found, logs = asyncio.run(_read_logs(data_dir, namespace, pod))
    account = str((found.get("spec") or {}).get("serviceAccountName") or "default")
    values = {"POD": pod, "NAMESPACE": namespace, "SERVICEACCOUNT": account}
    if vault := find_vault(found, names.VAULT_SUFFIX):
        values["VAULT"] = vault
    for log in reversed(logs):
        lines = log.splitlines()
        for number in reversed(range(len(lines))):
            if "AADSTS" in lines[number]:
                return "\n".join(lines[number:]), values
    if is_injected(found):
        for log in reversed(logs):
            if recognize(log).findings:
                return log, values
    raise _explain_missing_code(found, namespace, pod, has_logs=bool(logs))


async def _read_logs(
    data_dir: DataDir, namespace: str, pod: str
) -> tuple[dict[str, Any], list[str]]:
    """Read a pod and the log of each of its containers that has started."""
    from podpass.kubernetes.client import KubeClient, KubeError
    from podpass.kubernetes.paths import path_of

    logs: list[str] = []
    async with KubeClient.from_kubeconfig(data_dir.admin_kubeconfig) as client:
        found = await client.find(path_of("Pod", pod, namespace=namespace))
        if found is None:
            raise PodNotFound(
                f"no pod {pod} is in the namespace {namespace}",
                hint="list the pods of all namespaces: kubectl get pods -A; "
                "then pass its name and -n NAMESPACE",
            )
        for container in list_containers(found):
            try:
                query = {"tailLines": "500", "container": container["name"]}
                path = path_of("Pod", pod, namespace=namespace, part="log")
                logs.append(await client.text(path, query))
            except KubeError as exc:
                if exc.status != 400:  # the container has not started
                    raise
    return found, logs


def _explain_missing_code(
    found: Mapping[str, Any], namespace: str, pod: str, *, has_logs: bool
) -> Error:
    if not is_injected(found):
        return _explain_nothing_injected(found, namespace, pod)
    if not has_logs:
        return PodNotStarted(
            f"no container of pod {namespace}/{pod} has started",
            hint=f"find out why: podpass doctor {pod} -n {namespace}",
        )
    return NoCodeInLog(
        f"the log of pod {namespace}/{pod} contains no error that podpass knows",
        hint=f"find out more: podpass doctor {pod} -n {namespace}; the log: kubectl logs {pod} -n {namespace}"
        " --all-containers",
    )


def _explain_nothing_injected(
    found: Mapping[str, Any], namespace: str, pod: str
) -> NothingInjectedInPod:
    given = (found["metadata"].get("labels") or {}).get(names.USE_LABEL)
    if given == "true":
        return NothingInjectedInPod(
            f"pod {namespace}/{pod} has the label {names.USE_LABEL}, but no variables of Workload ID: "
            "it is older than its label, or the webhook did not run",
            hint="delete the pod and create it again",
        )
    what = "has no label" if given is None else f"has the value {given!r} of the label"
    return NothingInjectedInPod(
        f"pod {namespace}/{pod} {what} {names.USE_LABEL}, so the webhook injected no identity",
        hint=f'set {names.USE_LABEL}: "true" as a label of the pod template, and create the pod again',
    )
