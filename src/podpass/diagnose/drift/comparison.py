"""Compare a pod with what admission would create now. Pure.

The webhook changes a pod only when it is created. A changed annotation, a webhook that was unavailable and
a label that was added later therefore leave a running pod as it was. `without_injection` returns the pod
that a client would send again; a dry run of it, or the webhook's own patch, gives the expected pod of
`find_drift`. Where neither is possible, `find_differences` compares the variables with the annotations of
the account.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podpass import names
from podpass.admission import sidecar
from podpass.kubernetes.objects import list_containers

Object = Mapping[str, Any]

# The variables that the webhook adds, in its order; `ENV_TOKEN_FILE` is always among them.
_BEFORE = (names.ENV_CLIENT_ID, names.ENV_TENANT_ID)
_AFTER = (
    names.ENV_AUTHORITY_HOST,
    names.ENV_TOKEN_PROXY,
    names.ENV_SNI_NAME,
    names.ENV_CA_FILE,
    names.ENV_CA_DATA,
)
VARIABLES = (*_BEFORE, names.ENV_TOKEN_FILE, *_AFTER)
_GROUPS = ("initContainers", "containers")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# The volume that the API server adds to each pod.
API_ACCESS = "kube-api-access-"
# The kubelet creates such a pod, and admission cannot change it.
MIRROR = "kubernetes.io/config.mirror"
_METADATA = ("labels", "annotations")
# Members of a pod's spec that the scheduler or an admission plugin of the API server has set.
_ASSIGNED = ("nodeName", "serviceAccount", "priority", "preemptionPolicy", "ephemeralContainers")


Differences = dict[str, tuple[str, str]]
"""The variables that differ: the value of the pod, and that of a pod that is created now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One member of a pod that admission would set to another value now.

    `place` is `container NAME`, `volume` or `sidecar`; `member` is a variable, a path or a field; `present`
    and `expected` are empty if the member does not exist.
    """

    place: str
    member: str
    present: str
    expected: str


def find_drift(pod: Object, expected: Object) -> tuple[Drift, ...]:
    """Return what differs between a pod and the pod that admission would create now."""
    now, then = _describe_injection(expected), _describe_injection(pod)
    return tuple(
        Drift(place=key[0], member=key[1], present=then.get(key, ""), expected=now.get(key, ""))
        for key in sorted({*now, *then})
        if now.get(key, "") != then.get(key, "")
    )


def injected_values(env: Sequence[Object]) -> dict[str, str]:
    """Return client and tenant as the webhook has set them; empty where it has set none.

    A variable of the pod's author is omitted: it takes precedence over the account. The webhook appends its
    variables together, so those directly before the token file are its own.
    """
    position = {str(each.get("name")): at for at, each in enumerate(env)}
    at = position.get(names.ENV_TOKEN_FILE)
    if at is None:
        return {}
    found = {name: "" for name in _BEFORE if name not in position}
    for name in reversed(_BEFORE):
        at -= 1
        if at < 0 or env[at].get("name") != name or "value" not in env[at]:
            at += 1
        else:
            found[name] = str(env[at]["value"])
    return found


def find_differences(
    variables: Mapping[str, str], annotations: Mapping[str, str], tenant_id: str | None
) -> Differences:
    """Return the variables of `injected_values` that a pod that is created now would have with another value.

    `tenant_id` is the webhook's default; if it is None, an account without a tenant is not compared.
    """
    current = {names.ENV_CLIENT_ID: annotations.get(names.CLIENT_ID, "")}
    tenant = annotations.get(names.TENANT_ID, tenant_id)
    if tenant is not None:
        current[names.ENV_TENANT_ID] = tenant
    return {
        name: (value, current[name])
        for name, value in variables.items()
        if value != current.get(name, value)
    }


def is_injected(pod: Object) -> bool:
    """Return whether a container of the pod has the variable of the token file."""
    return any(
        entry.get("name") == names.ENV_TOKEN_FILE
        for container in list_containers(pod)
        for entry in container.get("env") or ()
    )


def _describe_injection(pod: Object) -> dict[tuple[str, str], str]:
    """Return everything that the webhook sets in a pod, by place and member.

    The name of the volume depends on the pod's name, so it is not compared.
    """
    found: dict[tuple[str, str], str] = {}
    for container in list_containers(pod):
        place = f"container {container.get('name', '')}"
        if container.get("name") in sidecar.CONTAINERS:
            found["sidecar", f"image of {container['name']}"] = str(container.get("image", ""))
            continue
        for entry in container.get("env") or ():
            name = str(entry.get("name", ""))
            if name in VARIABLES or name in sidecar.ENDPOINT_VARIABLES:
                found[place, name] = str(entry["value"]) if "value" in entry else "valueFrom"
        for mount in container.get("volumeMounts") or ():
            if _is_token_volume(str(mount.get("name", ""))):
                found[place, str(mount.get("mountPath", ""))] = "the token's volume"
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if _is_token_volume(str(volume.get("name", ""))):
            found |= _describe_volume(volume)
    return found


def _describe_volume(volume: Object) -> dict[tuple[str, str], str]:
    found = {}
    for source in (volume.get("projected") or {}).get("sources") or ():
        if token := source.get("serviceAccountToken"):
            path = str(token.get("path", ""))
            found["volume", f"audience of {path}"] = str(token.get("audience", ""))
            found["volume", f"expirationSeconds of {path}"] = str(token.get("expirationSeconds"))
        for kind in ("configMap", "clusterTrustBundle"):
            if kind in source:
                named = source[kind].get("name") or source[kind].get("signerName")
                found["volume", kind] = str(named)
    return found


def _is_token_volume(name: str) -> bool:
    return name.startswith(names.VOLUME_PREFIX)


def find_template(pod: Object, controller: Object | None) -> Object | None:
    """Return what the author of a pod wrote: the template of its controller, or what kubectl applied.

    None if neither exists, as for a pod of `kubectl create`.
    """
    template = ((controller or {}).get("spec") or {}).get("template")
    if isinstance(template, dict):
        return template
    applied = ((pod.get("metadata") or {}).get("annotations") or {}).get(_LAST_APPLIED)
    try:
        found = orjson.loads(applied) if isinstance(applied, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == "Pod" else None


def without_injection(
    pod: Object, template: Object | None = None, authors: Collection[str] = ()
) -> dict[str, Any]:
    """Return the pod as its creator sent it: without status, node, and what the webhook has added.

    The name is replaced by a prefix, so that a dry run does not conflict with the running pod. `template`
    distinguishes variables of the author from those of the webhook; without it, their position does, except
    for those of `authors`, which the webhook does not set.
    """
    written = None if template is None else _names_by_container(template)
    own = _own_names(template or {})
    metadata, spec = pod.get("metadata") or {}, dict(pod.get("spec") or {})
    for name in _ASSIGNED:
        spec.pop(name, None)
    for group in _GROUPS:
        kept = [
            _strip_container(each, written, own, authors)
            for each in spec.get(group) or ()
            if each.get("name") in own or each.get("name") not in sidecar.CONTAINERS
        ]
        if group in spec:
            spec[group] = kept
    spec["volumes"] = [
        each
        for each in spec.get("volumes") or ()
        if each.get("name") in own
        or not str(each.get("name", "")).startswith((names.VOLUME_PREFIX, API_ACCESS))
    ]
    about: dict[str, Any] = {name: dict(metadata[name]) for name in _METADATA if metadata.get(name)}
    about |= {"generateName": "podpass-doctor-", "namespace": metadata.get("namespace", "")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


def _own_names(template: Object) -> set[str]:
    """Return the names of the containers and volumes that the author wrote."""
    volumes = (template.get("spec") or {}).get("volumes") or ()
    return {str(each.get("name", "")) for each in (*list_containers(template), *volumes)}


def _names_by_container(template: Object) -> dict[str, set[str]]:
    """Return the names of the variables that the author wrote, by container."""
    return {
        str(container.get("name", "")): {
            str(entry.get("name", "")) for entry in container.get("env") or ()
        }
        for container in list_containers(template)
    }


def _strip_container(
    container: Object,
    written: Mapping[str, set[str]] | None,
    volumes: set[str],
    authors: Collection[str],
) -> dict[str, Any]:
    stripped = dict(container)
    own = None if written is None else written.get(str(container.get("name", "")))
    if env := container.get("env"):
        stripped["env"] = (
            _strip_variables(env, authors) if own is None else _keep_variables(env, own)
        )
    if mounts := container.get("volumeMounts"):
        stripped["volumeMounts"] = [
            each
            for each in mounts
            if each.get("name") in volumes
            or not str(each.get("name", "")).startswith((names.VOLUME_PREFIX, API_ACCESS))
        ]
    return stripped


def _keep_variables(env: Sequence[Object], own: set[str]) -> list[Object]:
    """Remove the variables of the webhook, except those that the author wrote."""
    ours = {*VARIABLES, *sidecar.ENDPOINT_VARIABLES} - own
    return [each for each in env if each.get("name") not in ours]


def _strip_variables(env: Sequence[Object], authors: Collection[str]) -> list[Object]:
    """Remove the variables that the webhook appended: those next to its own token file, in its order.

    A token file with another path is the author's; then all variables are taken for the author's.
    """
    own = {"name": names.ENV_TOKEN_FILE, "value": f"{names.MOUNT_PATH}/{names.TOKEN_PATH}"}
    at = next((at for at, each in enumerate(env) if each == own), None)
    if at is None:
        return list(env)
    first, last = at, at + 1
    for name in reversed(_BEFORE):
        is_ours = name not in authors
        if is_ours and first and env[first - 1].get("name") == name and "value" in env[first - 1]:
            first -= 1
    for name in _AFTER:
        if last < len(env) and env[last].get("name") == name and "value" in env[last]:
            last += 1
    while last < len(env) and env[last].get("name") in sidecar.ENDPOINT_VARIABLES:
        last += 1
    return [*env[:first], *env[last:]]
