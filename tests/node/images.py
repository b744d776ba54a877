"""Container images without a registry and without Docker: layers from this machine's files, as archives.

podpass's own image is the one that `scripts/image.py` builds. The others have one program each.
"""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.build import cache
from tests.deploy.image_root import remove_unused, run_script
from tests.run_program import run_text

ROOT = Path(__file__).parents[2]
USER = "65532:65532"
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image; `layers` are uncompressed tar files, the lowest first."""

    name: str
    layers: Sequence[Path]
    command: Sequence[str] = ()
    user: str = USER
    variables: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "SIGTERM"


def write_archive(image: Image, file: Path) -> Path:
    """Write an image as a Docker archive, which carries its full name."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": image.user,
            "Env": [f"{key}={value}" for key, value in image.variables.items()],
            "Entrypoint": [*image.command],
            "WorkingDir": "/",
            "StopSignal": image.stop_signal,
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in image.layers]},
    }
    names = [f"{index}.tar" for index in range(len(image.layers))]
    manifest = [{"Config": "config.json", "RepoTags": [image.name], "Layers": names}]
    with tarfile.open(file, "w") as tar:
        _add_bytes(tar, "config.json", json.dumps(config).encode())
        _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())
        for name, layer in zip(names, image.layers, strict=True):
            tar.add(layer, name)
    return file


def program_layer(file: Path, programs: Mapping[str, Path]) -> Path:
    """Write a layer with programs by their paths in the image, and the libraries that they load."""
    return file_layer(file, {**programs, **find_libraries(programs.values())})


def find_libraries(binaries: Iterable[Path]) -> dict[str, Path]:
    """Return the libraries that programs load, by the paths at which they look for them."""
    found: dict[str, Path] = {}
    for binary in binaries:
        done = run_text(["ldd", binary])
        found |= {name: Path(name).resolve() for name in _LIBRARY.findall(done.stdout)}
    return found


def file_layer(file: Path, files: Mapping[str, Path]) -> Path:
    """Write a layer with files and folders by their paths in the image."""
    with tarfile.open(file, "w") as tar:
        for path in sorted(files):
            tar.add(files[path], path.lstrip("/"), filter=_owned_by_root)
    return file


def text_layer(file: Path, texts: Mapping[str, bytes], *, mode: int = 0o644) -> Path:
    """Write a layer with files of the given contents."""
    with tarfile.open(file, "w") as tar:
        for path, content in texts.items():
            _add_bytes(tar, path.lstrip("/"), content, mode)
    return file


def podpass_archive() -> Path:
    """Return podpass's image as an OCI archive; build it if its sources have changed."""

    def build(folder: Path) -> None:
        run_script("archive", str(folder / "podpass.tar"))

    return cached("podpass-image", podpass_sources(), build) / "podpass.tar"


def target_layer(target: str) -> Path:
    """Return the layer of an image of one process, as `deploy/Dockerfile` names it."""

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as root:
            run_script("target", target, root)
            _pack(Path(root), folder / "layer.tar")

    return cached(f"{target}-target", podpass_sources(), build) / "layer.tar"


def client_layer(*extras: str) -> Path:
    """Return a layer with Python and the released Azure SDK; it contains nothing that podpass changes.

    `extras` are extras of podpass whose packages it has, too.
    """

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as root:
            run_script("root", root, "demo", *extras)
            for path in Path(root).glob("usr/local/lib/python*/*-packages/podpass*"):
                shutil.rmtree(path)
            _pack(Path(root), folder / "layer.tar")

    name = "-".join(("client-image", *extras))
    return cached(name, [ROOT / "constraints.txt", *_scripts()], build) / "layer.tar"


def podpass_sources() -> list[Path]:
    """Return the files that the images of podpass depend on."""
    return [*(ROOT / "src").rglob("*"), *_scripts()]


def _scripts() -> list[Path]:
    return [*(ROOT / "scripts").glob("image*.py")]


def _pack(root: Path, file: Path) -> None:
    with tarfile.open(file, "w") as tar:
        tar.add(root, ".", filter=_owned_by_root)


def cached(name: str, sources: Iterable[Path], build: Callable[[Path], None]) -> Path:
    """Return the folder that `build` fills, once for each content of the sources.

    Other checkouts on this machine have other sources: a folder is removed when nothing has used it for days.
    """
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(path for path in sources if path.is_file() and path.suffix != ".pyc"):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    folder = cache() / f"{name}-{digest.hexdigest()[:12]}"
    if not folder.exists():
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache(), prefix=f".{name}-") as part:
            inner = Path(part, "content")
            inner.mkdir()
            build(inner)
            try:
                inner.rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another run has built this image
                    raise
    os.utime(folder)
    remove_unused(cache().glob(f"{name}-*"))
    return folder


def _digest(layer: Path) -> str:
    with layer.open("rb") as content:
        return "sha256:" + hashlib.file_digest(content, "sha256").hexdigest()


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    if entry.isdir():
        entry.mode = 0o1777 if entry.name.endswith("/tmp") else 0o755
    elif entry.isfile():
        entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry
