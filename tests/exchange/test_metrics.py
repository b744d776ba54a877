"""Metrics of the token service: a fixed set of labels, and values counted in batches."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Histogram

from podpass.exchange.errors import catalogue
from podpass.exchange.metrics import BUCKETS, OUTCOMES, ExchangeMetrics, observe_all

REQUESTS = "podpass_exchange_requests_total"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_responses_are_counted_by_outcome_and_version(registry: CollectorRegistry) -> None:
    meter = ExchangeMetrics(registry)
    meter("granted", 2, 0.0004)
    meter("granted", 2, 0.1)
    meter("AADSTS700213", 1, 0.003)
    assert _value(registry, REQUESTS, version="v2", outcome="granted") == 2
    assert _value(registry, REQUESTS, version="v1", outcome="AADSTS700213") == 1
    assert _value(registry, "podpass_exchange_request_seconds_count") == 3
    assert _value(registry, "podpass_exchange_request_seconds_bucket", le="0.004") == 2


def test_every_code_of_the_table_is_an_outcome() -> None:
    assert {entry.name for entry in catalogue.TABLE.values()} <= OUTCOMES


def test_caller_cannot_add_a_series(registry: CollectorRegistry) -> None:
    """A label value that callers can choose would fill the memory of every scraper."""
    meter = ExchangeMetrics(registry)
    for number in range(1000):
        meter(f"AADSTS{number}x", number, 0.001)
        meter.count_issuer_fetch(f"https://issuer{number}.example")
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
    meter = ExchangeMetrics(registry)
    meter.count_issuer_fetch("ok")
    meter.count_dropped_connection()
    assert _value(registry, "podpass_exchange_issuer_fetches_total", result="ok") == 1
    assert _value(registry, "podpass_exchange_dropped_connections_total") == 1


def test_responses_of_one_iteration_are_counted_together(registry: CollectorRegistry) -> None:
    async def in_one_iteration() -> None:
        meter = ExchangeMetrics(registry)
        for outcome in ("granted", "AADSTS700213", "granted"):
            meter(outcome, 2, 0.001)
        assert _value(registry, REQUESTS, version="v2", outcome="granted") == 0
        await asyncio.sleep(0)
        assert _value(registry, REQUESTS, version="v2", outcome="granted") == 2
        assert _value(registry, REQUESTS, version="v2", outcome="AADSTS700213") == 1
        assert _value(registry, "podpass_exchange_request_seconds_count") == 3

    asyncio.run(in_one_iteration())


def test_observe_all_equals_single_observations(registry: CollectorRegistry) -> None:
    amounts = [*BUCKETS, *(bound * 1.001 for bound in BUCKETS), 0.0, 1e9]
    together = Histogram("together", "x", buckets=BUCKETS, registry=registry)
    observe_all(together, amounts)
    single = Histogram("single", "x", buckets=BUCKETS, registry=registry)
    for amount in amounts:
        single.observe(amount)
    for bound in [*(str(float(bound)) for bound in BUCKETS), "+Inf"]:
        found = _value(registry, "together_bucket", le=bound)
        assert found is not None
        assert found == _value(registry, "single_bucket", le=bound)
    assert _value(registry, "together_count") == len(amounts)
    assert _value(registry, "together_sum") == pytest.approx(sum(amounts))
