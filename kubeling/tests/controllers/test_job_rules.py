"""Counts, indexes and backoff of Jobs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeling.controllers import job_rules, pod_info

NOW = 1_767_225_600.0
JOB: Any = {"metadata": {"name": "j"}, "spec": {"backoffLimit": 6}}


def pod(
    name: str, phase: str = "Running", *, tracked: bool = True, **more: Any
) -> pod_info.PodInfo:
    finalizers = [pod_info.TRACKING] if tracked else []
    metadata = {"name": name, "namespace": "n", "uid": name, "finalizers": finalizers}
    ended = {"terminated": {"finishedAt": more.get("ended", "2026-01-01T00:00:00Z")}}
    status = {"phase": phase, "containerStatuses": [{"state": ended}]}
    return pod_info.read({"metadata": metadata, "status": status})


def test_finished_pod_is_uncounted_until_its_finalizer_is_removed() -> None:
    status: Any = {}
    job_rules.count_pods(JOB, status, [pod("a", "Succeeded"), pod("b", "Failed"), pod("c")])
    assert job_rules.uncounted_uids(status) == {"a", "b"}
    assert job_rules.outcome_counts(status) == (1, 1)
    job_rules.count_pods(JOB, status, [pod("a", "Succeeded"), pod("b", "Failed"), pod("c")])
    assert job_rules.outcome_counts(status) == (1, 1)
    job_rules.count_pods(JOB, status, [pod("a", "Succeeded", tracked=False), pod("c")])
    assert (status["succeeded"], status["failed"]) == (1, 1)
    assert not job_rules.uncounted_uids(status)


@given(st.lists(st.sampled_from(["end", "free", "crash", "count", "lose"]), max_size=40))
def test_each_pod_counts_exactly_once(steps: list[str]) -> None:
    """Fails if a reconcile that was interrupted between its writes counts a pod again."""
    status: Any = {}
    pods = {f"p{at}": "Running" for at in range(5)}
    tracked, ended = set(pods), 0
    for step in [*steps, "count", "free", "count"]:
        running = [name for name, phase in pods.items() if phase == "Running"]
        there = [pod(name, phase, tracked=name in tracked) for name, phase in pods.items()]
        if step == "end" and running:
            pods[running[0]], ended = "Succeeded", ended + 1
        elif step == "count":
            job_rules.count_pods(JOB, status, there)
        elif step == "crash":  # the count in memory is lost before it is written
            job_rules.count_pods(JOB, dict(status), there)
        elif step == "free":
            tracked -= job_rules.uncounted_uids(status)
        elif step == "lose":  # only a pod without a finalizer can be deleted
            for name in [name for name in pods if name not in tracked][:1]:
                del pods[name]
    assert job_rules.outcome_counts(status) == (ended, 0)


@pytest.mark.parametrize(
    ("indexes", "text"),
    [
        (set(), ""),
        ({3}, "3"),
        ({0, 1}, "0,1"),
        ({0, 1, 2}, "0-2"),
        ({0, 2, 4, 5, 6, 9}, "0,2,4-6,9"),
    ],
)
def test_indexes_are_formatted_as_ranges(indexes: set[int], text: str) -> None:
    assert job_rules.write_indexes(indexes) == text
    assert job_rules.read_indexes(text) == indexes


@given(st.sets(st.integers(0, 200)))
def test_formatted_indexes_round_trip(indexes: set[int]) -> None:
    assert job_rules.read_indexes(job_rules.write_indexes(indexes)) == indexes


def test_consecutive_failures_double_the_backoff() -> None:
    times = [f"2026-01-01T00:0{minute}:00Z" for minute in range(5)]
    failures = [pod(f"f{at}", "Failed", ended=each) for at, each in enumerate(times)]
    last = pod_info.seconds(times[-1])
    waits = [
        job_rules.backoff(failures[-count:], last) if count else job_rules.backoff([], last)
        for count in range(5)
    ]
    assert waits == [0, 10, 20, 40, 80]
    success = pod("s", "Succeeded", ended=times[2])
    assert job_rules.backoff([*failures, success], last) == 20
    assert job_rules.backoff(failures, last + 3600) == 0
