"""Edge cases of disruption budgets."""

from typing import Any

import pytest

from kubeling.apiserver.registry import eviction
from kubeling.apiserver.status import StatusError

NOW = 1_767_225_600.0


def budget(generation: int = 1, **status: Any) -> Any:
    metadata = {"name": "b", "generation": generation}
    return {"metadata": metadata, "spec": {}, "status": {"observedGeneration": 1, **status}}


def test_disruption_is_decremented_and_the_pod_recorded() -> None:
    spent = eviction.check_and_decrement(budget(disruptionsAllowed=1), "p", NOW)
    assert spent["disruptionsAllowed"] == 0
    assert spent["disruptedPods"] == {"p": "2026-01-01T00:00:00Z"}
    assert spent["conditions"][0]["reason"] == "InsufficientPods"


def test_eviction_is_refused_while_the_budget_status_is_outdated() -> None:
    """Fails if the status of an older generation of a budget is used."""
    with pytest.raises(StatusError) as caught:
        eviction.check_and_decrement(budget(generation=2, disruptionsAllowed=1), "p", NOW)
    assert (caught.value.status, caught.value.retry_after) == (429, 10)


def test_too_many_disrupted_pods_are_refused() -> None:
    under_way = {f"p-{number}": "2026-01-01T00:00:00Z" for number in range(2001)}
    with pytest.raises(StatusError) as caught:
        eviction.check_and_decrement(
            budget(disruptionsAllowed=1, disruptedPods=under_way), "p", NOW
        )
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 7}, (3, 7)),
        ({"minAvailable": "34%"}, (10, 4)),
        ({"maxUnavailable": "34%"}, (10, 6)),
        ({"maxUnavailable": 0}, (10, 10)),
        ({}, (3, 0)),
    ],
)
def test_percentages_are_of_expected_pods_rounded_up(spec: Any, expected: tuple[int, int]) -> None:
    found = eviction.expected_counts(spec, 3, 10)
    assert (found.expected, found.desired) == expected
