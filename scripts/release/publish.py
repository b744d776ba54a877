"""What a release would publish, and the upload of images and charts to a registry."""

import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import artifacts
import programs


@dataclass(frozen=True, slots=True)
class Upload:
    """One layout and its name in the registry."""

    file: Path
    reference: str


def uploads(dist: Path, registry: str, version: str) -> Iterator[Upload]:
    """Yield the layouts of images and charts with the names that they get in a registry."""
    for suffix, prefix in ((artifacts.IMAGE_SUFFIX, ""), (artifacts.CHART_SUFFIX, "charts/")):
        for file in sorted(dist.glob(f"*{suffix}")):
            name = file.name.removesuffix(f"-{version}{suffix}")
            yield Upload(file, f"{registry}/{prefix}{name}:{version}")


def plan(dist: Path, registry: str, version: str) -> list[str]:
    """Return a line for each thing that a release publishes, and where."""
    packages = sorted([*dist.glob("*.tar.gz"), *dist.glob("*.whl")])
    lines = [f"PyPI        {file.name}" for file in packages]
    lines += [f"registry    {one.reference}" for one in uploads(dist, registry, version)]
    attached = sorted(file.name for file in dist.iterdir())
    return [*lines, f"release     v{version}, with {artifacts.NOTES} and {len(attached)} files"]


def push(one: Upload) -> str:
    """Upload a layout; return its name with its digest. Raises ProgramMissing, ProgramFailed."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(one.file) as tar:
        tar.extractall(folder, filter="data")
        return programs.run(programs.find("crane"), "push", folder, one.reference).strip()
