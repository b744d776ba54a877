"""What the manifest of a pod says: audience of its token, next client id, vault of its variables. Pure."""

import re

from podpass import names
from podpass.doctor.cluster_model import ClusterFacts, ContainerFacts, PodToken, Preview
from podpass.doctor.model import Object, Unread
from podpass.drift.comparison import (
    find_differences,
    find_drift,
    injected_values,
    is_injected,
    list_containers,
)


def find_audience(cluster: ClusterFacts) -> str:
    """Return the audience of the projected token of a pod, or of the preview; empty without one."""
    container = cluster.container
    if isinstance(container, ContainerFacts) and isinstance(container.token, PodToken):
        return next(iter(container.token.audiences), "")
    for volume in _spec(cluster).get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            token = source.get("serviceAccountToken") or {}
            if str(token.get("path")).rpartition("/")[2] == names.LEGACY_TOKEN_FILE:
                return str(token.get("audience") or "")
    return ""


def find_next_client_id(cluster: ClusterFacts) -> str | None:
    """Return the client id that a pod would get if it were created again; None if it keeps its own.

    Shapes:  empty if it would get none.
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


def find_vault(cluster: ClusterFacts, suffix: str) -> str:
    """Return the name of the first vault whose URL is a variable of the pod; empty without one.

    Shapes:  `suffix` is that of the cloud's vaults, such as vault.azure.net.
    """
    url = re.compile(rf"https://([A-Za-z0-9-]{{3,24}})\.{re.escape(suffix)}/?")
    for container in _spec(cluster).get("containers") or ():
        for entry in container.get("env") or ():
            if found := url.fullmatch(str(entry.get("value") or "")):
                return found[1]
    return ""


def _spec(cluster: ClusterFacts) -> Object:
    """Return the spec of the pod, or that of the preview without a pod."""
    pod = cluster.pod if isinstance(cluster.pod, dict) else None
    if pod is None and isinstance(cluster.preview, Preview):
        pod = cluster.preview.pod
    spec: Object = (pod or {}).get("spec") or {}
    return spec
