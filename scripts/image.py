"""Build podpass's container image without Docker.

`image.py root FOLDER [EXTRA ...]`, then `image.py pack FOLDER FILE`; `image.py archive FILE [EXTRA ...]` does
both. The image contains these extras of podpass. `image.py target NAME FOLDER`, then `image.py pack FOLDER
FILE NAME`, make the image of one process (names: webhook, authority, proxy, proxy-init). Those of webhook,
proxy and proxy-init contain only what their command imports, without debug information if `strip` is
installed. An archive is an OCI image layout with one layer, for `podman load`, `skopeo copy
oci-archive:FILE ...` or `docker load`. The same environment gives the same archive, byte for byte. Its
software bill of materials (CycloneDX) is in the image and next to the archive.

Compiling all modules is most of a build. With PODPASS_IMAGE_BYTECODE=FOLDER, builds take from the folder what
an earlier build has compiled from the same text. A release is built without it.
"""

import gzip
import hashlib
import io
import json
import platform
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from image_root import PREFIX, CannotAssemble, assemble
from image_targets import ALL, TARGETS, ImageTarget, add_programs, find_target

SBOM = Path("usr/share/sbom/podpass.cdx.json")
# Level 6 takes 50 % more time, for an archive that is 1 % smaller.
_LEVEL = 5
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_OCI = "application/vnd.oci.image"


def build_root(root: Path, extras: Sequence[str] = (), target: ImageTarget = ALL) -> None:
    """Assemble the root file system with its software bill of materials."""
    root.mkdir(parents=True, exist_ok=True)
    found = assemble(root, extras, target.module)
    add_programs(root, target)
    path = root / SBOM
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sbom(found), indent=2) + "\n")


def sbom(distributions: Iterable[metadata.Distribution]) -> dict[str, Any]:
    """Return the software bill of materials of the installed distributions: CycloneDX 1.5."""
    parts = [_component(one) for one in distributions]
    (subject,) = [part for part in parts if part["name"] == "podpass"]
    python = {
        "type": "platform",
        "name": "python",
        "version": platform.python_version(),
        "bom-ref": f"pkg:generic/python@{platform.python_version()}",
    }
    others = [*(part for part in parts if part is not subject), python]
    refs = [part["bom-ref"] for part in others]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # Derived from the content, so the same content gives the same file.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, ' '.join(refs))}",
        "version": 1,
        "metadata": {"component": {**subject, "type": "application"}},
        "components": others,
        "dependencies": [{"ref": subject["bom-ref"], "dependsOn": refs}],
    }


def _component(distribution: metadata.Distribution) -> dict[str, Any]:
    name, version = distribution.name.lower().replace("_", "-"), distribution.version
    purl = f"pkg:pypi/{name}@{version}"
    found = {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}
    licence = distribution.metadata.get("License-Expression")
    return found | ({"licenses": [{"expression": licence}]} if licence else {})


def write_archive(root: Path, file: Path, version: str, target: ImageTarget = ALL) -> str:
    """Pack a file system as an OCI image; return the digest of its manifest."""
    layer = _layer(root)
    packed = gzip.compress(layer, compresslevel=_LEVEL, mtime=0)
    machine = platform.machine()
    config = {
        "architecture": _MACHINES.get(machine, machine),
        "os": "linux",
        "config": {
            "User": f"{target.user}:{target.user}",
            "Env": [f"PATH=/{PREFIX}/bin", "PYTHONDONTWRITEBYTECODE=1"],
            **({"Entrypoint": list(target.entry_point)} if target.entry_point else {}),
            **({"Cmd": list(target.command)} if target.command else {}),
            "WorkingDir": "/",
            "Labels": labels(version, target),
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        "history": [{"created_by": "scripts/image.py"}],
    }
    blobs: dict[str, bytes] = {}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _blob(blobs, f"{_OCI}.config.v1+json", _json(config)),
        "layers": [_blob(blobs, f"{_OCI}.layer.v1.tar+gzip", packed)],
    }
    named = _blob(blobs, f"{_OCI}.manifest.v1+json", _json(manifest))
    named["annotations"] = {
        "org.opencontainers.image.ref.name": version,
        # The full name, without which a pod cannot name the image after containerd or kind has loaded it.
        "io.containerd.image.name": f"docker.io/library/podpass:{version}",
    }
    index = {"schemaVersion": 2, "manifests": [named]}
    files = {f"blobs/sha256/{name}": content for name, content in blobs.items()}
    files["oci-layout"] = _json({"imageLayoutVersion": "1.0.0"})
    files["index.json"] = _json(index)
    files["manifest.json"] = _json(_docker_manifest(manifest, version))
    file.write_bytes(_tar(files))
    digest: str = named["digest"]
    return digest


def _docker_manifest(manifest: dict[str, Any], version: str) -> list[dict[str, Any]]:
    """Return the manifest with which Docker before version 25 loads the same archive."""
    config, layers = manifest["config"], manifest["layers"]
    paths = [f"blobs/sha256/{each['digest'].removeprefix('sha256:')}" for each in (config, *layers)]
    return [{"Config": paths[0], "RepoTags": [f"podpass:{version}"], "Layers": paths[1:]}]


def labels(version: str, target: ImageTarget = ALL) -> dict[str, str]:
    """Return the image's labels, under the names that registries and scanners read."""
    title = "org.opencontainers.image"
    return {
        f"{title}.title": "podpass",
        f"{title}.description": target.description,
        f"{title}.version": version,
        f"{title}.licenses": "Apache-2.0",
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _blob(blobs: dict[str, bytes], kind: str, content: bytes) -> dict[str, Any]:
    digest = _digest(content)
    blobs[digest.removeprefix("sha256:")] = content
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _layer(root: Path) -> bytes:
    """Return a layer: sorted files, owned by root, with time 0."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            entry = tar.gettarinfo(path, str(path.relative_to(root)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            if entry.isdir():
                entry.mode = 0o1777 if entry.name == "tmp" else 0o755
            # No hard links: the layer depends on the contents, not on how the files are stored here.
            if entry.islnk():
                entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
            if entry.isreg():
                with path.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)
    return stream.getvalue()


def _tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            tar.addfile(entry, io.BytesIO(files[name]))
    return stream.getvalue()


def _pack(root: Path, file: Path, target: ImageTarget = ALL) -> None:
    print(write_archive(root, file, metadata.version("podpass"), target))
    file.with_suffix(".cdx.json").write_text((root / SBOM).read_text())


def main() -> None:
    """Run the command."""
    match sys.argv[1:]:
        case ["root", folder, *extras]:
            build_root(Path(folder), extras)
        case ["target", name, folder]:
            build_root(Path(folder), target=find_target(name))
        case ["pack", folder, name]:
            _pack(Path(folder), Path(name))
        case ["pack", folder, name, target] if target in TARGETS:
            _pack(Path(folder), Path(name), TARGETS[target])
        case ["archive", name, *extras]:
            with tempfile.TemporaryDirectory() as place:
                build_root(Path(place), extras)
                _pack(Path(place), Path(name))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main()
    except CannotAssemble as exc:
        sys.exit(f"no image: {exc}")
