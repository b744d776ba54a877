"""What admission did to a pod, read from the pod. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass import names
from podpass.kubernetes.objects import list_containers

Object = Mapping[str, Any]
_HEALTHY = frozenset({"Pending", "Running", "Succeeded", "ContainerCreating", "PodInitializing"})
_VARIABLES = (
    names.ENV_CLIENT_ID,
    names.ENV_TENANT_ID,
    names.ENV_TOKEN_FILE,
    names.ENV_AUTHORITY_HOST,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """A pod as the console shows it.

    `phase` is as in `kubectl get pods`: the reason of a container that does not run replaces the phase, and
    `is_failing` is whether this is an error. `verdict` is `mutated`, `missed` (it has the label, but no
    webhook changed it) or `unlabelled`; `variables` are those of the first container that has the token file;
    `token` are audience and lifetime of the projected token; `differs` names what a new pod would have.
    `granted` and `refused` count the exchanges of the pod that the console stores.
    """

    namespace: str
    name: str
    account: str
    phase: str
    is_failing: bool
    verdict: str
    variables: tuple[tuple[str, str], ...] = ()
    token: tuple[tuple[str, str], ...] = ()
    sidecars: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    granted: int = 0
    refused: int = 0


def describe(pod: Object, differs: Sequence[str] = (), **counts: int) -> PodView:
    """Return what admission did to a pod."""
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    containers = list_containers(pod)
    variables = _find_variables(containers)
    token = _find_token(spec.get("volumes") or ())
    is_labelled = (metadata.get("labels") or {}).get(names.USE_LABEL) == "true"
    untouched = "missed" if is_labelled else "unlabelled"
    phase = _find_phase(pod.get("status") or {})
    return PodView(
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        account=str(spec.get("serviceAccountName") or "default"),
        phase=phase,
        is_failing=phase not in _HEALTHY,
        verdict="mutated" if token or variables else untouched,
        variables=variables,
        token=token,
        sidecars=tuple(
            str(each["name"])
            for each in containers
            if each.get("name") in (names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER)
        ),
        differs=tuple(differs),
        **counts,
    )


def _find_phase(status: Object) -> str:
    """Return the phase, or the reason why a container of a pod that has not succeeded does not run."""
    phase = str(status.get("phase") or "Pending")
    if phase == "Succeeded":
        return phase
    for name in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(name) or ():
            state = container.get("state") or {}
            ended = state.get("terminated") or {}
            if ended.get("exitCode"):
                return str(ended.get("reason") or "Error")
            if reason := (state.get("waiting") or {}).get("reason"):
                return str(reason)
    return phase


def _find_variables(containers: Sequence[Object]) -> tuple[tuple[str, str], ...]:
    for container in containers:
        env = {
            str(one.get("name")): str(one.get("value", "")) for one in container.get("env") or ()
        }
        if names.ENV_TOKEN_FILE in env:
            return tuple((name, env[name]) for name in _VARIABLES if name in env)
    return ()


def _find_token(volumes: Sequence[Object]) -> tuple[tuple[str, str], ...]:
    for volume in volumes:
        if not str(volume.get("name")).startswith(names.VOLUME_PREFIX):
            continue
        for source in (volume.get("projected") or {}).get("sources") or ():
            if token := source.get("serviceAccountToken"):
                return (
                    ("audience", str(token.get("audience", ""))),
                    ("expirationSeconds", str(token.get("expirationSeconds", ""))),
                )
    return ()
