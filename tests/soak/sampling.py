"""Memory and descriptors of processes over time, and whether they stay flat."""

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# What an allocator and caches that fill may still take after the first quarter of a run: this share of the
# median, and no less than so many megabytes.
MEMORY_SHARE, MEMORY_MB = 0.10, 8.0
DESCRIPTORS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One process at one moment.

    Units:   `at` by the monotonic clock.
    """

    at: float
    memory_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """What a figure did over a run: its median, and by how much its line rises from the first quarter on."""

    median: float
    rise: float
    allowed: float

    @property
    def flat(self) -> bool:
        return self.rise <= self.allowed


def tree(pid: int) -> list[int]:
    """Give a process and all that it started."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(each) for each in _read(children).split()]
    return found


def sample(pid: int) -> Sample | None:
    """Look at a process; None if it is gone."""
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
    return Sample(at=time.monotonic(), memory_mb=memory, descriptors=descriptors, threads=threads)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


class Sampler:
    """Samples of processes by name."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = {}

    def take(self, named: Iterable[tuple[str, int]]) -> None:
        """Look at each process, and at what it started."""
        for name, root in named:
            for place, pid in enumerate(tree(root)):
                if (seen := sample(pid)) is not None:
                    key = f"{name}, pid {pid}" if place == 0 else f"{name}, worker pid {pid}"
                    self.samples.setdefault(key, []).append(seen)


def memory(samples: Sequence[Sample]) -> Trend:
    """Judge the memory of one process."""
    values = [(one.at, one.memory_mb) for one in samples]
    median = statistics.median(value for _, value in values)
    return _trend(values, max(MEMORY_SHARE * median, MEMORY_MB))


def descriptors(samples: Sequence[Sample]) -> Trend:
    """Judge the descriptors of one process."""
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
    """Give the median of the slopes between all pairs of points, which single peaks do not move."""
    step = max(1, len(points) // 200)
    chosen = points[::step]
    slopes = [
        (second[1] - first[1]) / (second[0] - first[0])
        for place, first in enumerate(chosen)
        for second in chosen[place + 1 :]
        if second[0] > first[0]
    ]
    return statistics.median(slopes) if slopes else 0.0
