"""Read the manifests of an image: which images a file has, and which layers an image has."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from podpass.migration.scan.image_parts import NotAnImage, open_parts
from podpass.migration.scan.layer_stream import decompress_layer
from podpass.migration.scan.limits import (
    MAX_JSON_BYTES,
    MAX_JSON_VALUES,
    MAX_LAYERS,
    MIB,
    Budget,
    has_too_many_values,
    read_limited,
)
from podpass.migration.scan.model import ContentStream, LimitExceeded, printable

_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64,128})")
_MAX_IMAGES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of a file: its name, its operating system, and the names of its layers from the lowest on."""

    name: str
    system: str
    layers: Sequence[str]


class ImageFile:
    """The images of one file or folder; use it as a context manager."""

    def __init__(self, path: Path, budget: Budget) -> None:
        self._budget = budget
        self._parts = open_parts(path, budget)

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def images(self) -> list[Image]:
        """Return the images of the file. Raises NotAnImage, LimitExceeded."""
        # `docker save` writes both files; only manifest.json has the names of the images.
        if (manifest := self._json("manifest.json", required=False)) is not None:
            entries = _objects(manifest)
            _check_images(len(entries))
            found = [self._docker_image(each) for each in entries]
        else:
            found = list(self._oci_images(self._json("index.json")))
        if not found:
            raise NotAnImage("the file has no image for Linux or Windows")
        _check_images(len(found))
        return found

    def open_layer(self, name: str) -> ContentStream:
        """Open a layer as an uncompressed tar archive.

        Raises NotAnImage if it is missing, or compressed in another way than by gzip.
        """
        stream = self._parts.open(name)
        if stream is None:
            raise NotAnImage(f"the layer {name[:100]!r} is missing")
        return decompress_layer(name, stream, self._budget)

    def _docker_image(self, entry: Mapping[str, Any]) -> Image:
        config = _object(self._json(str(entry.get("Config")), required=False))
        tags = [str(each) for each in _list(entry.get("RepoTags"))]
        layers = [str(each) for each in _list(entry.get("Layers"))]
        return _build_image(", ".join(tags[:4]), config, layers)

    def _oci_images(self, index: Any) -> Iterator[Image]:
        """Follow nested indexes to the manifests."""
        pending = [(index, "")]
        read = 0
        while pending:
            current, name = pending.pop(0)
            for each in _objects(_object(current).get("manifests")):
                read += 1
                if read > _MAX_IMAGES:
                    raise LimitExceeded(f"the file has more than {_MAX_IMAGES} manifests")
                platform = _object(each.get("platform"))
                if platform.get("os") == "unknown":
                    continue  # an attestation, not an image
                about = _object(each.get("annotations"))
                called = str(
                    about.get("io.containerd.image.name")
                    or about.get("org.opencontainers.image.ref.name")
                    or name
                )
                body = _object(self._json(_blob(each), required=False))
                if "manifests" in body:
                    pending.append((body, called))
                elif body:
                    config = _object(self._json(_blob(_object(body.get("config"))), required=False))
                    layers = [_blob(layer) for layer in _objects(body.get("layers"))]
                    yield _build_image(called, config, layers)

    def _json(self, name: str, *, required: bool = True) -> Any:
        stream, shown = self._parts.open(name), printable(name[:100])
        if stream is None:
            if required:
                raise NotAnImage(f"it has no {shown}")
            return None
        data = read_limited(stream, MAX_JSON_BYTES)
        if data is None:
            raise LimitExceeded(f"{shown} has more than {MAX_JSON_BYTES // MIB} MiB")
        if has_too_many_values(data):
            raise LimitExceeded(f"{shown} has more than {MAX_JSON_VALUES} values")
        try:
            return orjson.loads(data)
        except ValueError as exc:
            raise NotAnImage(f"{shown} is not valid JSON") from exc


def _check_images(count: int) -> None:
    if count > _MAX_IMAGES:
        raise LimitExceeded(f"the file has more than {_MAX_IMAGES} images")


def _build_image(name: str, config: Mapping[str, Any], layers: list[str]) -> Image:
    if len(layers) > MAX_LAYERS:
        raise LimitExceeded(f"the image has more than {MAX_LAYERS} layers")
    return Image(name=name, system=str(config.get("os") or "linux"), layers=layers)


def _blob(descriptor: Mapping[str, Any]) -> str:
    """Return the path of a blob; empty if its digest is not valid."""
    found = _DIGEST.fullmatch(str(descriptor.get("digest")))
    return f"blobs/{found[1]}/{found[2]}" if found else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in _list(value) if isinstance(each, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
