"""The cache of built samples, and the readiness of each sample on this machine."""

import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kubeling.kubelet import prepared_container

from podpass.lab.cluster.samples import examples, ready
from podpass.lab.cluster.samples.examples import ExamplesMissing
from podpass.lab.cluster.samples.model import Readiness, Sample
from podpass.lab.cluster.samples.ready import SampleLookup

# Results of a build in the source folder.
_NOT_SOURCES = {"__pycache__", "node_modules", "target", "bin", "obj", "out", "environment"}
# The marker file that a complete build writes last.
COMPLETE = ".complete"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of built samples: `$XDG_CACHE_HOME/podpass/samples`."""
    given = environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that relative paths are ignored.
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "podpass" / "samples"


def source_folder(sample: Sample) -> Path:
    """Return the source folder of a sample. Raises ExamplesMissing."""
    return examples.find_example(f"samples/{sample.folder}")


def source_files(folder: Path) -> Iterator[Path]:
    """Yield the source files of a sample, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _NOT_SOURCES.intersection(path.relative_to(folder).parts):
            yield path


def hash_sources(folder: Path) -> str:
    """Return a hash of a sample's sources and of the Python version."""
    found = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for path in source_files(folder):
        data = path.read_bytes()
        found.update(f"{path.relative_to(folder)}\0{len(data)}\0".encode() + data)
    return found.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class SampleCache:
    """The folder of built samples, and the PATH with their tools."""

    root: Path
    path: str

    def build_folder(self, sample: Sample) -> Path:
        """Return the build folder of a sample; changed sources get another folder. Raises ExamplesMissing."""
        return self.root / f"{sample.name}-{hash_sources(source_folder(sample))}"

    def find(self, program: str) -> str | None:
        """Find a tool as the kubelet finds the program of a container."""
        return prepared_container.find_program(program, prepared_container.search_path(self.path))

    def has(self, program: str) -> bool:
        return self.find(program) is not None

    def readiness(self, sample: Sample) -> Readiness:
        """Return the command of a sample, or the reason why it cannot run."""
        try:
            return ready.decide_readiness(sample, self._look_up(sample), self.has)
        except ExamplesMissing as exc:
            return Readiness(command=(), why=exc.message, todo=exc.hint)

    def _look_up(self, sample: Sample) -> SampleLookup:
        place = self.build_folder(sample)
        built = place if (place / COMPLETE).exists() else None
        if built is None and sample.modules and all(map(is_importable, sample.modules)):
            return SampleLookup(built=None, sources=source_folder(sample), python=sys.executable)
        return SampleLookup(built=built)


def is_importable(module: str) -> bool:
    """Return whether a module is installed."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
