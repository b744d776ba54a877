"""Rules for pods: their volumes, their containers, and the few fields of a pod that may change."""

import copy
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kubeling import quantity
from kubeling.apiserver.json_value import identity
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import (
    Causes,
    Check,
    every,
    fields,
    items,
    number,
    optional,
    required,
)

Object = Mapping[str, Any]

# Volumes.


TOKEN_SECONDS = number(600, 1 << 32)
_MODE = number(0, 0o777)
_FILES = {
    "defaultMode": _MODE,
    "items": items(fields(key=required, path=rules.relative_path, mode=_MODE)),
}


def _validate_volume(volume: Object, here: str) -> Causes:
    yield from rules.label_name(volume.get("name"), f"{here}.name")
    sources = {name: source for name, source in volume.items() if name != "name"}
    yield from _validate_one(sources, here, _VOLUMES, "a volume must have only one source")


def _validate_one(sources: Object, here: str, checks: Mapping[str, Check], reason: str) -> Causes:
    """Check that there is only one source, and its fields."""
    given = list(sources)
    for extra in given[1:]:
        yield from rules.forbidden(True, f"{here}.{extra}", reason)
    for name in given[:1]:
        if check := checks.get(name):
            yield from check(sources[name], f"{here}.{name}")


def _validate_downward_file(item: Object, here: str) -> Causes:
    yield from rules.relative_path(item.get("path"), f"{here}.path")
    reference = item.get("fieldRef") or item.get("resourceFieldRef")
    yield from required(reference, here, "fieldRef or resourceFieldRef must be given")


def _validate_projection(sources: Object, here: str) -> Causes:
    yield from required(list(sources), here)
    reason = "a projection must have only one source"
    yield from _validate_one(sources, here, _PROJECTIONS, reason)


def _validate_host_path(path: str | None, here: str) -> Causes:
    yield from required(path, here)
    yield from rules.invalid(".." in (path or "").split("/"), here, "must not contain ..")


_DOWNWARD = fields(defaultMode=_MODE, items=items(_validate_downward_file))
_NAMED_FILES = fields(name=required, **_FILES)
_VOLUMES: Mapping[str, Check] = {
    "configMap": _NAMED_FILES,
    "downwardAPI": _DOWNWARD,
    "hostPath": fields(path=_validate_host_path),
    "projected": fields(defaultMode=_MODE, sources=items(_validate_projection)),
    "secret": fields(secretName=required, **_FILES),
}
_PROJECTIONS: Mapping[str, Check] = {
    "configMap": _NAMED_FILES,
    "downwardAPI": _DOWNWARD,
    "secret": _NAMED_FILES,
    "serviceAccountToken": fields(expirationSeconds=TOKEN_SECONDS, path=rules.relative_path),
}


# Containers.


