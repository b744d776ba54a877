"""Run the commands of `az aks command invoke` as pods of the namespace `aks-command`, as AKS does.

A pod is the record of its command: its state and its log are the result. When the next command starts, the
pods that finished some time ago are deleted, and the tokens of all that have finished.
"""

import contextlib
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from podpass.clock import Clock, system
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.cluster.backend import ClusterCommand
from podpass.lab.data import kubeconfig

NAMESPACE = "aks-command"
_RBAC = "rbac.authorization.k8s.io"
_ACCOUNT = "command-runner"
_IMAGE = "mcr.microsoft.com/aks/command/runtime"
_FOLDER, _KUBECONFIG = "/command", "kubeconfig"
_BASE = f"/api/v1/namespaces/{NAMESPACE}"
_MAX_SECONDS = 3600
_MAX_LOG_BYTES = 512 * 1024
# Its client may still poll for the result of a command when another one starts.
_RESULT_SECONDS = 600
_ID = re.compile(r"[0-9a-f]{32}")
_CONFLICT, _NOT_FOUND = 409, 404
_SETUP: Mapping[str, dict[str, Any]] = {
    "/api/v1/namespaces": {"metadata": {"name": NAMESPACE}},
    f"{_BASE}/serviceaccounts": {"metadata": {"name": _ACCOUNT}},
    f"/apis/{_RBAC}/v1/clusterrolebindings": {
        "metadata": {"name": f"{NAMESPACE}-binding"},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": NAMESPACE}],
    },
}


async def start(
    client: KubeClient, command: str, token: str, cluster: Mapping[str, Any], clock: Clock = system
) -> str:
    """Start a command; return its ID.

    With a `token`, the command has the rights of its user and no others, otherwise those of the cluster's
    administrator. `cluster` is the entry of the cluster in a kubeconfig. Raises KubeError.
    """
    for path, body in _SETUP.items():
        with _ignoring(_CONFLICT):
            await client.create(path, body)
    now = clock()
    found, _ = await client.list(f"{_BASE}/pods")
    for pod in found:
        if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            continue
        is_old = now - _end_time(pod) > _RESULT_SECONDS
        for kind in ("secrets", "pods") if is_old else ("secrets",):
            with _ignoring(_NOT_FOUND):
                await client.delete(f"{_BASE}/{kind}/{pod['metadata']['name']}")
    command_id = uuid.uuid4().hex
    if token:
        content = kubeconfig.build("command", cluster, "command", {"token": token}).decode()
        secret = {"metadata": {"name": command_id}, "stringData": {_KUBECONFIG: content}}
        await client.create(f"{_BASE}/secrets", secret)
    await client.create(f"{_BASE}/pods", _pod(command_id, command, as_user=bool(token)))
    return command_id


async def read(client: KubeClient, command_id: str) -> ClusterCommand | None:
    """Return the state of a command, or None if there is no such command. Raises KubeError."""
    path = f"{_BASE}/pods/{command_id}"
    pod = await client.find(path) if _ID.fullmatch(command_id) else None
    if pod is None:
        return None
    status = pod.get("status", {})
    states = [one.get("state", {}) for one in status.get("containerStatuses") or ()]
    ended = states[0].get("terminated") if states else None
    if ended is None:
        failed = status.get("phase") == "Failed"
        return ClusterCommand(
            state="Failed" if failed else "Running",
            started=pod["metadata"]["creationTimestamp"],
            reason=str(status.get("message") or status.get("reason") or "") if failed else "",
        )
    return ClusterCommand(
        state="Succeeded",
        started=ended["startedAt"],
        finished=ended["finishedAt"],
        exit_code=ended["exitCode"],
        logs=await client.text(f"{path}/log", {"limitBytes": str(_MAX_LOG_BYTES)}),
    )


def _end_time(pod: Mapping[str, Any]) -> float:
    """Return when a finished pod ended; the time of its creation if its container never ran."""
    states = [one.get("state", {}) for one in pod["status"].get("containerStatuses") or ()]
    ended = states[0].get("terminated") if states else None
    text = (ended or {}).get("finishedAt") or pod["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(text).timestamp()


@contextlib.contextmanager
def _ignoring(status: int) -> Iterator[None]:
    try:
        yield
    except KubeError as exc:
        if exc.status != status:
            raise


def _pod(command_id: str, command: str, *, as_user: bool) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "command",
        "image": _IMAGE,
        "command": ["sh", "-c", command],
    }
    spec = {
        "serviceAccountName": _ACCOUNT,
        "automountServiceAccountToken": not as_user,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": _MAX_SECONDS,
        "containers": [container],
    }
    if as_user:
        container["env"] = [{"name": "KUBECONFIG", "value": f"{_FOLDER}/{_KUBECONFIG}"}]
        container["volumeMounts"] = [{"name": "command", "mountPath": _FOLDER, "readOnly": True}]
        spec["volumes"] = [{"name": "command", "secret": {"secretName": command_id}}]
    return {"metadata": {"name": command_id}, "spec": spec}
