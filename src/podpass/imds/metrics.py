"""The sidecar's metrics."""

from collections import Counter

OUTCOMES = ("cached", "acquired", "failed", "bad_request", "refused", "forwarded")


class ProxyMetrics:
    """Counts requests by outcome."""

    def __init__(self) -> None:
        self.requests = Counter(dict.fromkeys(OUTCOMES, 0))

    def render(self) -> bytes:
        """Return the metrics in Prometheus text format."""
        # Imported here, because most sidecars are never scraped and the library costs memory.
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(
            "podpass_proxy_requests", "Requests to the sidecar, by outcome.", labels=["outcome"]
        )
        for outcome, count in self.requests.items():
            family.add_metric([outcome], count)

        class OneFamily:
            def collect(self) -> list[CounterMetricFamily]:
                return [family]

        registry = CollectorRegistry()
        registry.register(OneFamily())
        return generate_latest(registry)
