"""OCI image layouts in tar files: charts as packages, and the images of several machines as one."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_OCI = "application/vnd.oci.image"
MANIFEST, INDEX = f"{_OCI}.manifest.v1+json", f"{_OCI}.index.v1+json"
# The media types that Helm gives to a chart in a registry.
CHART_CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


class InvalidImageLayout(Exception):
    """A file is not a layout of one image, or two files have the same platform."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The content of an image layout: the entries of its index, and all blobs by their digests."""

    entries: list[dict[str, Any]]
    blobs: dict[str, bytes]

    def read(self, digest: str) -> Any:
        """Return a JSON blob."""
        return json.loads(self.blobs[digest])


def read_layout(file: Path) -> Layout:
    """Read a layout and check the digest of each blob. Raises InvalidImageLayout."""
    with tarfile.open(file) as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar if entry.isfile()}
        content = {name: stream.read() for name, stream in files.items() if stream}
    blobs = {}
    for name, blob in content.items():
        if name.startswith("blobs/sha256/"):
            blobs[_digest(blob)] = blob
            if _digest(blob) != f"sha256:{name.rpartition('/')[2]}":
                raise InvalidImageLayout(f"{file.name}: the content of {name} has another digest")
    try:
        return Layout(json.loads(content["index.json"])["manifests"], blobs)
    except KeyError as exc:
        raise InvalidImageLayout(f"{file.name} is no OCI image layout") from exc


def join_images(files: Iterable[Path], repository: str, version: str) -> bytes:
    """Return a layout with one index of the images of several platforms, in the order of the platforms.

    Raises InvalidImageLayout.
    """
    blobs: dict[str, bytes] = {}
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        layout = read_layout(file)
        if len(layout.entries) != 1:
            raise InvalidImageLayout(f"{file.name} has {len(layout.entries)} images instead of one")
        digest = layout.entries[0]["digest"]
        config = layout.read(layout.read(digest)["config"]["digest"])
        platform = {"architecture": config["architecture"], "os": config["os"]}
        name = f"{platform['os']}/{platform['architecture']}"
        if name in found:
            raise InvalidImageLayout(
                f"two files have an image for {name}; the second is {file.name}"
            )
        size = len(layout.blobs[digest])
        found[name] = {"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform}
        blobs |= layout.blobs
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [found[name] for name in sorted(found)],
    }
    annotations = {
        "io.containerd.image.name": f"docker.io/library/{repository}:{version}",
        "org.opencontainers.image.ref.name": version,
    }
    return _layout({**_add(blobs, INDEX, index), "annotations": annotations}, blobs)


def chart_layout(package: bytes) -> bytes:
    """Return a layout with a chart's package, as `helm push` would upload it."""
    with tarfile.open(fileobj=io.BytesIO(package)) as tar:
        (name,) = [name for name in tar.getnames() if name.count("/") == 1 and "Chart.yaml" in name]
        content = tar.extractfile(name)
        assert content is not None
        chart = yaml.safe_load(content.read())
    blobs: dict[str, bytes] = {}
    title = "org.opencontainers.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _add(blobs, CHART_CONFIG, chart),
        "layers": [_add_blob(blobs, CHART_CONTENT, package)],
        "annotations": {
            f"{title}.title": chart["name"],
            f"{title}.version": chart["version"],
            f"{title}.description": chart["description"],
        },
    }
    annotations = {f"{title}.ref.name": chart["version"]}
    return _layout({**_add(blobs, MANIFEST, manifest), "annotations": annotations}, blobs)


def normalize_package(package: bytes, epoch: int) -> bytes:
    """Return a chart's package with sorted files, the time of the commit, and no name of a user."""
    with tarfile.open(fileobj=io.BytesIO(package)) as tar:
        streams = {entry.name: tar.extractfile(entry) for entry in tar if entry.isfile()}
        files = {name: stream.read() for name, stream in streams.items() if stream}
    return gzip.compress(write_tar(files, epoch), mtime=0)


def write_tar(files: Mapping[str, bytes], epoch: int = 0) -> bytes:
    """Return a tar of sorted files with one time for all."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(files[name]), epoch
            tar.addfile(entry, io.BytesIO(files[name]))
    return stream.getvalue()


def _layout(entry: dict[str, Any], blobs: Mapping[str, bytes]) -> bytes:
    files = {f"blobs/sha256/{digest.partition(':')[2]}": blob for digest, blob in blobs.items()}
    files["oci-layout"] = _json({"imageLayoutVersion": "1.0.0"})
    files["index.json"] = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    return write_tar(files)


def _add(blobs: dict[str, bytes], kind: str, value: object) -> dict[str, Any]:
    return _add_blob(blobs, kind, _json(value))


def _add_blob(blobs: dict[str, bytes], kind: str, content: bytes) -> dict[str, Any]:
    digest = _digest(content)
    blobs[digest] = content
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
