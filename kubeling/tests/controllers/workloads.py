"""Workloads as users send them, and helpers that set pod statuses as a kubelet does."""

import asyncio
from collections.abc import Callable
from typing import Any

NAMESPACE = "/api/v1/namespaces/default"
PODS = f"{NAMESPACE}/pods"
EVENTS = f"{NAMESPACE}/events"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SETS = "/apis/apps/v1/namespaces/default/replicasets"
STATEFUL_SETS = "/apis/apps/v1/namespaces/default/statefulsets"
DAEMON_SETS = "/apis/apps/v1/namespaces/default/daemonsets"
REVISIONS = "/apis/apps/v1/namespaces/default/controllerrevisions"
CLAIMS = f"{NAMESPACE}/persistentvolumeclaims"
REPLICATION_CONTROLLERS = f"{NAMESPACE}/replicationcontrollers"
CRON_JOBS = "/apis/batch/v1/namespaces/default/cronjobs"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def template(app: str, image: str = "app:1", **spec: Any) -> Any:
    container = {"name": "c", "image": image}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


def deployment(name: str, replicas: int = 2, image: str = "app:1", **spec: Any) -> Any:
    selector = {"matchLabels": {"app": name}}
    body = {"replicas": replicas, "selector": selector, "template": template(name, image)}
    return {"metadata": {"name": name}, "spec": {**body, **spec}}


def stateful_set(name: str, replicas: int = 2, image: str = "app:1", **spec: Any) -> Any:
    """Return a StatefulSet whose pods have a node: a pod without one is deleted without a grace period."""
    pods = template(name, image, nodeName="node")
    return deployment(name, replicas, serviceName=name, template=pods, **spec)


def daemon_set(name: str, image: str = "app:1", pod: Any = None, **spec: Any) -> Any:
    body = {
        "selector": {"matchLabels": {"app": name}},
        "template": template(name, image, **pod or {}),
    }
    return {"metadata": {"name": name}, "spec": {**body, **spec}}


def replication_controller(name: str, replicas: int = 2) -> Any:
    spec = {"replicas": replicas, "selector": {"app": name}, "template": template(name)}
    return {"metadata": {"name": name}, "spec": spec}


def job(name: str, restart: str = "Never", **spec: Any) -> Any:
    container = {"name": "c", "image": "i:1"}
    pod = {"spec": {"restartPolicy": restart, "containers": [container]}}
    return {"metadata": {"name": name}, "spec": {"template": pod, **spec}}


async def create(live: Any, path: str, body: Any) -> Any:
    made = await live.call("POST", path, body)
    assert made.status == 201, made.text
    return made.body


async def get(live: Any, path: str) -> Any:
    found = await live.call("GET", path)
    assert found.status == 200, found.text
    return found.body


async def merge(live: Any, path: str, body: Any) -> Any:
    done = await live.call("PATCH", path, body, content_type=MERGE)
    assert done.status == 200, done.text
    return done.body


async def until(live: Any, path: str, holds: Callable[[Any], Any]) -> Any:
    """Poll a path until a condition holds; return the body. A missing object is None."""
    for _ in range(400):
        response = await live.call("GET", path)
        body = response.body if response.status == 200 else None
        if holds(body):
            return body
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path}: the condition does not hold: {response.text[:2000]}")


async def pods(live: Any, labels: str, count: int | None = None) -> list[Any]:
    """Return the pods with these labels; wait until `count` of them exist that are not being deleted."""
    path = f"{PODS}?labelSelector={labels}"

    def alive(body: Any) -> list[Any]:
        return [each for each in body["items"] if "deletionTimestamp" not in each["metadata"]]

    found = await until(live, path, lambda body: count is None or len(alive(body)) == count)
    return alive(found)


async def set_pod_status(
    live: Any, pod: Any, phase: str, *, ready: bool = False, **state: Any
) -> None:
    """Write a pod's status."""
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    condition["lastTransitionTime"] = state.pop("since", "2026-01-01T00:00:00Z")
    body = {"status": {"phase": phase, "conditions": [condition], **state}}
    path = f"{PODS}/{pod['metadata']['name']}/status"
    done = await live.call("PATCH", path, body, content_type=STRATEGIC)
    assert done.status in (200, 404), done.text


async def serve_pods(live: Any, labels: str, done: Callable[[Any], bool], path: str) -> Any:
    """Set every pending pod to ready until a condition holds for an object; return the object."""
    for _ in range(400):
        for pod in (await get(live, f"{PODS}?labelSelector={labels}"))["items"]:
            if (pod.get("status") or {}).get("phase") == "Pending":
                await set_pod_status(live, pod, "Running", ready=True)
        found = await get(live, path)
        if done(found):
            return found
        await asyncio.sleep(0.03)
    raise AssertionError(f"{path}: the condition does not hold: {found}")


def is_rolled_out(found: Any) -> bool:
    """Return whether `kubectl rollout status` would report success."""
    status, wanted = found["status"], found["spec"]["replicas"]
    counts = ("updatedReplicas", "replicas", "availableReplicas")
    seen = status.get("observedGeneration") == found["metadata"]["generation"]
    return seen and all(status.get(name, 0) == wanted for name in counts)


def condition(found: Any, kind: str) -> Any:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), None)


async def events(live: Any, name: str, count: int = 1) -> list[str]:
    """Return the events of an object as texts; wait until at least `count` exist."""
    path = f"{EVENTS}?fieldSelector=involvedObject.name={name}"
    found = await until(live, path, lambda body: len(body["items"]) >= count)
    return [f"{each['type']} {each['reason']}: {each['message']}" for each in found["items"]]
