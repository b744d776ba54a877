"""What the manifest of a pod says: audience of its token, next client id, vault of its variables. Pure."""

import re

from podpass import names
from podpass.diagnose.doctor.cluster_model import ClusterFacts, ContainerFacts, PodToken, Preview
from podpass.diagnose.doctor.model import MaybeObject, Object, Unread
from podpass.diagnose.drift.comparison import (
    find_differences,
    find_drift,
    injected_values,
    is_injected,
    list_containers,
)

# The volume that the API server adds to each pod.
_API_ACCESS = "kube-api-access-"


def find_audience(cluster: ClusterFacts) -> str:
    """Return the audience of the projected token of a pod, or of the preview; empty without one."""
    container = cluster.container
    if isinstance(container, ContainerFacts) and isinstance(container.token, PodToken):
        return next(iter(container.token.audiences), "")
    for volume in ((find_manifest(cluster) or {}).get("spec") or {}).get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            token = source.get("serviceAccountToken") or {}
            if str(token.get("path")).rpartition("/")[2] == names.LEGACY_TOKEN_FILE:
                return str(token.get("audience") or "")
    return ""


def find_next_client_id(cluster: ClusterFacts) -> str | None:
    """Return the client id that a pod would get if it were created again; None if it keeps its own.

    Empty if it would get none.
    """
    pod, preview = cluster.pod, cluster.preview
    if not isinstance(pod, dict) or not is_injected(pod):
        return None
    if isinstance(preview, Unread):
        return _compare_with_account(cluster, pod)
    if preview.pod is None or not is_injected(preview.pod):
        return None
    found = find_drift(pod, preview.pod)
    return next((each.expected for each in found if each.member == names.ENV_CLIENT_ID), None)


def _compare_with_account(cluster: ClusterFacts, pod: Object) -> str | None:
    """Return the annotation if the webhook has given another client id to a container."""
    if not isinstance(cluster.account, dict):
        return None
    for container in list_containers(pod):
        values = injected_values(container.get("env") or ())
        differences = find_differences(values, cluster.annotations, None)
        if names.ENV_CLIENT_ID in differences:
            return differences[names.ENV_CLIENT_ID][1]
    return None


def find_vault(pod: MaybeObject, suffix: str) -> str:
    """Return the name of the first vault whose URL is in the pod's variables or arguments; empty without one.

    `suffix` is that of the cloud's vaults, such as vault.azure.net.
    """
    url = re.compile(rf"https://([A-Za-z0-9-]{{3,24}})\.{re.escape(suffix)}(?![\w.-])")
    for container in list_containers(pod) if isinstance(pod, dict) else ():
        values = [each.get("value") for each in container.get("env") or ()]
        for text in (*values, *(container.get("command") or ()), *(container.get("args") or ())):
            if found := url.search(str(text or "")):
                return found[1]
    return ""


def find_container(pod: MaybeObject, variable: str) -> str:
    """Return the name of the first container that sets a variable; empty without one."""
    for container in list_containers(pod) if isinstance(pod, dict) else ():
        if any(each.get("name") == variable for each in container.get("env") or ()):
            return str(container.get("name"))
    return ""


def list_references(pod: Object) -> list[tuple[str, str]]:
    """Return kind and name of each Secret and ConfigMap without which no container of a pod starts."""
    volumes = [
        each
        for each in (pod.get("spec") or {}).get("volumes") or ()
        if not str(each.get("name", "")).startswith(_API_ACCESS)
    ]
    projected = [
        one for each in volumes for one in (each.get("projected") or {}).get("sources") or ()
    ]
    sources = [(each.get("secret"), each.get("configMap")) for each in (*volumes, *projected)]
    for container in list_containers(pod):
        sources += [
            (each.get("secretRef"), each.get("configMapRef"))
            for each in container.get("envFrom") or ()
        ]
        values = [each.get("valueFrom") or {} for each in container.get("env") or ()]
        sources += [(each.get("secretKeyRef"), each.get("configMapKeyRef")) for each in values]
    found = (
        (kind, str(each.get("secretName") or each.get("name") or ""))
        for pair in sources
        for kind, each in zip(("Secret", "ConfigMap"), pair, strict=True)
        if each and not each.get("optional")
    )
    return [*dict.fromkeys(each for each in found if each[1])]


def find_manifest(cluster: ClusterFacts) -> Object | None:
    """Return the pod, or that of the preview without a pod."""
    if isinstance(cluster.pod, dict):
        return cluster.pod
    return cluster.preview.pod if isinstance(cluster.preview, Preview) else None
