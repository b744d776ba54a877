"""Objects of the tests: namespaces, annotated ServiceAccounts, labelled pods and Deployments."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.node.commands import PAUSE_IMAGE
from tests.node.node import CLIENT_IMAGE, Node

# The identity of the quick start's seed.
CLIENT_ID = "7c1f4d2e-5b0a-4f6e-9d3c-2a8b6e1f0c57"
USE = {"azure.workload.identity/use": "true"}
# The settings that the restricted pod security standard requires.
RESTRICTED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
INJECTED = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"}
# The kubelet mounts nothing and no container starts: the scheduler does not know this pod.
PENDING = {"schedulerName": "nobody"}


def create_namespace(node: Node, name: str, **labels: str) -> None:
    """Create a namespace with an annotated ServiceAccount `web` that the identity trusts.

    A label is given without the prefix `pod-security.kubernetes.io/`.
    """
    marks = {f"pod-security.kubernetes.io/{key}": value for key, value in labels.items()}
    about = {"name": name, "labels": marks}
    node.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    annotations = {"azure.workload.identity/client-id": CLIENT_ID}
    about = {"name": "web", "namespace": name, "annotations": annotations}
    node.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
    credential = f"""
identities:
  - name: web
    client_id: {CLIENT_ID}
    federated_credentials:
      - {{name: {name}, issuer: cluster, subject: "system:serviceaccount:{name}:web"}}
"""
    node.cloud.podpass("apply", "-f", "-", given=credential)


def container(command: Sequence[str], image: str = CLIENT_IMAGE, **more: Any) -> dict[str, Any]:
    """Return a container that complies with the restricted standard."""
    found = {"name": "app", "image": image, "securityContext": RESTRICTED, **more}
    return found | ({"command": [*command]} if command else {})


def pod(name: str, namespace: str, *containers: Any, **spec: Any) -> dict[str, Any]:
    """Return a labelled pod of the ServiceAccount `web`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": USE},
        "spec": {
            "serviceAccountName": "web",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [*containers],
            **spec,
        },
    }


def deployment(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """Return a Deployment with no pods of the smallest image; they have the label."""
    labels = {"app": name}
    template = pod(name, namespace, container((), PAUSE_IMAGE), **spec)
    del template["spec"]["restartPolicy"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": USE | labels}, "spec": template["spec"]},
        },
    }


def is_mutated(found: Mapping[str, Any]) -> bool:
    """Return whether a stored pod has the variables and the volume of the webhook."""
    spec = found["spec"]
    (app,) = [each for each in spec["containers"] if each["name"] == "app"]
    variables = {each["name"] for each in app.get("env", ())}
    volumes = {each["name"] for each in spec.get("volumes", ())}
    mounts = {each["name"] for each in app.get("volumeMounts", ())}
    return variables >= INJECTED and any("azure" in name for name in volumes & mounts)
