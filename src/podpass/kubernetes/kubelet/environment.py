"""A container's environment and command line, as the kubelet makes them; pure.

Source: Kubernetes documentation, "Define Dependent Environment Variables"; API reference, EnvVar.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from podpass.errors import Error
from podpass.kubernetes.kubelet.downward_api import (
    NodeFacts,
    UnknownField,
    pod_field,
    resource_field,
)

CONFIG_MAP, SECRET = "configmap", "secret"
Container = Mapping[str, Any]
Source = tuple[str, str]
Found = Mapping[Source, Mapping[str, Any] | None]
"""Objects by (kind, name); None for one that is not there."""


class ConfigError(Error):
    """A container cannot be made as its spec says; worded as the kubelet does."""

    code = "container_config"


def sources(container: Container) -> frozenset[Source]:
    """Name the ConfigMaps and Secrets that a container's environment is made from."""
    found: set[Source] = set()
    for entry in container.get("envFrom") or []:
        found.update(_references(entry, ("configMapRef", "secretRef")))
    for entry in container.get("env") or []:
        found.update(_references(entry.get("valueFrom") or {}, ("configMapKeyRef", "secretKeyRef")))
    return frozenset(found)


def _references(entry: Mapping[str, Any], fields: Iterable[str]) -> Iterable[Source]:
    for field in fields:
        if reference := entry.get(field):
            kind = SECRET if field.startswith("secret") else CONFIG_MAP
            yield kind, str(reference.get("name", ""))


def variables(
    container: Container,
    pod: Mapping[str, Any],
    found: Found,
    node: NodeFacts,
    services: Mapping[str, str],
) -> dict[str, str]:
    """Make the variables that the pod itself asks for, those of services beneath them.

    Errors:  ConfigError.
    """
    made: dict[str, str] = {}
    for entry in container.get("envFrom") or []:
        made.update(_from_object(entry, found))
    for entry in container.get("env") or []:
        name = entry["name"]
        if entry.get("valueFrom"):
            value = _from_source(entry["valueFrom"], container, pod, found, node)
            if value is not None:
                made[name] = value
        else:
            made[name] = expand(entry.get("value") or "", {**services, **made})
    return {**services, **made}


def _from_object(entry: Mapping[str, Any], found: Found) -> dict[str, str]:
    [(kind, name)] = _references(entry, ("configMapRef", "secretRef"))
    reference = entry.get("configMapRef") or entry.get("secretRef") or {}
    item = found.get((kind, name))
    if item is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{name}" not found', kind=kind, name=name)
    prefix = entry.get("prefix") or ""
    # A key with "=" cannot be a variable's name on any system; the kubelet skips it too.
    return {prefix + key: value for key, value in texts(kind, item).items() if "=" not in key}


def texts(kind: str, item: Mapping[str, Any]) -> dict[str, str]:
    """Give an object's data as text; a ConfigMap's binary part is no text."""
    data = item.get("data") or {}
    if kind == SECRET:
        return {k: base64.b64decode(v).decode("utf-8", "surrogateescape") for k, v in data.items()}
    return {key: str(value) for key, value in data.items()}


def _from_source(
    source: Mapping[str, Any],
    container: Container,
    pod: Mapping[str, Any],
    found: Found,
    node: NodeFacts,
) -> str | None:
    try:
        if reference := source.get("fieldRef"):
            return pod_field(pod, str(reference.get("fieldPath")), node)
        if reference := source.get("resourceFieldRef"):
            return resource_field(_named(pod, container, reference), reference, node)
    except UnknownField as exc:
        raise ConfigError(exc.message) from exc
    for kind, name in _references(source, ("configMapKeyRef", "secretKeyRef")):
        return _from_key(kind, name, source, found, pod)
    raise ConfigError(f"valueFrom {', '.join(source)} is not supported")


def _named(pod: Mapping[str, Any], container: Container, reference: Mapping[str, Any]) -> Container:
    wanted = reference.get("containerName") or container["name"]
    spec = pod["spec"]
    for each in (*(spec.get("initContainers") or []), *spec["containers"]):
        if each["name"] == wanted:
            return dict(each)
    raise ConfigError(f"container {wanted!r} not found")


def _from_key(
    kind: str, name: str, source: Mapping[str, Any], found: Found, pod: Mapping[str, Any]
) -> str | None:
    reference = source.get("configMapKeyRef") or source.get("secretKeyRef") or {}
    item, key = found.get((kind, name)), str(reference.get("key"))
    if item is not None and key in (values := texts(kind, item)):
        return values[key]
    if reference.get("optional"):
        return None
    if item is None:
        raise ConfigError(f'{kind} "{name}" not found', kind=kind, name=name)
    words = "Secret" if kind == SECRET else "ConfigMap"
    where = f"{pod['metadata']['namespace']}/{name}"
    raise ConfigError(f"couldn't find key {key} in {words} {where}", kind=kind, name=name, key=key)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` where NAME is known; `$$` is a dollar sign, anything else stays as it is."""
    made: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        made.append(text[at:dollar])
        end = text.find(")", dollar)
        if text[dollar + 1] == "$":
            made.append("$")
            at = dollar + 2
        elif text[dollar + 1] == "(" and end > 0:
            name = text[dollar + 2 : end]
            made.append(values.get(name, text[dollar : end + 1]))
            at = end + 1
        else:
            made.append("$")
            at = dollar + 1
    return "".join(made) + text[at:]


def command_line(
    container: Container, values: Mapping[str, str], image: tuple[str, ...] | None
) -> list[str]:
    """Make the argument list: the container's command, else the image's, then the container's args.

    Errors:  ConfigError when neither names a program.
    """
    command = [expand(word, values) for word in container.get("command") or []]
    args = [expand(word, values) for word in container.get("args") or []]
    words = (command or list(image or ())) + args
    if not words:
        raise ConfigError("no command specified")
    return words


def service_variables(server: str) -> dict[str, str]:
    """Give the variables by which programs in a pod find the API server."""
    url = urlsplit(server)
    host = url.hostname or "127.0.0.1"
    port = str(url.port or (443 if url.scheme == "https" else 80))
    address = f"tcp://{host}:{port}"
    return {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "KUBERNETES_SERVICE_PORT_HTTPS": port,
        "KUBERNETES_PORT": address,
    }
