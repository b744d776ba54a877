"""Build the environment and the command line of a container, as the kubelet does. Pure.

Source: Kubernetes documentation, "Define Dependent Environment Variables"; API reference, EnvVar.
"""

import base64
from collections import ChainMap
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kubeling.errors import Error
from kubeling.kubelet.downward_api import NodeInfo, UnknownField, read_reference
from kubeling.kubelet.images import ImageConfig

CONFIG_MAP, SECRET = "configmap", "secret"
Container = Mapping[str, Any]
Service = Mapping[str, Any]
ObjectReference = tuple[str, str]
FetchedObjects = Mapping[ObjectReference, Mapping[str, Any] | None]
"""Objects by (kind, name); None for an object that does not exist."""


# More than Linux allows for a process. Without a limit, each variable could double the one before it.
_MAX_EXPANDED_CHARS = 8 * 1024 * 1024


class ConfigError(Error):
    """The spec of a container cannot be resolved; the message is that of the kubelet."""

    code = "container_config"


def referenced_objects(container: Container) -> frozenset[ObjectReference]:
    """Return the ConfigMaps and Secrets that the environment of a container refers to."""
    found: set[ObjectReference] = set()
    for entry in container.get("envFrom") or []:
        found.update(_references(entry, ("configMapRef", "secretRef")))
    for entry in container.get("env") or []:
        found.update(_references(entry.get("valueFrom") or {}, ("configMapKeyRef", "secretKeyRef")))
    return frozenset(found)


def _references(entry: Mapping[str, Any], fields: Iterable[str]) -> Iterable[ObjectReference]:
    for field in fields:
        if reference := entry.get(field):
            kind = SECRET if field.startswith("secret") else CONFIG_MAP
            yield kind, str(reference.get("name", ""))


def build_variables(
    container: Container,
    pod: Mapping[str, Any],
    found: FetchedObjects,
    node: NodeInfo,
    services: Mapping[str, str],
) -> dict[str, str]:
    """Build the variables of a container; `services` are defaults. Raises ConfigError."""
    values: dict[str, str] = {}
    earlier, size = ChainMap(values, dict(services)), 0
    for entry in container.get("envFrom") or []:
        values.update(_from_object(entry, found))
    for entry in container.get("env") or []:
        name = entry["name"]
        if entry.get("valueFrom"):
            value = _from_source(entry["valueFrom"], container, pod, found, node)
            if value is not None:
                values[name] = value
        else:
            values[name] = expand(entry.get("value") or "", earlier)
            size += len(values[name])
            if size > _MAX_EXPANDED_CHARS:
                raise ConfigError(f"the variables are longer than {_MAX_EXPANDED_CHARS} characters")
    return {**services, **values}


def _from_object(entry: Mapping[str, Any], found: FetchedObjects) -> dict[str, str]:
    [(kind, name)] = _references(entry, ("configMapRef", "secretRef"))
    reference = entry.get("configMapRef") or entry.get("secretRef") or {}
    item = found.get((kind, name))
    if item is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{name}" not found', kind=kind, name=name)
    prefix = entry.get("prefix") or ""
    # No system allows "=" in the name of a variable; the kubelet skips such keys too.
    return {
        prefix + key: value for key, value in object_texts(kind, item).items() if "=" not in key
    }


def object_texts(kind: str, item: Mapping[str, Any]) -> dict[str, str]:
    """Return the data of an object as text, without the binaryData of a ConfigMap."""
    return {key: _decode(kind, value) for key, value in (item.get("data") or {}).items()}


def _decode(kind: str, value: Any) -> str:
    return (
        base64.b64decode(value).decode("utf-8", "surrogateescape") if kind == SECRET else str(value)
    )


