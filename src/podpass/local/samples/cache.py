"""Samples as they lie on this machine: sources, built folders, and what is known of each."""

import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from podpass.kubernetes.kubelet import programs
from podpass.local import examples
from podpass.local.examples import ExamplesMissing
from podpass.local.samples import ready
from podpass.local.samples.model import Readiness, Sample
from podpass.local.samples.ready import Found

# What building in place leaves among the sources.
_NOT_SOURCES = {"__pycache__", "node_modules", "target", "bin", "obj", "out", "environment"}
# The last thing a build writes into its folder.
COMPLETE = ".complete"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Choose where built samples are kept: `$XDG_CACHE_HOME/podpass/samples`."""
    given = environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "podpass" / "samples"


def sources(sample: Sample) -> Path:
    """Find a sample's sources.

    Errors:  ExamplesMissing.
    """
    return examples.find(f"samples/{sample.folder}")


def source_files(folder: Path) -> Iterator[Path]:
    """Walk a sample's own files, in an order that does not change."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _NOT_SOURCES.intersection(path.relative_to(folder).parts):
            yield path


def digest(folder: Path) -> str:
    """Name the content of a sample's sources, for this version of Python."""
    found = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for path in source_files(folder):
        data = path.read_bytes()
        found.update(f"{path.relative_to(folder)}\0{len(data)}\0".encode() + data)
    return found.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class SampleCache:
    """The folder of built samples, and the PATH on which their tools are looked for."""

    root: Path
    path: str

    def place(self, sample: Sample) -> Path:
        """Name the folder of a sample's build: other sources, other folder.

        Errors:  ExamplesMissing.
        """
        return self.root / f"{sample.name}-{digest(sources(sample))}"

    def find(self, program: str) -> str | None:
        """Find a tool as the runtime finds a container's program."""
        return programs.find(program, programs.search_path(self.path))

    def has(self, program: str) -> bool:
        return self.find(program) is not None

    def readiness(self, sample: Sample) -> Readiness:
        """Say how a sample runs here, or why it cannot."""
        try:
            return ready.judge(sample, self._look_up(sample), self.has)
        except ExamplesMissing as exc:
            return Readiness(command=(), why=exc.message, todo=exc.hint)

    def _look_up(self, sample: Sample) -> Found:
        place = self.place(sample)
        built = place if (place / COMPLETE).exists() else None
        if built is None and sample.modules and all(map(_importable, sample.modules)):
            return Found(built=None, sources=sources(sample), python=sys.executable)
        return Found(built=built)


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent is there
        return False
