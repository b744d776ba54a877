"""Read the manifests of an image: which images a file has, and which layers an image has.

Parts are in a tar archive of `docker save` or OCI, or in a folder.
"""

import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from podpass.migration.scan.folder import open_regular
from podpass.migration.scan.limits import (
    MAX_JSON_BYTES,
    MAX_JSON_VALUES,
    MAX_LAYERS,
    MIB,
    Budget,
    check_ratio,
    has_too_many_values,
    read_limited,
)
from podpass.migration.scan.model import ContentStream, LimitExceeded, ScanFailed, printable
from podpass.migration.scan.tar_stream import EntryType, read_entries

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# An archive of `docker save` has a few files for each layer; their names are digests.
MAX_PARTS = 20_000
_MAX_NAME_CHARS = 255


class NotAnImage(ScanFailed):
    """A file or folder is not an image in a known format."""

    code = "not_an_image"
    hint = (
        "save it again with `docker save IMAGE -o FILE.tar` or `ctr images export FILE.tar IMAGE`"
    )


class ImageParts(Protocol):
    """The parts of an image file or folder."""

    def open(self, name: str) -> ContentStream | None:
        """Open a part; None if it does not exist."""

    def close(self) -> None:
        """Close all files."""


def open_parts(path: Path, budget: Budget) -> ImageParts:
    """Open an archive or a folder. Raises NotAnImage, InvalidArchive, LimitExceeded."""
    if path.is_dir():
        return _FolderParts(path)
    file = path.open("rb")
    try:
        return _ArchiveParts(file, path, budget)
    except BaseException:
        file.close()
        raise


class _FolderParts:
    """The files of a folder; a link is not followed, and a name cannot leave the folder."""

    def __init__(self, root: Path) -> None:
        self._root, self._stack = root, ExitStack()

    def open(self, name: str) -> ContentStream | None:
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts:
            return None
        for depth in range(1, len(parts)):
            if self._root.joinpath(*parts[:depth]).is_symlink():
                return None
        file = open_regular(self._root / name)
        return None if file is None else self._stack.enter_context(file)

    def close(self) -> None:
        self._stack.close()


class _ArchiveParts:
    """The files of an archive; their places are read first, because they come in any order."""

    def __init__(self, file: BinaryIO, path: Path, budget: Budget) -> None:
        start = file.read(4)
        if start.startswith(GZIP) or start == ZSTD:
            raise NotAnImage(f"{path} is compressed", hint=f"decompress it first: gunzip {path}")
        file.seek(0)
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}
        for entry in read_entries(file, budget):
            if entry.type is EntryType.FILE:
                if len(entry.path) <= _MAX_NAME_CHARS and entry.path.isascii():
                    self._places[entry.path] = file.seek(0, os.SEEK_CUR), entry.content.left
                    if len(self._places) > MAX_PARTS:
                        raise LimitExceeded(f"the archive has more than {MAX_PARTS} files")
                file.seek(entry.content.left, 1)
                entry.content.left = 0

    def open(self, name: str) -> ContentStream | None:
        found = self._places.get(name.removeprefix("./"))
        return None if found is None else _Member(self._file, *found)

    def close(self) -> None:
        self._file.close()


class _Member:
    """A part of a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._at, self._left = file, start, size

    def read(self, size: int = -1, /) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._at += len(data)
        self._left -= len(data)
        return data


_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64,128})")
_MAX_IMAGES = 64
_CHARGE_PER_MEMBER = 4096


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


def decompress_layer(name: str, stream: ContentStream, budget: Budget) -> ContentStream:
    """Return the content of a layer. Raises NotAnImage if it is compressed in another way than by gzip."""
    start = stream.read(4)
    if start == ZSTD:
        raise NotAnImage(
            f"the layer {name[:100]!r} is compressed with zstd, which is not supported",
            hint="save the image with gzip: skopeo copy --dest-compress-format gzip"
            " docker://IMAGE oci:FOLDER",
        )
    if start.startswith(GZIP):
        return _GzipLayer(start, stream, budget)
    return _PlainLayer(start, stream, budget)


class _PlainLayer:
    """A stream whose beginning has been read, and whose bytes count towards the limits."""

    def __init__(self, start: bytes, stream: ContentStream, budget: Budget) -> None:
        self._start, self._stream, self._budget = start, stream, budget

    def read(self, size: int = -1, /) -> bytes:
        if self._start and size:
            data, self._start = self._start[:size], self._start[size:]
        else:
            data = self._stream.read(min(size, MIB) if size >= 0 else MIB)
        self._budget.charge_bytes(len(data))
        return data


class _GzipLayer:
    """Decompresses a layer, with limits for its size and its ratio."""

    def __init__(self, start: bytes, stream: ContentStream, budget: Budget) -> None:
        self._stream, self._budget = stream, budget
        self._decoder = zlib.decompressobj(31)
        # Entries of an archive are read in small parts: the buffer is not copied for each.
        self._input, self._buffer, self._at = start, b"", 0
        self._compressed, self._content = len(start), 0

    def read(self, size: int = -1, /) -> bytes:
        wanted = min(size, MIB) if size >= 0 else MIB
        while self._at == len(self._buffer) and self._fill():
            pass
        data = self._buffer[self._at : self._at + wanted]
        self._at += len(data)
        return data

    def _fill(self) -> bool:
        """Replace the empty buffer by at most one MiB more; return False at the end."""
        if not self._input:
            self._input = self._stream.read(64 * 1024)
            self._compressed += len(self._input)
            if not self._input:
                return False
        if self._decoder.eof:  # a gzip file may have several members
            self._decoder = zlib.decompressobj(31)
            # A member may be empty. Each one counts, because a file of empty members takes only time.
            self._budget.charge_bytes(_CHARGE_PER_MEMBER)
        try:
            data = self._decoder.decompress(self._input, MIB)
        except zlib.error as exc:
            raise NotAnImage("a layer is not valid gzip") from exc
        self._input = (
            self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
        )
        self._content += len(data)
        self._budget.charge_bytes(len(data))
        check_ratio(self._compressed, self._content)
        self._buffer, self._at = data, 0
        return True
