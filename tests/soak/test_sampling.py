"""What a soak calls flat, and what it calls growth."""

import math
import os
import signal
import subprocess
import sys

from tests.soak.sampling import Sample, Sampler, descriptors, memory, slope


def samples(*figures: float) -> list[Sample]:
    return [
        Sample(at=place, memory_mb=figure, descriptors=int(figure), threads=1)
        for place, figure in enumerate(figures)
    ]


def test_a_process_that_grows_by_little_and_without_end_is_seen() -> None:
    grows = samples(*(80 + place * 0.2 for place in range(200)))
    assert not memory(grows).flat
    assert not descriptors(grows).flat


def test_a_process_that_warms_up_breathes_and_peaks_once_is_flat() -> None:
    figures = [80 + 10 * (1 - math.exp(-place / 8)) + math.sin(place) for place in range(200)]
    figures[150] = 300
    assert memory(samples(*figures)).flat
    assert descriptors(samples(*figures)).flat


def test_the_slope_is_that_of_the_line() -> None:
    assert slope([(0, 1), (1, 3), (2, 5), (3, 7)]) == 2
    assert slope([(0, 1)]) == 0


def test_what_a_process_started_is_looked_at_too() -> None:
    program = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        sampler = Sampler()
        while len(sampler.samples) < 2:
            sampler.take([("parent", parent.pid)])
        names = sorted(sampler.samples)
        child = int(names[1].rpartition(" ")[2])
        parent.kill()
        os.kill(child, signal.SIGTERM)
    assert names[0] == f"parent, pid {parent.pid}"
    assert all(each[0].memory_mb > 0 for each in sampler.samples.values())
