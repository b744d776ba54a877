"""The signer's metrics and readiness."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from podpass.errors import Error
from podpass.servers.signer.keys import FolderKeySource

if TYPE_CHECKING:
    from prometheus_client.core import Metric

METHODS = ("Sign", "FetchKeys", "Metadata")
OUTCOMES = ("succeeded", "refused", "failed")


class SignerMetrics:
    """Counts requests by method and outcome, and reports the keys."""

    def __init__(self, source: FolderKeySource) -> None:
        self._source = source
        self.requests = Counter(
            {(method, outcome): 0 for method in METHODS for outcome in OUTCOMES}
        )

    def not_ready_reason(self) -> str | None:
        """Return why the signer cannot sign, or None."""
        try:
            self._source.current()
        except Error as exc:
            return exc.message
        return None

    def render(self) -> bytes:
        """Return the metrics in Prometheus text format."""
        from prometheus_client import CollectorRegistry, generate_latest

        families = list(self._families())

        class SignerFamilies:
            def collect(self) -> "list[Metric]":
                return families

        registry = CollectorRegistry()
        registry.register(SignerFamilies())
        return generate_latest(registry)

    def _families(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        requests = CounterMetricFamily(
            "podpass_signer_requests",
            "Requests of API servers, by method and outcome.",
            labels=["method", "outcome"],
        )
        for (method, outcome), count in self.requests.items():
            requests.add_metric([method, outcome], count)
        yield requests
        failures = CounterMetricFamily(
            "podpass_signer_key_read_failures", "Times that the key folder could not be read."
        )
        failures.add_metric([], self._source.failures)
        yield failures
        try:
            keys = self._source.current()
        except Error:
            return
        active = GaugeMetricFamily(
            "podpass_signer_active_key", "The key that signs.", labels=["kid"]
        )
        active.add_metric([keys.active.kid], 1)
        yield active
        yield GaugeMetricFamily(
            "podpass_signer_accepted_keys",
            "Keys that API servers accept.",
            value=len(keys.accepted),
        )
