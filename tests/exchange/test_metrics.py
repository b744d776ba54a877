"""Metrics of the token service: closed sets of labels, whatever is asked."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Histogram

from podpass.exchange.errors import catalogue
from podpass.exchange.metrics import BUCKETS, OUTCOMES, BatchHistogram, Meter

REQUESTS = "podpass_exchange_requests_total"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_answers_are_counted_by_outcome_and_version(registry: CollectorRegistry) -> None:
    meter = Meter(registry)
    meter("granted", 2, 0.0004)
    meter("granted", 2, 0.1)
    meter("AADSTS700213", 1, 0.003)
    assert _value(registry, REQUESTS, version="v2", outcome="granted") == 2
    assert _value(registry, REQUESTS, version="v1", outcome="AADSTS700213") == 1
    assert _value(registry, "podpass_exchange_request_seconds_count") == 3
    assert _value(registry, "podpass_exchange_request_seconds_bucket", le="0.004") == 2


def test_every_code_of_the_table_is_an_outcome() -> None:
    assert {entry.name for entry in catalogue.TABLE.values()} <= OUTCOMES


def test_a_caller_cannot_make_a_series(registry: CollectorRegistry) -> None:
    """A label that follows what callers send fills the memory of everything that scrapes it."""
    meter = Meter(registry)
    for number in range(1000):
        meter(f"AADSTS{number}x", number, 0.001)
        meter.fetched(f"https://issuer{number}.example")
    series = [
        sample.labels
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == REQUESTS
    ]
    assert len(series) <= 4
    assert {label["outcome"] for label in series} <= {"granted", "other"}
    assert _value(registry, "podpass_exchange_issuer_fetches_total", result="failed") == 1000


def test_fetches_and_dropped_connections_are_counted(registry: CollectorRegistry) -> None:
    meter = Meter(registry)
    meter.fetched("ok")
    meter.dropped()
    assert _value(registry, "podpass_exchange_issuer_fetches_total", result="ok") == 1
    assert _value(registry, "podpass_exchange_dropped_connections_total") == 1


def test_what_is_answered_in_one_turn_is_counted_together(registry: CollectorRegistry) -> None:
    async def in_one_turn() -> None:
        meter = Meter(registry)
        for outcome in ("granted", "AADSTS700213", "granted"):
            meter(outcome, 2, 0.001)
        assert _value(registry, REQUESTS, version="v2", outcome="granted") == 0
        await asyncio.sleep(0)
        assert _value(registry, REQUESTS, version="v2", outcome="granted") == 2
        assert _value(registry, REQUESTS, version="v2", outcome="AADSTS700213") == 1
        assert _value(registry, "podpass_exchange_request_seconds_count") == 3

    asyncio.run(in_one_turn())


def test_amounts_observed_together_fall_where_they_would_one_by_one(
    registry: CollectorRegistry,
) -> None:
    amounts = [*BUCKETS, *(bound * 1.001 for bound in BUCKETS), 0.0, 1e9]
    together = BatchHistogram("together", "x", buckets=BUCKETS, registry=registry)
    together.observe_all(amounts)
    single = Histogram("single", "x", buckets=BUCKETS, registry=registry)
    for amount in amounts:
        single.observe(amount)
    for bound in [*(str(float(bound)) for bound in BUCKETS), "+Inf"]:
        found = _value(registry, "together_bucket", le=bound)
        assert found is not None
        assert found == _value(registry, "single_bucket", le=bound)
    assert _value(registry, "together_count") == len(amounts)
    assert _value(registry, "together_sum") == pytest.approx(sum(amounts))
