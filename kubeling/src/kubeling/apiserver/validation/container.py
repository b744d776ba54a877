"""Rules for containers, init containers and ephemeral containers of a pod."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from kubeling import quantity
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes

Object = Mapping[str, Any]

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


def validate_container(found: Object, here: str, volumes: Collection[str]) -> Causes:
    """Check the fields that every container has.

    Shapes:  `volumes` are the names of the pod's volumes.
    """
    yield from rules.label_name(found.get("name"), f"{here}.name")
    image = found.get("image") or ""
    yield from rules.required(image, f"{here}.image")
    yield from rules.invalid(
        image != image.strip(), f"{here}.image", "must not begin or end with whitespace"
    )
    yield from _validate_ports(found, here)
    yield from _validate_environment(found, here)
    yield from _validate_mounts(found, here, volumes)
    yield from _validate_resources(found.get("resources") or {}, f"{here}.resources")
    yield from _validate_security(found.get("securityContext") or {}, f"{here}.securityContext")
    for name in _PROBES:
        if probe := found.get(name):
            yield from _validate_probe(probe, f"{here}.{name}", only_once=name != "readinessProbe")
    yield from _validate_restarts(found, here)
    for name, handler in (found.get("lifecycle") or {}).items():
        if isinstance(handler, dict):
            yield from _validate_handler(handler, f"{here}.lifecycle.{name}", (*_HANDLERS, "sleep"))


def validate_init(found: Object, here: str) -> Causes:
    """Check an init container; with restartPolicy Always it is a sidecar."""
    if found.get("restartPolicy") == "Always":
        reason = "must not be given for an init container with restartPolicy Always"
        given = found.get("restartPolicyRules")
        yield from rules.forbidden(given, f"{here}.restartPolicyRules", reason)
    else:
        reason = "must not be given for an init container without restartPolicy Always"
        for name in (*_PROBES, "lifecycle"):
            yield from rules.forbidden(found.get(name) is not None, f"{here}.{name}", reason)


def validate_ephemeral(found: Object, here: str) -> Causes:
    """Check that an ephemeral container has no forbidden field."""
    for name in (*_PROBES, "lifecycle", "ports", "restartPolicy", "restartPolicyRules"):
        yield from rules.forbidden(
            found.get(name), f"{here}.{name}", "must not be given for ephemeral containers"
        )
    given = found.get("resources")
    yield from rules.forbidden(
        given, f"{here}.resources", "must not be given for ephemeral containers"
    )


def _validate_restarts(found: Object, here: str) -> Causes:
    policy, at_rules = found.get("restartPolicy"), f"{here}.restartPolicyRules"
    given = found.get("restartPolicyRules") or ()
    if given:
        reason = "must be given with restartPolicyRules"
        yield from rules.required(policy, f"{here}.restartPolicy", reason)
    if policy is not None:
        yield from rules.one_of(policy, _RESTART_POLICIES, f"{here}.restartPolicy")
    yield from rules.invalid(len(given) > _MAX_RULES, at_rules, f"has more than {_MAX_RULES} rules")
    for rule, at in rules.indexed(given, at_rules):
        # As without the feature gate RestartAllContainersOnContainerExits.
        yield from rules.one_of(rule.get("action"), ("Restart",), f"{at}.action")
        codes = rule.get("exitCodes") or {}
        yield from rules.required(codes, f"{at}.exitCodes")
        if codes:
            yield from rules.one_of(
                codes.get("operator"), ("In", "NotIn"), f"{at}.exitCodes.operator"
            )
        many = len(codes.get("values") or ()) > _MAX_CODES
        yield from rules.invalid(
            many, f"{at}.exitCodes.values", f"has more than {_MAX_CODES} codes"
        )


def _validate_ports(found: Object, here: str) -> Causes:
    ports = list(rules.indexed(found.get("ports"), f"{here}.ports"))
    for port, at in ports:
        yield from rules.port(port.get("containerPort"), f"{at}.containerPort")
        yield from rules.between(port.get("hostPort") or None, 1, 65535, f"{at}.hostPort")
        if name := port.get("name"):
            reason = f"{name!r} is not a valid port name"
            yield from rules.invalid(not rules.is_port_name(name), f"{at}.name", reason)
    yield from rules.unique((port.get("name"), f"{at}.name") for port, at in ports)


def _validate_environment(found: Object, here: str) -> Causes:
    for variable, at in rules.indexed(found.get("env"), f"{here}.env"):
        name = variable.get("name") or ""
        yield from rules.required(name, f"{at}.name")
        broken = name and ("=" in name or not name.isascii() or not name.isprintable())
        yield from rules.invalid(broken, f"{at}.name", "is not a valid variable name")
        if source := variable.get("valueFrom"):
            reason = "value and valueFrom are mutually exclusive"
            yield from rules.invalid(variable.get("value"), f"{at}.valueFrom", reason)
            yield from _validate_value_from(source, f"{at}.valueFrom")
    for source, at in rules.indexed(found.get("envFrom"), f"{here}.envFrom"):
        refs = [name for name in ("configMapRef", "secretRef") if source.get(name)]
        reason = "exactly one of configMapRef and secretRef must be given"
        yield from rules.invalid(len(refs) != 1, at, reason)
        for name in refs:
            yield from rules.required(source[name].get("name"), f"{at}.{name}.name")


def _validate_value_from(source: Object, here: str) -> Causes:
    yield from rules.invalid(len(source) != 1, here, "exactly one source must be given")
    for name in ("configMapKeyRef", "secretKeyRef"):
        if ref := source.get(name):
            yield from rules.required(ref.get("name"), f"{here}.{name}.name")
            yield from rules.required(ref.get("key"), f"{here}.{name}.key")
    if ref := source.get("fieldRef"):
        path, at = ref.get("fieldPath") or "", f"{here}.fieldRef.fieldPath"
        yield from rules.required(path, at)
        if path and not _SUBSCRIPT.fullmatch(path):
            yield from rules.one_of(path, _FIELDS, at)
    if ref := source.get("resourceFieldRef"):
        yield from rules.required(ref.get("resource"), f"{here}.resourceFieldRef.resource")


def _validate_mounts(found: Object, here: str, volumes: Collection[str]) -> Causes:
    paths = set()
    for mount, at in rules.indexed(found.get("volumeMounts"), f"{here}.volumeMounts"):
        name, path = mount.get("name"), mount.get("mountPath")
        yield from rules.required(name, f"{at}.name")
        if name and name not in volumes:
            yield from rules.not_found(f"the pod has no volume {name!r}", f"{at}.name")
        yield from rules.required(path, f"{at}.mountPath")
        yield from rules.invalid(
            path in paths, f"{at}.mountPath", "another volume is mounted at this path"
        )
        paths.add(path)
        if mount.get("subPath"):
            yield from rules.relative_path(mount["subPath"], f"{at}.subPath")


def _validate_resources(resources: Object, here: str) -> Causes:
    limits = resources.get("limits") or {}
    for part in ("limits", "requests"):
        for name, amount in (resources.get(part) or {}).items():
            broken = quantity.parse(amount) < 0
            yield from rules.invalid(broken, f"{here}.{part}[{name}]", "must not be negative")
    for name, amount in (resources.get("requests") or {}).items():
        over = name in limits and quantity.parse(amount) > quantity.parse(limits[name])
        yield from rules.invalid(over, f"{here}.requests", f"requests more {name} than its limit")


def _validate_security(context: Object, here: str) -> Causes:
    for part in ("runAsUser", "runAsGroup"):
        yield from rules.between(context.get(part), 0, 2**31 - 1, f"{here}.{part}")
    contradicts = context.get("privileged") and context.get("allowPrivilegeEscalation") is False
    yield from rules.invalid(
        contradicts, here, "a privileged container must not set allowPrivilegeEscalation to false"
    )


def _validate_probe(probe: Object, here: str, *, only_once: bool) -> Causes:
    yield from _validate_handler(probe, here, _HANDLERS)
    for part in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold"):
        yield from rules.between(probe.get(part), 0, 2**31 - 1, f"{here}.{part}")
    at, successes = f"{here}.successThreshold", probe.get("successThreshold")
    yield from rules.between(successes, 1, 1 if only_once else 2**31 - 1, at)


def _validate_handler(found: Object, here: str, allowed: Collection[str]) -> Causes:
    given = [name for name in allowed if found.get(name) is not None]
    if not given:
        yield from rules.required(None, here, f"one of {', '.join(allowed)} must be given")
    for name in given[1:]:
        yield from rules.forbidden(True, f"{here}.{name}", "only one handler may be given")
    for name in given[:1]:
        at, handler = f"{here}.{name}", found[name]
        if name == "exec":
            yield from rules.required(handler.get("command"), f"{at}.command")
        elif name in ("httpGet", "tcpSocket"):
            yield from rules.port_reference(handler.get("port"), f"{at}.port")
