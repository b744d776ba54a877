"""What the manifest of a pod says: the audience of its token, and the vault that its variables name. Pure."""

import re

from podpass import names
from podpass.doctor.cluster_model import ClusterFacts, ContainerFacts, PodToken, Preview
from podpass.doctor.model import Object


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
