"""Build the files of a volume from the objects that it refers to. Pure."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeling.errors import Error
from kubeling.kubelet.atomic_writer import FileProjection
from kubeling.kubelet.downward_api import NodeInfo, UnknownField, read_reference
from kubeling.kubelet.environment import CONFIG_MAP, SECRET, FetchedObjects, ObjectReference
from kubeling.kubelet.token_manager import DEFAULT_SECONDS, TokenProjection

DEFAULT_MODE = 0o644
PRIVATE_MODE = 0o600
CONTENT_KINDS = ("projected", "configMap", "secret", "downwardAPI")

Volume = Mapping[str, Any]
Tokens = Mapping[TokenProjection, bytes]


class VolumeError(Error):
    """A volume cannot be set up now; the message is that of the kubelet."""

    code = "volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeInputs:
    """The inputs of the files: the pod, the objects that it refers to, and its tokens."""

    pod: Mapping[str, Any]
    found: FetchedObjects
    tokens: Tokens = field(repr=False)
    node: NodeInfo


def sources_by_kind(volume: Volume) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the sources of a volume with their kinds; a Secret volume has one source."""
    if projected := volume.get("projected"):
        return [
            (kind, source)
            for entry in projected.get("sources") or []
            for kind, source in entry.items()
            if source is not None
        ]
    return [(kind, volume[kind]) for kind in CONTENT_KINDS if volume.get(kind) is not None]


def referenced_objects(volume: Volume) -> frozenset[ObjectReference]:
    """Return the ConfigMaps and Secrets that a volume refers to."""
    return frozenset(
        reference
        for kind, source in sources_by_kind(volume)
        if (reference := _referenced_object(kind, source))
    )


def _referenced_object(kind: str, source: Mapping[str, Any]) -> ObjectReference | None:
    if kind == "configMap":
        return CONFIG_MAP, str(source.get("name") or "")
    if kind == "secret":
        return SECRET, str(source.get("secretName") or source.get("name") or "")
    return None


def token_projections(volume: Volume) -> list[TokenProjection]:
    """Return the tokens that a volume requests."""
    return [
        _token_projection(source)
        for kind, source in sources_by_kind(volume)
        if kind == "serviceAccountToken"
    ]


def _token_projection(source: Mapping[str, Any]) -> TokenProjection:
    return TokenProjection(
        audience=source.get("audience") or "",
        seconds=int(source.get("expirationSeconds") or DEFAULT_SECONDS),
        path=source["path"],
    )


def render_files(volume: Volume, inputs: VolumeInputs) -> dict[str, FileProjection]:
    """Build the files of a volume. Raises VolumeError, naming what is missing."""
    source_spec = volume.get("projected") or next(iter(dict(sources_by_kind(volume)).values()), {})
    mode = source_spec.get("defaultMode")
    default = DEFAULT_MODE if mode is None else int(mode)
    files: dict[str, FileProjection] = {}
    for kind, source in sources_by_kind(volume):
        for path, data, own_mode in _render_source(kind, source, inputs):
            files[path] = FileProjection(data=data, mode=default if own_mode is None else own_mode)
    return files


_File = tuple[str, bytes, int | None]


def _render_source(kind: str, source: Mapping[str, Any], inputs: VolumeInputs) -> Iterable[_File]:
    if kind in ("configMap", "secret"):
        return _render_object(kind, source, inputs)
    if kind == "downwardAPI":
        return _render_fields(source, inputs)
    if kind == "serviceAccountToken":
        projection = _token_projection(source)
        return [(projection.path, inputs.tokens[projection], _token_mode(inputs.pod))]
    raise VolumeError(f"projected source {kind} is not supported", kind=kind)


def _token_mode(pod: Mapping[str, Any]) -> int | None:
    """Return 0600 if the pod sets fsGroup or one runAsUser, as the kubelet does; else None."""
    spec = pod["spec"]
    pod_context = spec.get("securityContext") or {}
    if pod_context.get("fsGroup") is not None:
        return PRIVATE_MODE
    users = {
        (each.get("securityContext") or {}).get("runAsUser", pod_context.get("runAsUser"))
        for each in (*(spec.get("initContainers") or []), *spec["containers"])
    }
    return PRIVATE_MODE if len(users) == 1 and None not in users else None


def _render_object(kind: str, source: Mapping[str, Any], inputs: VolumeInputs) -> Iterator[_File]:
    reference = _referenced_object(kind, source)
    item = inputs.found.get(reference) if reference else None
    optional = bool(source.get("optional"))
    if reference is None or item is None:
        if optional:
            return
        missing = f"{reference[0]} {reference[1]!r}" if reference else kind
        raise VolumeError(f"{missing.replace(chr(39), chr(34))} not found", kind=kind)
    data = object_bytes(reference[0], item)
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


def object_bytes(kind: str, item: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the data of an object as bytes."""
    data = item.get("data") or {}
    if kind == SECRET:
        return {key: base64.b64decode(value) for key, value in data.items()}
    binary = item.get("binaryData") or {}
    return {key: str(value).encode() for key, value in data.items()} | {
        key: base64.b64decode(value) for key, value in binary.items()
    }


def _render_fields(source: Mapping[str, Any], inputs: VolumeInputs) -> Iterator[_File]:
    for entry in source.get("items") or []:
        try:
            value = read_reference(entry, inputs.pod, inputs.node)
            yield entry["path"], value.encode(), entry.get("mode")
        except UnknownField as exc:
            raise VolumeError(exc.message) from exc
