"""What the manifest and the status of a pod say: its token, its identity, its vault, its containers. Pure."""

import re
from collections.abc import Iterator
from datetime import datetime

from podpass import names
from podpass.diagnose.doctor.model import ClusterFacts, ContainerFacts, PodToken
from podpass.diagnose.drift.comparison import (
    API_ACCESS,
    find_differences,
    find_drift,
    injected_values,
    is_injected,
)
from podpass.facts import Unread
from podpass.kubernetes.objects import (
    MaybeObject,
    Object,
    Preview,
    list_containers,
    list_projected_tokens,
)

NOT_STARTED = ("PodInitializing", "ContainerCreating")
_RECENT_SECONDS = 600
_STABLE_SECONDS = 60
_MANY_RESTARTS = 3
_SIGTERM = 143  # the exit code of a process that this signal ended
# Termination reasons that add nothing to the exit code. The message is then the program's own.
_PLAIN_ENDS = ("", "Error", "Completed")


def find_audience(cluster: ClusterFacts) -> str:
    """Return the audience of the projected token of a pod, or of the preview; empty without one."""
    container = cluster.container
    if isinstance(container, ContainerFacts) and isinstance(container.token, PodToken):
        return next(iter(container.token.audiences), "")
    for _, token in list_projected_tokens(find_manifest(cluster) or {}):
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
        if not str(each.get("name", "")).startswith(API_ACCESS)
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


def list_statuses(pod: Object) -> Iterator[Object]:
    """Yield the statuses of init containers and containers."""
    status = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or ()


def find_stopped(pod: Object, now: float) -> tuple[Object, str] | None:
    """Return the first container, not podpass's sidecar, that does not run, and why; None if each runs."""
    for each in list_statuses(pod):
        is_sidecar = each.get("name") in (names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER)
        if not is_sidecar and (cause := describe_stop(each, now)):
            return each, cause
    return None


def has_run(status: Object) -> bool:
    """Return whether a container has a log: it has started at least once."""
    ended = [(status.get(each) or {}).get("terminated") for each in ("state", "lastState")]
    if any(each and each.get("reason") == "StartError" for each in ended):
        return False
    return bool(status.get("restartCount")) or ended[0] is not None


def describe_stop(status: Object, now: float) -> str:
    """Return why a container does not run, or has just crashed; empty if it runs, ended well or starts."""
    state = status.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    earlier = (status.get("lastState") or {}).get("terminated") or {}
    if waiting and waiting.get("reason") not in NOT_STARTED:
        text = str(waiting.get("message") or "")[:200]
        if waiting.get("reason") == "CrashLoopBackOff" and earlier:
            text = _describe_end(earlier)
        return str(waiting.get("reason") or "it waits") + (f": {text}" if text else "")
    # Between two crashes a container runs, or has ended, for a moment.
    is_recent = not ended and now - _seconds(earlier, "finishedAt") < _RECENT_SECONDS
    if _was_stopped(status, earlier, now):
        is_recent = False
    for each in (ended, earlier if is_recent else {}):
        if each.get("exitCode"):
            count = status.get("restartCount", 0)
            restarts = "1 restart" if count == 1 else f"{count} restarts"
            after = f", after {restarts}" if count else ""
            return _describe_end(each) + after
    return ""


def _describe_end(ended: Object) -> str:
    """Return the exit code of a container, and the termination reason, such as OOMKilled."""
    described = f"it ended with exit code {ended.get('exitCode')}"
    reason = str(ended.get("reason") or "")
    if reason in _PLAIN_ENDS:
        return described
    text = f": {ended['message']}"[:200] if reason == "StartError" and ended.get("message") else ""
    return f"{described}, {reason}{text}"


def find_log(status: Object) -> str:
    """Return the option of `kubectl logs` for the log of the run that failed; empty for the newest run."""
    has_ended = "terminated" in (status.get("state") or {})
    return " --previous" if status.get("restartCount") and not has_ended else ""


def _was_stopped(status: Object, earlier: Object, now: float) -> bool:
    """Return whether a container that runs was stopped and not crashed, as by a restart of its node.

    A failing liveness probe causes the same signal, but repeatedly.
    """
    running = (status.get("state") or {}).get("running") or {}
    if earlier.get("exitCode") != _SIGTERM or not running:
        return False
    is_stable = now - _seconds(running, "startedAt") > _STABLE_SECONDS
    return is_stable or int(status.get("restartCount") or 0) < _MANY_RESTARTS


def _seconds(state: Object, name: str) -> float:
    """Return a time of a container's state, in seconds since 1970; 0 if it is not known."""
    try:
        return datetime.fromisoformat(str(state.get(name))).timestamp()
    except ValueError:
        return 0.0
