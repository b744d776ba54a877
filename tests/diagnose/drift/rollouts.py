"""Deployments whose pods differ from admission, made and changed through the API of a running instance."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from podpass import names
from podpass.kubernetes.client import KubeClient

IMAGE = "registry.k8s.io/pause:3.10"
_WORKLOADS = "/apis/apps/v1/namespaces/{}/{}s"
_LIMIT_SECONDS = 60


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    """Return a Deployment with the label and the ServiceAccount of its own name."""
    return workload("Deployment", name, **{"replicas": 1, **spec})


def workload(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """Return a workload of any kind with the label and the ServiceAccount of its own name."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": {**labels, names.USE_LABEL: "true"}},
        "spec": {
            "serviceAccountName": name,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": IMAGE}],
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


class Rollouts:
    """Creates a namespace with Deployments, and changes what admission would give their pods."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._kubeconfig, self.namespace = kubeconfig, namespace

    async def create(self, *objects: dict[str, Any], client_id: str) -> None:
        """Create the namespace, the objects, and an account for each Deployment; wait for the pods."""
        async with KubeClient.from_kubeconfig(self._kubeconfig) as client:
            about = {"name": self.namespace}
            await client.create("/api/v1/namespaces", {"metadata": about})
            for each in objects:
                name, kind = each["metadata"]["name"], each["kind"]
                if kind == "PodDisruptionBudget":
                    path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"
                    await client.create(path, each)
                    continue
                metadata = {"name": name, "annotations": {names.CLIENT_ID: client_id}}
                await client.create(self._path("serviceaccounts"), {"metadata": metadata})
                await client.create(_WORKLOADS.format(self.namespace, kind.lower()), each)
            for each in objects:
                if each["kind"] != "PodDisruptionBudget":
                    await self._wait(client, each)

    async def annotate(self, account: str, **annotations: str) -> None:
        """Change annotations of a ServiceAccount; `tenant_id` stands for its full name."""
        change = {
            f"{names.PREFIX}{key.replace('_', '-')}": value for key, value in annotations.items()
        }
        async with KubeClient.from_kubeconfig(self._kubeconfig) as client:
            body = {"metadata": {"annotations": change}}
            await client.patch(f"{self._path('serviceaccounts')}/{account}", body)

    async def pods(self) -> dict[str, dict[str, str]]:
        """Return the variables of each pod that is not being deleted, by name."""
        async with KubeClient.from_kubeconfig(self._kubeconfig) as client:
            found, _ = await client.list(self._path("pods"))
        return {
            pod["metadata"]["name"]: {
                each["name"]: each.get("value", "")
                for each in pod["spec"]["containers"][0].get("env", ())
            }
            for pod in found
            if "deletionTimestamp" not in pod["metadata"]
        }

    async def delete(self) -> None:
        async with KubeClient.from_kubeconfig(self._kubeconfig) as client:
            await client.delete(f"/api/v1/namespaces/{self.namespace}")

    async def _wait(self, client: KubeClient, made: dict[str, Any]) -> None:
        """Wait until all pods of a workload are ready."""
        path = _WORKLOADS.format(self.namespace, made["kind"].lower())
        member = {"Deployment": "availableReplicas", "StatefulSet": "readyReplicas"}
        name, wanted = made["metadata"]["name"], made["spec"].get("replicas", 1)
        async with asyncio.timeout(_LIMIT_SECONDS):
            async for _, item in client.watch(path, {"fieldSelector": f"metadata.name={name}"}):
                status = item.get("status") or {}
                if status.get(member.get(made["kind"], "numberAvailable"), 0) == wanted:
                    return

    def _path(self, collection: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{collection}"


async def check_restart(rollouts: Rollouts, drift: Callable[..., Any], client_id: str) -> None:
    """Change an annotation, find the pods that differ, restart them, and find none.

    `drift` runs `podpass drift` with words, and returns the finished process.
    """
    await rollouts.create(deployment("one", replicas=2), deployment("two"), client_id=client_id)
    clean = drift(rollouts.namespace, "-o", "json")
    assert clean.returncode == 0, clean.stderr + clean.stdout
    assert json.loads(clean.stdout)["checked"] == 3
    await rollouts.annotate("one", service_account_token_expiration="7200")
    before = await rollouts.pods()
    found = drift(rollouts.namespace, "-o", "json")
    assert found.returncode == 1, found.stderr
    document = json.loads(found.stdout)
    assert {each["name"] for each in document["pods"]} == {
        name for name in before if name.startswith("one-")
    }
    assert document["pods"][0]["differs"] == [
        {
            "place": "volume",
            "member": f"expirationSeconds of {names.TOKEN_PATH}",
            "pod": "3600",
            "admission": "7200",
        }
    ]
    assert document["not_compared"] == []
    done = drift(rollouts.namespace, "--restart", "--timeout", "90", "-o", "json")
    assert done.returncode == 0, done.stderr + done.stdout
    [restart] = json.loads(done.stdout)["restarts"]
    assert (restart["kind"], restart["name"], restart["result"]) == (
        "Deployment",
        "one",
        "restarted",
    )
    assert "restarting Deployment" in done.stderr
    after = await rollouts.pods()
    assert {name for name in after if name.startswith("two-")} <= before.keys()
    assert not {name for name in after if name.startswith("one-")} & before.keys()
    again = drift(rollouts.namespace)
    assert again.returncode == 0, again.stdout
    assert again.stdout == "None of 3 pods with an identity differs.\n"