_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_MAX_RULES, _MAX_CODES = 20, 255
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_FIELDS = (
    *("metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels"),
    *("metadata.annotations", "spec.nodeName", "spec.serviceAccountName"),
    *("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
)
_SUBSCRIPT = re.compile(r"metadata\.(?:labels|annotations)\['[^']+'\]")


def _validate_init(found: Object, here: str) -> Causes:
    """Check an init container; with restartPolicy Always it is a sidecar."""
    if found.get("restartPolicy") == "Always":
        reason = "must not be given for an init container with restartPolicy Always"
        given = found.get("restartPolicyRules")
        yield from rules.forbidden(given, f"{here}.restartPolicyRules", reason)
    else:
        reason = "must not be given for an init container without restartPolicy Always"
        for name in (*_PROBES, "lifecycle"):
            yield from rules.forbidden(found.get(name) is not None, f"{here}.{name}", reason)


_validate_ephemeral = fields(
    **dict.fromkeys(
        (*_PROBES, "lifecycle", "ports", "restartPolicy", "restartPolicyRules", "resources"),
        rules.absent("must not be given for ephemeral containers"),
    )
)


def _validate_restarts(found: Object, here: str) -> Causes:
    policy, given = found.get("restartPolicy"), found.get("restartPolicyRules")
    if given:
        reason = "must be given with restartPolicyRules"
        yield from required(policy, f"{here}.restartPolicy", reason)
    if policy is not None:
        yield from rules.one_of(policy, _RESTART_POLICIES, f"{here}.restartPolicy")
    at = f"{here}.restartPolicyRules"
    yield from rules.invalid(len(given or ()) > _MAX_RULES, at, f"has more than {_MAX_RULES} rules")
    yield from items(_validate_restart_rule)(given, at)


def _validate_restart_rule(rule: Object, here: str) -> Causes:
    # As without the feature gate RestartAllContainersOnContainerExits.
    yield from rules.one_of(rule.get("action"), ("Restart",), f"{here}.action")
    codes, at = rule.get("exitCodes") or {}, f"{here}.exitCodes"
    yield from required(codes, at)
    if codes:
        yield from rules.one_of(codes.get("operator"), ("In", "NotIn"), f"{at}.operator")
    many = len(codes.get("values") or ()) > _MAX_CODES
    yield from rules.invalid(many, f"{at}.values", f"has more than {_MAX_CODES} codes")


def _validate_image(image: str | None, here: str) -> Causes:
    yield from required(image, here)
    padded = image and image != image.strip()
    yield from rules.invalid(padded, here, "must not begin or end with whitespace")


def _validate_variable(variable: Object, here: str) -> Causes:
    name = variable.get("name") or ""
    yield from required(name, f"{here}.name")
    broken = name and ("=" in name or not name.isascii() or not name.isprintable())
    yield from rules.invalid(broken, f"{here}.name", "is not a valid variable name")
    if source := variable.get("valueFrom"):
        at, reason = f"{here}.valueFrom", "value and valueFrom are mutually exclusive"
        yield from rules.invalid(variable.get("value"), at, reason)
        yield from rules.invalid(len(source) != 1, at, "exactly one source must be given")
        yield from _VALUE_FROM(source, at)


def _validate_field_path(path: str | None, here: str) -> Causes:
    yield from required(path, here)
    if path and not _SUBSCRIPT.fullmatch(path):
        yield from rules.one_of(path, _FIELDS, here)


def _validate_env_from(source: Object, here: str) -> Causes:
    refs = [name for name in ("configMapRef", "secretRef") if source.get(name)]
    reason = "exactly one of configMapRef and secretRef must be given"
    yield from rules.invalid(len(refs) != 1, here, reason)
    for name in refs:
        yield from required(source[name].get("name"), f"{here}.{name}.name")


def _validate_mounts(found: Object, here: str, volumes: Collection[str]) -> Causes:
    paths = set()
    for mount, at in rules.indexed(found.get("volumeMounts"), f"{here}.volumeMounts"):
        name, path = mount.get("name"), mount.get("mountPath")
        yield from required(name, f"{at}.name")
        if name and name not in volumes:
            yield from rules.not_found(f"the pod has no volume {name!r}", f"{at}.name")
        yield from required(path, f"{at}.mountPath")
        yield from rules.invalid(
            path in paths, f"{at}.mountPath", "another volume is mounted at this path"
        )
        paths.add(path)
        if mount.get("subPath"):
            yield from rules.relative_path(mount["subPath"], f"{at}.subPath")


def _validate_resources(found: Object | None, here: str) -> Causes:
    resources = found or {}
    limits = resources.get("limits") or {}
    for part in ("limits", "requests"):
        for name, amount in (resources.get(part) or {}).items():
            broken = quantity.parse(amount) < 0
            yield from rules.invalid(broken, f"{here}.{part}[{name}]", "must not be negative")
    for name, amount in (resources.get("requests") or {}).items():
        over = name in limits and quantity.parse(amount) > quantity.parse(limits[name])
        yield from rules.invalid(over, f"{here}.requests", f"requests more {name} than its limit")


def _validate_security(context: Object | None, here: str) -> Causes:
    yield from fields(runAsUser=number(0), runAsGroup=number(0))(context, here)
    context = context or {}
    contradicts = context.get("privileged") and context.get("allowPrivilegeEscalation") is False
    yield from rules.invalid(
        contradicts, here, "a privileged container must not set allowPrivilegeEscalation to false"
    )


def _probe(most_successes: int) -> Check:
    """Return a check of a probe; only a readiness probe may need several successes."""
    times = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold")
    return optional(
        every(
            lambda found, here: _validate_handler(found, here, _HANDLERS),
            fields(**dict.fromkeys(times, number(0)), successThreshold=number(1, most_successes)),
        )
    )


def _validate_handler(found: Object, here: str, allowed: Collection[str]) -> Causes:
    given = [name for name in allowed if found.get(name) is not None]
    if not given:
        yield from required(None, here, f"one of {', '.join(allowed)} must be given")
    for name in given[1:]:
        yield from rules.forbidden(True, f"{here}.{name}", "only one handler may be given")
    for name in given[:1]:
        at, handler = f"{here}.{name}", found[name]
        if name == "exec":
            yield from required(handler.get("command"), f"{at}.command")
        elif name in ("httpGet", "tcpSocket"):
            yield from rules.port_reference(handler.get("port"), f"{at}.port")


_KEY = optional(fields(name=required, key=required))
_VALUE_FROM = fields(
    configMapKeyRef=_KEY,
    secretKeyRef=_KEY,
    fieldRef=optional(fields(fieldPath=_validate_field_path)),
    resourceFieldRef=optional(fields(resource=required)),
)
_PORT = fields(
    containerPort=rules.port,
    hostPort=optional(number(1, 65535)),
    name=optional(rules.port_name),
)
_BEFORE_MOUNTS = fields(
    name=rules.label_name,
    image=_validate_image,
    ports=items(_PORT, "name"),
    env=items(_validate_variable),
    envFrom=items(_validate_env_from),
)
_AFTER_MOUNTS = fields(
    resources=_validate_resources,
    securityContext=_validate_security,
    livenessProbe=_probe(1),
    readinessProbe=_probe(rules.MAX_INT32),
    startupProbe=_probe(1),
)


# Pods.


_OPERATORS = ("", "Equal", "Exists")
_SYSCTL = re.compile(r"(?:[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?")
_MAX_SYSCTL = 253
_CONTAINER_FIELDS = ("containers", "initContainers", "ephemeralContainers")


validate_pod_creation = fields(
    spec=fields(ephemeralContainers=rules.absent("must not be given for a new pod"))
)


def _validate_sysctl(name: str | None, here: str) -> Causes:
    yield from required(name, here)
    if name and (len(name) > _MAX_SYSCTL or not _SYSCTL.fullmatch(name)):
        reason = f'Invalid value: "{name}": want parts of a-z, 0-9, - and _, with . or / between'
        yield from rules.invalid(True, here, reason)


def _validate_toleration(found: Object, here: str) -> Causes:
    key, value = found.get("key") or "", found.get("value") or ""
    operator, at = found.get("operator") or "", f"{here}.operator"
    yield from optional(rules.label_key)(key, f"{here}.key")
    yield from rules.one_of(operator, _OPERATORS, at)
    reason = "must be Exists if there is no key"
    yield from rules.invalid(not key and operator != "Exists", at, reason)
    yield from rules.invalid(operator == "Exists" and value, at, "Exists must not have a value")


def _validate_containers(found: Object | None, here: str) -> Causes:
    spec = found or {}
    yield from required(spec.get("containers"), f"{here}.containers")
    known = {each.get("name", "") for each in spec.get("volumes") or () if each}
    special: Mapping[str, Check] = {
        "initContainers": _validate_init,
        "ephemeralContainers": _validate_ephemeral,
    }
    for field in _CONTAINER_FIELDS:
        for each, at in rules.indexed(spec.get(field), f"{here}.{field}"):
            yield from _BEFORE_MOUNTS(each, at)
            yield from _validate_mounts(each, at, known)
            yield from _AFTER_MOUNTS(each, at)
            yield from _validate_restarts(each, at)
            for name, handler in (each.get("lifecycle") or {}).items():
                if isinstance(handler, dict):
                    yield from _validate_handler(
                        handler, f"{at}.lifecycle.{name}", (*_HANDLERS, "sleep")
                    )
            if check := special.get(field):
                yield from check(each, at)
    yield from rules.unique(
        (each.get("name"), f"{at}.name")
        for field in _CONTAINER_FIELDS
        for each, at in rules.indexed(spec.get(field), f"{here}.{field}")
    )


_SUBDOMAIN = optional(rules.text(rules.is_subdomain, "name"))
_LABEL = optional(rules.text(rules.is_label, "name"))
_validate_fields = fields(
    activeDeadlineSeconds=number(1),
    serviceAccountName=_SUBDOMAIN,
    nodeName=_SUBDOMAIN,
    hostname=_LABEL,
    subdomain=_LABEL,
    nodeSelector=rules.labels,
    hostAliases=items(fields(ip=rules.ip)),
    securityContext=fields(sysctls=items(fields(name=_validate_sysctl), "name")),
    tolerations=items(_validate_toleration),
)
validate_pod_spec = every(
    fields(volumes=items(_validate_volume, "name")), _validate_containers, _validate_fields
)
validate_pod = fields(spec=validate_pod_spec)


def validate_pod_update(new: Object, old: Object) -> Causes:
    """Allow changes of images, a shorter deadline and more tolerations, and nothing else."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for field in ("containers", "initContainers"):
        if len(after.get(field) or ()) != len(before.get(field) or ()):
            yield from rules.forbidden(
                True, f"spec.{field}", "Forbidden: pod updates may not add or remove containers"
            )
            return
    yield from _validate_deadline(
        after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    )
    reason = (
        "pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to"
        " existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was"
        " previously negative)"
    )
    yield from rules.immutable_forbidden(
        _with_old_mutable_fields(after, before), before, "spec", reason
    )


def _with_old_mutable_fields(after: Object, before: Object) -> Object:
    result = copy.deepcopy(dict(after))
    for field in ("containers", "initContainers"):
        for new_container, old_container in zip(
            result.get(field) or (), before.get(field) or (), strict=True
        ):
            new_container["image"] = old_container.get("image")
    _restore(result, before, "activeDeadlineSeconds")
    grace = before.get("terminationGracePeriodSeconds")
    if result.get("terminationGracePeriodSeconds") == 1 and grace is not None and grace < 0:
        _restore(result, before, "terminationGracePeriodSeconds")
    tolerations = {identity(each) for each in result.get("tolerations") or ()}
    if all(identity(each) in tolerations for each in before.get("tolerations") or ()):
        _restore(result, before, "tolerations")
    return result


def _restore(result: dict[str, Any], before: Object, part: str) -> None:
    result.pop(part, None)
    if part in before:
        result[part] = before[part]


def _validate_deadline(new: int | None, old: int | None) -> Causes:
    here = "spec.activeDeadlineSeconds"
    if old is not None:
        yield from rules.invalid(new is None, here, "must not be removed")
        reason = "must not be raised"
        yield from rules.invalid(new is not None and new > old, here, reason)


def validate_ephemeral_update(new: Object, old: Object) -> Causes:
    """Allow new ephemeral containers; existing ones must not change or be removed."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    here = "spec.ephemeralContainers"
    new_containers = {each.get("name"): each for each in after.get("ephemeralContainers") or ()}
    for old_container in before.get("ephemeralContainers") or ():
        same = new_containers.get(old_container.get("name")) == old_container
        reason = f"{old_container.get('name')!r} must not be changed or removed"
        yield from rules.forbidden(not same, here, reason)
    yield from _validate_containers(after, "spec")


def warnings(obj: Object) -> Iterator[str]:
    """Return warnings about environment variables that hide an earlier one."""
    spec = obj.get("spec") or {}
    for field in _CONTAINER_FIELDS:
        for container, here in rules.indexed(spec.get(field), f"spec.{field}"):
            names = set()
            for variable, at in rules.indexed(container.get("env"), f"{here}.env"):
                name = variable.get("name")
                if name in names:
                    yield f"{at}: hides an earlier {name!r}, which an apply may remove"
                names.add(name)