def _from_source(
    source: Mapping[str, Any],
    container: Container,
    pod: Mapping[str, Any],
    found: FetchedObjects,
    node: NodeInfo,
) -> str | None:
    if source.get("fieldRef") or source.get("resourceFieldRef"):
        try:
            return read_reference(source, pod, node, container["name"])
        except UnknownField as exc:
            raise ConfigError(exc.message) from exc
    for kind, name in _references(source, ("configMapKeyRef", "secretKeyRef")):
        return _from_key(kind, name, source, found, pod)
    raise ConfigError(f"valueFrom {', '.join(source)} is not supported")


def _from_key(
    kind: str, name: str, source: Mapping[str, Any], found: FetchedObjects, pod: Mapping[str, Any]
) -> str | None:
    reference = source.get("configMapKeyRef") or source.get("secretKeyRef") or {}
    item, key = found.get((kind, name)), str(reference.get("key"))
    if item is not None and key in (data := item.get("data") or {}):
        return _decode(kind, data[key])
    if reference.get("optional"):
        return None
    if item is None:
        raise ConfigError(f'{kind} "{name}" not found', kind=kind, name=name)
    type_ = "Secret" if kind == SECRET else "ConfigMap"
    path = f"{pod['metadata']['namespace']}/{name}"
    raise ConfigError(f"couldn't find key {key} in {type_} {path}", kind=kind, name=name, key=key)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the value of NAME if it exists; `$$` becomes `$`; all other text stays."""
    parts: list[str] = []
    at, last = 0, text.rfind(")")
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        parts.append(text[at:dollar])
        if text[dollar + 1] == "$":
            parts.append("$")
            at = dollar + 2
        elif text[dollar + 1] == "(" and last > dollar:
            end = text.find(")", dollar)
            name = text[dollar + 2 : end]
            parts.append(values.get(name, text[dollar : end + 1]))
            at = end + 1
        else:
            parts.append("$")
            at = dollar + 1
    return "".join(parts) + text[at:]


def build_command_line(
    container: Container, values: Mapping[str, str], image: ImageConfig
) -> list[str]:
    """Build the argument list: `command` replaces the image's entry point and command, `args` its command.

    Raises ConfigError if there is no command.
    """
    command = [expand(word, values) for word in container.get("command") or []]
    args = [expand(word, values) for word in container.get("args") or []]
    if not command:
        command, args = [*image.entrypoint], args or [*image.command]
    words = command + args
    if not words:
        raise ConfigError("no command specified")
    return words


def api_server_service(server: str) -> Service:
    """Return the Service `kubernetes` with the address that the kubelet uses, which every pod can reach."""
    url = urlsplit(server)
    port = url.port or (443 if url.scheme == "https" else 80)
    return {
        "metadata": {"namespace": "default", "name": "kubernetes"},
        "spec": {
            "clusterIP": url.hostname or "127.0.0.1",
            "ports": [{"name": "https", "port": port}],
        },
    }


def service_variables(services: Iterable[Service]) -> dict[str, str]:
    """Return the variables with the addresses of Services; none for a headless Service.

    Source: k8s.io/kubernetes v1.34 pkg/kubelet/envvars.
    """
    found: dict[str, str] = {}
    for service in services:
        address, ports = service["spec"].get("clusterIP"), service["spec"].get("ports") or []
        if not address or address == "None" or not ports:
            continue
        prefix = _variable_name(service["metadata"]["name"])
        found[f"{prefix}_SERVICE_HOST"] = address
        found[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        host = f"[{address}]" if ":" in address else address
        for port in ports:
            protocol, number = port.get("protocol") or "TCP", str(port["port"])
            if name := port.get("name"):
                found[f"{prefix}_SERVICE_PORT_{_variable_name(name)}"] = number
            url = f"{protocol.lower()}://{host}:{number}"
            if port is ports[0]:
                found[f"{prefix}_PORT"] = url
            link = f"{prefix}_PORT_{number}_{protocol.upper()}"
            found |= {
                link: url,
                f"{link}_PROTO": protocol.lower(),
                f"{link}_PORT": number,
                f"{link}_ADDR": address,
            }
    return found


def _variable_name(name: str) -> str:
    return name.replace("-", "_").upper()
