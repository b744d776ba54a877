"""What admission did to a pod, read from the pod. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass import names
from podpass.drift.comparison import list_containers

Object = Mapping[str, Any]
_VARIABLES = (
    names.ENV_CLIENT_ID,
    names.ENV_TENANT_ID,
    names.ENV_TOKEN_FILE,
    names.ENV_AUTHORITY_HOST,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """A pod as the console shows it.

    Shapes:  `verdict` is `mutated`, `missed` (it has the label, but no webhook changed it) or `unlabelled`;
             `variables` are those of the first container that has the token file; `token` are audience and
             lifetime of the projected token; `differs` names what a new pod would have.
    """

    namespace: str
    name: str
    account: str
    phase: str
    verdict: str
    variables: tuple[tuple[str, str], ...] = ()
    token: tuple[tuple[str, str], ...] = ()
    sidecars: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()


def describe(pod: Object, differs: Sequence[str] = ()) -> PodView:
    """Return what admission did to a pod."""
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    containers = list_containers(pod)
    variables = _find_variables(containers)
    token = _find_token(spec.get("volumes") or ())
    is_labelled = (metadata.get("labels") or {}).get(names.USE_LABEL) == "true"
    untouched = "missed" if is_labelled else "unlabelled"
    return PodView(
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        account=str(spec.get("serviceAccountName") or "default"),
        phase=str((pod.get("status") or {}).get("phase") or "Pending"),
        verdict="mutated" if token or variables else untouched,
        variables=variables,
        token=token,
        sidecars=tuple(
            str(each["name"])
            for each in containers
            if each.get("name") in (names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER)
        ),
        differs=tuple(differs),
    )


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
