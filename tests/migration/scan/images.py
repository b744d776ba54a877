"""Build images for the tests: layers, archives of `docker save`, and OCI layouts."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

Files = dict[str, bytes]

METADATA = "usr/lib/python3.11/site-packages/azure_identity.dist-info/METADATA"


def metadata(version: str, name: str = "azure-identity") -> bytes:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nVersion: 9\n".encode()


def layer(files: Files, *entries: tarfile.TarInfo) -> bytes:
    """Return a layer with files, then entries without content."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for entry in entries:
            tar.addfile(entry)
    return made.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Return a link, a folder, a device or a pipe."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def docker_archive(path: Path, *layers: bytes, system: str = "linux") -> Path:
    """Write what `docker save` writes."""
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["app:1"], "Layers": names}]
    parts = {
        "manifest.json": json.dumps(manifest).encode(),
        "config.json": json.dumps({"os": system}).encode(),
        **dict(zip(names, layers, strict=True)),
    }
    path.write_bytes(layer(parts))
    return path


def oci_layout(folder: Path, *layers: bytes, compress: bool = True, nested: bool = False) -> Path:
    """Write a folder with an OCI layout."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    stored = [gzip.compress(each, 1) if compress else each for each in layers]
    manifest = {
        "config": blob(json.dumps({"os": "linux"}).encode()),
        "layers": [blob(each) for each in stored],
    }
    entry = blob(json.dumps(manifest).encode())
    if nested:
        entry = blob(json.dumps({"manifests": [entry]}).encode())
    unknown = {**blob(b"{}"), "platform": {"os": "unknown", "architecture": "unknown"}}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"manifests": [entry, unknown]}))
    return folder


def oci_archive(path: Path, folder: Path) -> Path:
    """Write an OCI layout as one archive, as `ctr images export` does."""
    with tarfile.open(path, "w") as tar:
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                tar.add(each, each.relative_to(folder).as_posix())
    return path
