"""What a volume's files hold, from the objects it names; pure."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from podpass.errors import Error
from podpass.kubernetes.kubelet.atomic_writer import Content
from podpass.kubernetes.kubelet.downward_api import (
    NodeFacts,
    UnknownField,
    pod_field,
    resource_field,
)
from podpass.kubernetes.kubelet.environment import CONFIG_MAP, SECRET, Found, Source
from podpass.kubernetes.kubelet.token_manager import DEFAULT_SECONDS, Wanted

DEFAULT_MODE = 0o644
PRIVATE_MODE = 0o600
CONTENT_KINDS = ("projected", "configMap", "secret", "downwardAPI")

Volume = Mapping[str, Any]
Tokens = Mapping[Wanted, bytes]


class VolumeError(Error):
    """A volume cannot be made (yet); worded as the kubelet does."""

    code = "volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What files are made from: the pod, the objects it names, its tokens."""

    pod: Mapping[str, Any]
    found: Found
    tokens: Tokens = field(repr=False)
    node: NodeFacts


def parts(volume: Volume) -> list[tuple[str, Mapping[str, Any]]]:
    """Give a volume's sources by kind; a plain secret is a projected one with one source."""
    if projected := volume.get("projected"):
        return [
            (kind, source)
            for entry in projected.get("sources") or []
            for kind, source in entry.items()
            if source is not None
        ]
    return [(kind, volume[kind]) for kind in CONTENT_KINDS if volume.get(kind) is not None]


def sources(volume: Volume) -> frozenset[Source]:
    """Name the ConfigMaps and Secrets that a volume is made from."""
    return frozenset(
        reference for kind, source in parts(volume) if (reference := _object(kind, source))
    )


def _object(kind: str, source: Mapping[str, Any]) -> Source | None:
    if kind == "configMap":
        return CONFIG_MAP, str(source.get("name") or "")
    if kind == "secret":
        return SECRET, str(source.get("secretName") or source.get("name") or "")
    return None


def wanted_tokens(volume: Volume) -> list[Wanted]:
    """Name the tokens that a volume asks for."""
    return [_wanted(source) for kind, source in parts(volume) if kind == "serviceAccountToken"]


def _wanted(source: Mapping[str, Any]) -> Wanted:
    return Wanted(
        audience=source.get("audience") or "",
        seconds=int(source.get("expirationSeconds") or DEFAULT_SECONDS),
        path=source["path"],
    )


def render(volume: Volume, material: Material) -> dict[str, Content]:
    """Make a volume's files.

    Errors:  VolumeError, with what is missing.
    """
    whole = volume.get("projected") or next(iter(dict(parts(volume)).values()), {})
    mode = whole.get("defaultMode")
    default = DEFAULT_MODE if mode is None else int(mode)
    files: dict[str, Content] = {}
    for kind, source in parts(volume):
        for path, data, own_mode in _files(kind, source, material):
            files[path] = Content(data=data, mode=default if own_mode is None else own_mode)
    return files


_File = tuple[str, bytes, int | None]


def _files(kind: str, source: Mapping[str, Any], material: Material) -> Iterable[_File]:
    if kind in ("configMap", "secret"):
        return _object_files(kind, source, material)
    if kind == "downwardAPI":
        return _field_files(source, material)
    if kind == "serviceAccountToken":
        wanted = _wanted(source)
        return [(wanted.path, material.tokens[wanted], _token_mode(material.pod))]
    raise VolumeError(f"projected source {kind} is not supported", kind=kind)


def _token_mode(pod: Mapping[str, Any]) -> int | None:
    """Give 0600 where the pod says whose file it is, as the kubelet does, else the volume's mode."""
    spec = pod["spec"]
    of_pod = spec.get("securityContext") or {}
    if of_pod.get("fsGroup") is not None:
        return PRIVATE_MODE
    users = {
        (each.get("securityContext") or {}).get("runAsUser", of_pod.get("runAsUser"))
        for each in (*(spec.get("initContainers") or []), *spec["containers"])
    }
    return PRIVATE_MODE if len(users) == 1 and None not in users else None


def _object_files(kind: str, source: Mapping[str, Any], material: Material) -> Iterator[_File]:
    reference = _object(kind, source)
    item = material.found.get(reference) if reference else None
    optional = bool(source.get("optional"))
    if reference is None or item is None:
        if optional:
            return
        where = f"{reference[0]} {reference[1]!r}" if reference else kind
        raise VolumeError(f"{where.replace(chr(39), chr(34))} not found", kind=kind)
    data = binary(reference[0], item)
    items = source.get("items")
    if not items:
        yield from ((key, value, None) for key, value in data.items())
        return
    for entry in items:
        if entry["key"] in data:
            yield entry["path"], data[entry["key"]], entry.get("mode")
        elif not optional:
            raise VolumeError(
                f"references non-existent {'config' if kind == 'configMap' else 'secret'}"
                f" key: {entry['key']}",
                kind=kind,
            )


def binary(kind: str, item: Mapping[str, Any]) -> dict[str, bytes]:
    """Give an object's data as bytes."""
    data = item.get("data") or {}
    if kind == SECRET:
        return {key: base64.b64decode(value) for key, value in data.items()}
    more = item.get("binaryData") or {}
    return {key: str(value).encode() for key, value in data.items()} | {
        key: base64.b64decode(value) for key, value in more.items()
    }


def _field_files(source: Mapping[str, Any], material: Material) -> Iterator[_File]:
    for entry in source.get("items") or []:
        try:
            yield entry["path"], _field(entry, material).encode(), entry.get("mode")
        except UnknownField as exc:
            raise VolumeError(exc.message) from exc


def _field(entry: Mapping[str, Any], material: Material) -> str:
    if reference := entry.get("fieldRef"):
        return pod_field(material.pod, str(reference.get("fieldPath")), material.node)
    reference = entry.get("resourceFieldRef") or {}
    spec = material.pod["spec"]
    for container in (*spec["containers"], *(spec.get("initContainers") or [])):
        if container["name"] == reference.get("containerName"):
            return resource_field(container, reference, material.node)
    raise UnknownField(f"container {reference.get('containerName')!r} not found")
