"""The sidecar's metrics."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from podpass.clock import Clock
from podpass.imds.token_cache import TokenCache

if TYPE_CHECKING:
    from prometheus_client.core import Metric

OUTCOMES = ("cached", "acquired", "failed", "bad_request", "refused", "forwarded")


class ProxyMetrics:
    """Counts requests by outcome, and reports the age of the tokens."""

    def __init__(self, cache: TokenCache, clock: Clock) -> None:
        self.requests = Counter(dict.fromkeys(OUTCOMES, 0))
        self._cache = cache
        self._clock = clock

    def render(self) -> bytes:
        """Return the metrics in Prometheus text format."""
        # Imported here, because most sidecars are never scraped and the library costs memory.
        from prometheus_client import CollectorRegistry, generate_latest

        families = list(self._families())

        class Families:
            def collect(self) -> "list[Metric]":
                return families

        registry = CollectorRegistry()
        registry.register(Families())
        return generate_latest(registry)

    def _families(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        requests = CounterMetricFamily(
            "podpass_proxy_requests", "Requests to the sidecar, by outcome.", labels=["outcome"]
        )
        for outcome, count in self.requests.items():
            requests.add_metric([outcome], count)
        yield requests
        cache, status = self._cache, self._cache.status()
        exchanges = CounterMetricFamily(
            "podpass_proxy_exchanges", "Requests to the authority, by outcome.", labels=["outcome"]
        )
        exchanges.add_metric(["succeeded"], cache.refreshes)
        exchanges.add_metric(["failed"], cache.failures)
        yield exchanges
        if cache.refreshed_at:
            yield GaugeMetricFamily(
                "podpass_proxy_last_refresh_age_seconds",
                "Time since the authority last returned a token.",
                value=max(0.0, self._clock() - cache.refreshed_at),
            )
        yield GaugeMetricFamily(
            "podpass_proxy_refresh_overdue_seconds",
            "Longest time for which the refresh of a token in use has been due; 0 if none is.",
            value=status.overdue_seconds,
        )
        yield GaugeMetricFamily(
            "podpass_proxy_tokens",
            "Tokens that programs used in the last 10 minutes.",
            value=status.tokens,
        )
        yield GaugeMetricFamily(
            "podpass_proxy_expired_tokens",
            "Tokens in use that expired because their refresh failed.",
            value=status.expired,
        )
