"""Read what a pod depends on, and what its stopped container has logged."""

from collections.abc import Sequence
from urllib.parse import quote

from podpass.diagnose.doctor.cluster_model import ClusterFacts
from podpass.diagnose.doctor.container_status import find_log, find_stopped, has_run
from podpass.diagnose.doctor.model import MaybeObject, Unread
from podpass.diagnose.doctor.pod_manifest import list_references
from podpass.diagnose.explain.recognition import Recognition, recognize_last
from podpass.kubernetes.client import KubeClient, KubeError, KubeUnreachable

_NOT_FOUND = 404
_LOG_LINES = 500


async def read_log(client: KubeClient, facts: ClusterFacts) -> Recognition | Unread | None:
    """Return the known errors in the log of the first container that does not run.

    The rest of the log is dropped, because a program may print secrets.
    """
    stopped = find_stopped(facts.pod, facts.now) if isinstance(facts.pod, dict) else None
    if stopped is None or not has_run(stopped[0]):
        return None
    query = {"container": str(stopped[0]["name"]), "tailLines": str(_LOG_LINES)}
    if find_log(stopped[0]):
        query["previous"] = "true"
    namespace, pod = quote(facts.namespace_name, safe=""), quote(facts.pod_name, safe="")
    try:
        log = await client.text(f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query)
    except KubeError as exc:
        return Unread(f"the log of container {query['container']}: {first_line(exc.message)}")
    return recognize_last(log)


async def find_missing(
    client: KubeClient, namespace: str, pod: MaybeObject
) -> Sequence[str] | Unread:
    """Return the Secrets and ConfigMaps of a pod that do not exist; no content of a Secret is read.

    Raises KubeUnreachable.
    """
    missing = []
    for kind, name in list_references(pod) if isinstance(pod, dict) else ():
        core = f"/api/v1/namespaces/{quote(namespace, safe='')}"
        try:
            path = f"{core}/{kind.lower()}s/{quote(name, safe='')}"
            await client.get(path, metadata_only=True)
        except KubeUnreachable:
            raise
        except KubeError as exc:
            if exc.status != _NOT_FOUND:
                return Unread(first_line(exc.message))
            missing.append(f"{kind} {name}")
    return missing


def first_line(text: str) -> str:
    """Return the first line of a message of the API server."""
    return text.splitlines()[0][:500] if text else "no reason was given"
