"""Check and label the namespaces whose pods trust the cloud, and remove what was written into them."""

from collections.abc import Sequence
from typing import Any

from podpass import names
from podpass.errors import Error, UsageError
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.client.client import MERGE_PATCH
from podpass.kubernetes.paths import path_of
from podpass.lab.install.objects import CloudValues
from podpass.lab.names.trust_objects import ENABLED, MANAGED_LABEL, NAMESPACE_LABEL

_NOT_FOUND = 404
# The kubelet ignores Secrets of other types.
_PULL_SECRET_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")


async def check_namespaces(client: KubeClient, names: Sequence[str]) -> None:
    """Check that all namespaces exist. Raises UsageError, KubeError."""
    for name in names:
        try:
            await client.get(path_of("Namespace", name))
        except KubeError as exc:
            if exc.status != _NOT_FOUND:
                raise
            raise UsageError(
                f"--for {name}: the cluster has no such namespace",
                hint=f"create it first: kubectl create namespace {name}",
            ) from exc


async def enable(client: KubeClient, names: Sequence[str]) -> list[str]:
    """Label namespaces, so that their new pods get the CA; return those that had no label.

    Raises KubeError.
    """
    changed = []
    for name in names:
        path = path_of("Namespace", name)
        labels = (await client.get(path))["metadata"].get("labels") or {}
        if NAMESPACE_LABEL not in labels:
            await client.patch(
                path, {"metadata": {"labels": {NAMESPACE_LABEL: ENABLED}}}, MERGE_PATCH
            )
            changed.append(name)
    return changed


async def find_served(client: KubeClient) -> list[str]:
    """Return the namespaces that have the CA, because a pod was created in them. Raises KubeError."""
    return sorted({each["metadata"]["namespace"] for each in await _list_bundles(client)})


async def clear(client: KubeClient) -> list[str]:
    """Remove the labels, and the ConfigMaps with the CA, of all namespaces; return what was removed.

    Raises KubeError.
    """
    removed = []
    for each in await _list_bundles(client):
        namespace, name = each["metadata"]["namespace"], each["metadata"]["name"]
        path = path_of("ConfigMap", name, namespace=namespace)
        try:
            await client.delete(path)
        except KubeError as exc:
            if exc.status != _NOT_FOUND:
                raise
        removed.append(f"configmap/{name} in {namespace}")
    labelled, _ = await client.list("/api/v1/namespaces", {"labelSelector": NAMESPACE_LABEL})
    for each in labelled:
        name = each["metadata"]["name"]
        change = {"metadata": {"labels": {NAMESPACE_LABEL: None}}}
        await client.patch(path_of("Namespace", name), change, MERGE_PATCH)
        removed.append(f"label {NAMESPACE_LABEL} of namespace {name}")
    return removed


async def _list_bundles(client: KubeClient) -> list[dict[str, Any]]:
    found, _ = await client.list("/api/v1/configmaps", {"labelSelector": f"{MANAGED_LABEL}=true"})
    return found


class NoPullSecret(Error):
    """The Secret of `--pull-secret` is not in a namespace whose pods need it."""

    code = "no_pull_secret"


async def check_pull_secret(client: KubeClient, values: CloudValues, *, with_webhook: bool) -> None:
    """Check that the pull secret exists where the cloud, and the webhook for identities, will run.

    Raises NoPullSecret, KubeError.
    """
    if not values.pull_secret:
        return
    namespaces = [values.namespace, *([names.SYSTEM_NAMESPACE] if with_webhook else [])]
    for namespace in namespaces:
        found = await client.find(f"/api/v1/namespaces/{namespace}/secrets/{values.pull_secret}")
        if found is None:
            raise NoPullSecret(
                f"namespace {namespace} has no Secret {values.pull_secret}",
                hint=_describe_commands(values.pull_secret, namespaces),
            )
        if found.get("type") not in _PULL_SECRET_TYPES:
            raise NoPullSecret(
                f"Secret {namespace}/{values.pull_secret} has type {found.get('type')},"
                f" not {_PULL_SECRET_TYPES[0]}",
                hint=f"replace it: kubectl delete secret {values.pull_secret} -n {namespace};"
                f" {_describe_command(values.pull_secret, namespace)}",
            )


def _describe_commands(name: str, namespaces: list[str]) -> str:
    return f"create it in {' and in '.join(namespaces)}: " + "; ".join(
        f"kubectl create namespace {each}; {_describe_command(name, each)}" for each in namespaces
    )


def _describe_command(name: str, namespace: str) -> str:
    return (
        f"kubectl create secret docker-registry {name} -n {namespace}"
        " --docker-server=REGISTRY --docker-username=USER --docker-password=PASSWORD"
    )
