"""The soak's checks of restart times, floods, memory and series of samples."""

import math
import os
import signal
import subprocess
import sys

import pytest

from tests.soak.flood import check_ratio
from tests.soak.mixed_load import check_flat
from tests.soak.parts import check_restarts
from tests.soak.report import Violation
from tests.soak.sampling import ProcessSample, ProcessSampler, descriptors, memory, slope


def test_slow_restarts_fail_and_a_single_slow_restart_does_not() -> None:
    check_restarts([1.0] * 19 + [9.0], 100_000)
    with pytest.raises(Violation, match=r"9\.00 s with 100,000 credentials"):
        check_restarts([1.0] * 17 + [9.0] * 3, 100_000)


def test_restart_time_of_an_empty_directory_is_not_checked() -> None:
    check_restarts([9.0], 0)


def test_flood_that_more_than_doubles_p99_fails() -> None:
    check_ratio({"kinds": {"huge": {"ratio": 2.0}, "issuers": {"ratio": 0.9}}})
    with pytest.raises(Violation, match="a flood of issuers"):
        check_ratio({"kinds": {"huge": {"ratio": 2.0}, "issuers": {"ratio": 2.01}}})


def test_growing_process_fails() -> None:
    check_flat({"processes": {"master": {"flat": True}}})
    with pytest.raises(Violation, match="worker 1 grew"):
        check_flat({"processes": {"master": {"flat": True}, "worker 1": {"flat": False}}})


def samples(*figures: float) -> list[ProcessSample]:
    return [
        ProcessSample(at=place, memory_mb=figure, descriptors=int(figure), threads=1)
        for place, figure in enumerate(figures)
    ]


def test_slow_endless_growth_is_detected() -> None:
    grows = samples(*(80 + place * 0.2 for place in range(200)))
    assert not memory(grows).flat
    assert not descriptors(grows).flat


def test_warm_up_variation_and_one_peak_are_not_growth() -> None:
    figures = [80 + 10 * (1 - math.exp(-place / 8)) + math.sin(place) for place in range(200)]
    figures[150] = 300
    assert memory(samples(*figures)).flat
    assert descriptors(samples(*figures)).flat


def test_slope_equals_the_slope_of_the_line() -> None:
    assert slope([(0, 1), (1, 3), (2, 5), (3, 7)]) == 2
    assert slope([(0, 1)]) == 0


def test_child_processes_are_sampled() -> None:
    program = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        sampler = ProcessSampler()
        while len(sampler.samples) < 2:
            sampler.record([("parent", parent.pid)])
        names = sorted(sampler.samples)
        child = int(names[1].rpartition(" ")[2])
        parent.kill()
        os.kill(child, signal.SIGTERM)
    assert names[0] == f"parent, pid {parent.pid}"
    assert all(each[0].memory_mb > 0 for each in sampler.samples.values())
