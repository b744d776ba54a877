"""Memory and file descriptors of processes over time, and whether they stay constant."""

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# The growth that is allowed after the first quarter of a run, for the allocator and for caches that fill:
# this share of the median, and at least this number of megabytes.
MEMORY_SHARE, MEMORY_MB = 0.10, 8.0
DESCRIPTORS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSample:
    """Memory, descriptors and threads of one process at one time.

    Units: `at` is a time of the monotonic clock.
    """

    at: float
    memory_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The trend of a value: its median, and the rise of its line after the first quarter of the run."""

    median: float
    rise: float
    allowed: float

    @property
    def flat(self) -> bool:
        return self.rise <= self.allowed


def process_tree(pid: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(each) for each in _read(children).split()]
    return found


def sample_process(pid: int) -> ProcessSample | None:
    """Return a sample of a process, or None if it has ended."""
    fields = dict(
        line.split(":", 1)
        for line in _read(Path(f"/proc/{pid}/status")).splitlines()
        if ":" in line
    )
    try:
        descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        memory = int(fields["VmRSS"].split()[0]) / 1024
        threads = int(fields["Threads"])
    except (OSError, KeyError):
        return None
    return ProcessSample(
        at=time.monotonic(), memory_mb=memory, descriptors=descriptors, threads=threads
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


class ProcessSampler:
    """Collects samples of processes by name."""

    def __init__(self) -> None:
        self.samples: dict[str, list[ProcessSample]] = {}

    def record(self, named: Iterable[tuple[str, int]]) -> None:
        """Sample each process and its descendants."""
        for name, root in named:
            for depth, pid in enumerate(process_tree(root)):
                if (seen := sample_process(pid)) is not None:
                    key = f"{name}, pid {pid}" if depth == 0 else f"{name}, worker pid {pid}"
                    self.samples.setdefault(key, []).append(seen)


def memory(samples: Sequence[ProcessSample]) -> Trend:
    """Return the trend of the memory of one process."""
    values = [(one.at, one.memory_mb) for one in samples]
    median = statistics.median(value for _, value in values)
    return _trend(values, max(MEMORY_SHARE * median, MEMORY_MB))


def descriptors(samples: Sequence[ProcessSample]) -> Trend:
    """Return the trend of the file descriptors of one process."""
    return _trend([(one.at, float(one.descriptors)) for one in samples], DESCRIPTORS)


def _trend(values: Sequence[tuple[float, float]], allowed: float) -> Trend:
    settled = values[len(values) // 4 :]
    seconds = settled[-1][0] - settled[0][0]
    return Trend(
        median=statistics.median(value for _, value in settled),
        rise=slope(settled) * seconds,
        allowed=allowed,
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between all pairs of points; single peaks do not change it."""
    step = max(1, len(points) // 200)
    chosen = points[::step]
    slopes = [
        (second[1] - first[1]) / (second[0] - first[0])
        for place, first in enumerate(chosen)
        for second in chosen[place + 1 :]
        if second[0] > first[0]
    ]
    return statistics.median(slopes) if slopes else 0.0
