"""Sizes of the ReplicaSets during a rollout: the bounds hold at every step, whichever pods fail."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeling.controllers import deployments, rollout
from tests.examples import examples

NOW = 1_767_225_600.0


def replica_set(name: str, size: int, available: int = 0, **annotations: str) -> Any:
    marks = {
        f"deployment.kubernetes.io/{key.replace('_', '-')}": value
        for key, value in annotations.items()
    }
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": f"2026-01-01T00:00:0{name[-1]}Z",
            "annotations": marks,
        },
        "spec": {"replicas": size, "template": {"spec": {"name": name}}},
        "status": {"replicas": size, "availableReplicas": available},
    }


def deployment(replicas: int, surge: Any = "25%", unavailable: Any = "25%") -> Any:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    spec = {"replicas": replicas, "strategy": strategy, "progressDeadlineSeconds": 60}
    return {"metadata": {"name": "d", "generation": 1}, "spec": spec}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, "25%", "25%", (1, 1)),
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (1, 0, "25%", (0, 1)),
        (2, "0%", "10%", (0, 1)),
        (3, 0, 5, (0, 3)),
        (0, "25%", "25%", (0, 0)),
    ],
)
def test_percentages_are_rounded_as_in_kubernetes(
    replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]
) -> None:
    assert rollout.bounds(deployment(replicas, surge, unavailable)) == expected


def shrunk(each: Any, count: int) -> None:
    """Delete pods of a ReplicaSet, unavailable pods first."""
    each["spec"]["replicas"] = count
    each["status"]["availableReplicas"] = min(each["status"]["availableReplicas"], count)


@settings(max_examples=examples(100))
@given(
    st.integers(1, 30),
    st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda each: f"{each}%")),
    st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda each: f"{each}%")),
    st.data(),
)
def test_rollout_stays_within_bounds_and_completes(
    replicas: int, surge: Any, unavailable: Any, data: st.DataObject
) -> None:
    wanted = deployment(replicas, surge, unavailable)
    most, least = rollout.max_replicas(wanted), replicas - rollout.bounds(wanted)[1]
    split = data.draw(st.integers(0, replicas))
    olds = [
        replica_set("old-1", split, split),
        replica_set("old-2", replicas - split, replicas - split),
    ]
    new = replica_set("new-3", 0)
    for _ in range(500):
        every = [*olds, new]
        new["spec"]["replicas"] = rollout.new_size(wanted, every, new)
        assert rollout.total(every) <= max(most, replicas)
        for name, count in rollout.old_sizes(wanted, new, olds).items():
            shrunk(next(each for each in olds if each["metadata"]["name"] == name), count)
        assert sum(rollout.available(each) for each in every) >= least
        if rollout.total(olds) == 0 and rollout.available(new) == replicas:
            return
        starting = rollout.replicas_of(new) - rollout.available(new)
        new["status"]["availableReplicas"] += data.draw(st.integers(min(starting, 1), starting))
    raise AssertionError("the rollout did not complete")


def test_unavailable_pods_are_removed_first() -> None:
    wanted = deployment(4)
    broken, works = replica_set("old-1", 3, 0), replica_set("old-2", 2, 2)
    new = replica_set("new-3", 0)
    assert rollout.old_sizes(wanted, new, [works, broken]) == {"old-1": 1}


@pytest.mark.parametrize(
    ("replicas", "sizes", "expected"),
    [
        (20, (("old-1", 8), ("new-2", 5)), {"old-1": 15, "new-2": 10}),
        (5, (("old-1", 8), ("new-2", 5)), {"old-1": 4, "new-2": 3}),
        (0, (("old-1", 8), ("new-2", 5)), {"old-1": 0, "new-2": 0}),
    ],
)
def test_new_size_is_distributed_in_proportion(
    replicas: int, sizes: tuple[tuple[str, int], ...], expected: dict[str, int]
) -> None:
    """The annotations record a Deployment of 10 pods with a surge of 3."""
    old, new = (replica_set(n, s, desired_replicas="10", max_replicas="13") for n, s in sizes)
    wanted = deployment(replicas)
    assert rollout.is_scaling_event(wanted, [old, new])
    assert rollout.scale_all(wanted, new, [old]) == expected


@settings(max_examples=examples(100))
@given(st.integers(0, 60), st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_distributed_sizes_match_the_total_and_the_direction(
    replicas: int, sizes: list[int]
) -> None:
    before = str(sum(sizes))
    sets = [
        replica_set(f"rs-{at}", each, desired_replicas="7", max_replicas=before)
        for at, each in enumerate(sizes)
    ]
    wanted = deployment(replicas, surge=1)
    found = rollout.scale_all(wanted, sets[-1], sets[:-1])
    most = rollout.max_replicas(wanted) if replicas else 0
    assert all(count >= 0 for count in found.values())
    if most >= sum(sizes):
        assert sum(found.values()) == most
    else:
        assert sum(found.values()) >= most
        assert all(found[f"rs-{at}"] <= each for at, each in enumerate(sizes))


def test_complete_new_replica_set_scales_old_ones_to_zero() -> None:
    new = replica_set("new-2", 4, 4, desired_replicas="4")
    assert rollout.scale_all(deployment(4), new, [replica_set("old-1", 1, 1)]) == {"old-1": 0}


def test_template_hash_depends_only_on_the_template() -> None:
    template = {"spec": {"containers": [{"name": "c"}], "a": 1}}
    reordered = {"spec": {"a": 1, "containers": [{"name": "c"}]}}
    assert rollout.template_hash(template, 0) == rollout.template_hash(reordered, 0)
    assert rollout.template_hash(template, 0) != rollout.template_hash(template, 1)
    assert not set(rollout.template_hash(template, 0)) & set("aeiou013")


def test_latest_revisions_and_revisions_with_pods_stay() -> None:
    wanted = deployment(1)
    wanted["spec"]["revisionHistoryLimit"] = 1
    olds = [replica_set(f"rs-{at}", 0, revision=str(at)) for at in (1, 2, 3)]
    olds[0]["spec"]["replicas"] = 1
    gone = rollout.over_history_limit(wanted, olds)
    assert [each["metadata"]["name"] for each in gone] == ["rs-2"]


def progressing(status: Any) -> Any:
    known = deployments.condition(status, "Progressing")
    assert known is not None
    return known


def test_progress_restarts_the_deadline() -> None:
    wanted, new = deployment(2), replica_set("new-1", 2)
    status = deployments.calculate_status(wanted, new, [new], NOW)
    deployments.update_progress(wanted, status, new, [new], NOW)
    wanted["status"] = copy.deepcopy(status)
    assert progressing(status)["reason"] == "ReplicaSetUpdated"
    assert deployments.seconds_until_timeout(wanted, status, NOW) == 61
    new["status"]["availableReplicas"] = 1
    later = deployments.calculate_status(wanted, new, [new], NOW + 50)
    deployments.update_progress(wanted, later, new, [new], NOW + 50)
    wanted["status"] = copy.deepcopy(later)
    assert not deployments.is_timed_out(wanted, later, NOW + 100)
    last = deployments.calculate_status(wanted, new, [new], NOW + 111)
    deployments.update_progress(wanted, last, new, [new], NOW + 111)
    assert (progressing(last)["status"], progressing(last)["reason"]) == (
        "False",
        "ProgressDeadlineExceeded",
    )


def test_completed_rollout_stays_complete_after_a_pod_is_lost() -> None:
    wanted, new = deployment(2), replica_set("new-1", 2, 2)
    status = deployments.calculate_status(wanted, new, [new], NOW)
    deployments.update_progress(wanted, status, new, [new], NOW)
    wanted["status"] = copy.deepcopy(status)
    assert progressing(status)["reason"] == "NewReplicaSetAvailable"
    new["status"]["availableReplicas"] = 0
    later = deployments.calculate_status(wanted, new, [new], NOW + 1000)
    deployments.update_progress(wanted, later, new, [new], NOW + 1000)
    assert progressing(later)["reason"] == "NewReplicaSetAvailable"
    available = deployments.condition(later, "Available")
    assert available is not None
    assert available["status"] == "False"
