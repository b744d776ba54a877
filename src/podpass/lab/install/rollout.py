"""Wait until the pod of an installation is ready, and say why it is not."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from podpass.clock import Clock
from podpass.errors import Error
from podpass.kubernetes.client import KubeClient
from podpass.lab.install import azurite
from podpass.lab.install.object_names import NAME, SELECTOR

POLL_SECONDS = 0.2
# The kubelet sets these reasons after a failed attempt; a retry rarely has another result.
_FATAL_REASONS = {
    "ErrImageNeverPull": "the image is not on the node and must not be pulled",
    "InvalidImageName": "the name of the image is not valid",
    "ImagePullBackOff": "the image cannot be pulled",
    "CreateContainerConfigError": "the container cannot be created",
}
_IMAGE_HINT = (
    "load it into the cluster (`kind load docker-image`, `k3d image import`, `minikube image load`) or name"
    " another one with {}; a private registry needs --pull-secret"
)
_MAX_MESSAGE = 300

Report = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


class NotReady(Error):
    """The pod of the installation does not become ready."""

    code = "cloud_not_ready"


class NotInstalled(Error):
    """The namespace has no pod of an installation that is ready."""

    code = "cloud_not_installed"


async def wait_until_ready(
    client: KubeClient,
    namespace: str,
    *,
    seconds: float,
    report: Report,
    clock: Clock,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Wait until the newest pod is ready. Raises NotReady, KubeError."""
    deadline, said = clock() + seconds, ""
    while True:
        deployment = await client.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}")
        if is_rolled_out(deployment):
            return
        state = "waiting for the pod to be created"
        if has_new_pod(deployment):
            state = describe_pods(await list_pods(client, namespace))
        if state != said:
            said = state
            report(state)
        if clock() >= deadline:
            raise NotReady(
                f"after {seconds:.0f} seconds: {state}",
                hint=f"read its log: kubectl logs -n {namespace} deployment/{NAME}",
            )
        await sleep(POLL_SECONDS)


async def list_pods(client: KubeClient, namespace: str) -> list[dict[str, Any]]:
    """Return the pods of the installation."""
    selector = ",".join(f"{key}={value}" for key, value in SELECTOR.items())
    path = f"/api/v1/namespaces/{namespace}/pods"
    pods, _ = await client.list(path, {"labelSelector": selector})
    return pods


async def find_pod(client: KubeClient, namespace: str) -> str:
    """Return the name of the cloud's pod that is ready. Raises NotInstalled, KubeError."""
    for pod in await list_pods(client, namespace):
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        is_ready = bool(statuses) and all(each.get("ready") for each in statuses)
        if is_ready and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["metadata"]["name"])
    raise NotInstalled(
        f"namespace {namespace} has no cloud that is ready",
        hint="install it with `podpass cloud install`, or see `podpass cloud status`",
    )


def is_rolled_out(deployment: Mapping[str, Any]) -> bool:
    """Return whether the pod of the current template is ready, and no other one is left."""
    status = deployment.get("status") or {}
    wanted = int(deployment["spec"].get("replicas", 1))
    counts = [int(status.get(name) or 0) for name in ("replicas", "updatedReplicas")]
    return (
        _is_observed(deployment)
        and counts == [wanted] * 2
        and int(status.get("availableReplicas") or 0) == wanted
    )


def has_new_pod(deployment: Mapping[str, Any]) -> bool:
    """Return whether the pod of the current template exists; until then, the newest pod is an earlier one."""
    status = deployment.get("status") or {}
    return _is_observed(deployment) and int(status.get("updatedReplicas") or 0) > 0


def _is_observed(deployment: Mapping[str, Any]) -> bool:
    """Return whether the status is that of the current specification."""
    observed = int((deployment.get("status") or {}).get("observedGeneration") or 0)
    return observed >= int(deployment["metadata"].get("generation", 0))


def describe_pods(pods: Sequence[Mapping[str, Any]]) -> str:
    """Return what the newest pod waits for. Raises NotReady for a state that waiting does not end."""
    running = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    if not running:
        return "waiting for the pod to be created" if not pods else "waiting for the old pod to end"
    pod = max(running, key=lambda each: str(each["metadata"].get("creationTimestamp")))
    name = pod["metadata"]["name"]
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
        if reason in _FATAL_REASONS:
            raise NotReady(
                f"pod {name}: {_FATAL_REASONS[reason]} ({status.get('image')}): {message[:_MAX_MESSAGE]}",
                hint=_IMAGE_HINT.format(_option(status)) if "mage" in reason else None,
            )
        if reason == "CrashLoopBackOff":
            raise NotReady(
                f"pod {name} exits at its start (container {status.get('name')})",
                hint=f"read its log: kubectl logs -n {pod['metadata']['namespace']} {name}"
                f" -c {status.get('name')} --previous",
            )
        if reason:
            return f"pod {name}: {reason}"
    conditions = (pod.get("status") or {}).get("conditions") or ()
    for condition in conditions:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return (
                f"pod {name} is not scheduled: {str(condition.get('message', ''))[:_MAX_MESSAGE]}"
            )
    return f"pod {name} is starting"


def _option(status: Mapping[str, Any]) -> str:
    return "--azurite-image" if status.get("name") == azurite.CONTAINER else "--image"
