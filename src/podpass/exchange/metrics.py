"""Prometheus metrics of the token service. Label values are from fixed sets: no caller can add a series."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from podpass.exchange.errors import catalogue
from podpass.exchange.signing.signer import BATCH, OPENSSL
from podpass.tasks import CoalescedCallback

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

GRANTED = "granted"
THROTTLED = "throttled"
OTHER = "other"
OUTCOMES = frozenset({GRANTED, THROTTLED, *(entry.name for entry in catalogue.TABLE.values())})
VERSIONS = {1: "v1", 2: "v2"}
FETCH_RESULTS = frozenset({"ok", "failed"})
# In seconds: half a millisecond is a fast exchange, three seconds the longest fetch of an issuer's keys.
BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8)


class RequestObserver(Protocol):
    """Records each response of the token endpoint.

    Units: `seconds` from the complete request to its response.
    """

    def __call__(self, outcome: str, version: int, seconds: float) -> None: ...


class ExchangeMetrics:
    """Record metrics in a Prometheus registry; an instance is a RequestObserver and a SignatureMetrics.

    A write to a value that several processes share is slow, so the responses of one event-loop iteration are
    counted together at its end.
    """

    def __init__(self, registry: "CollectorRegistry") -> None:
        # Imported here: a process without metrics does not need it.
        from prometheus_client import Counter, Histogram

        self._requests = Counter(
            "podpass_exchange_requests",
            "Responses of the token endpoint, by outcome: granted, throttled, or the AADSTS code",
            ("version", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "podpass_exchange_request_seconds",
            "Response time of the token endpoint",
            buckets=BUCKETS,
            registry=registry,
        )
        self._fetches = Counter(
            "podpass_exchange_issuer_fetches",
            "Documents fetched from issuers, two for each fetch of keys, by result: ok or failed",
            ("result",),
            registry=registry,
        )
        self._dropped_connections = Counter(
            "podpass_exchange_dropped_connections",
            "Connections closed before TLS or the next request, because their address sends only"
            " refused requests or has too many connections",
            registry=registry,
        )
        self._signatures = Counter(
            "podpass_exchange_signatures",
            "Token signatures: one at a time by openssl, or several together by the batch signer",
            ("by",),
            registry=registry,
        )
        self._disabled_batch_signers = Counter(
            "podpass_exchange_batch_signer_disabled",
            "Workers that sign only with OpenSSL because the batch signer failed",
            registry=registry,
        )
        for by in (OPENSSL, BATCH):
            self._signatures.labels(by)
        for version in VERSIONS.values():
            self._requests.labels(version, GRANTED)
        for result in FETCH_RESULTS:
            self._fetches.labels(result)
        self._counters: dict[tuple[int, str], Counter] = {}
        self._pending: list[tuple[int, str, float]] = []
        self._count_later = CoalescedCallback(self._count_pending)

    def __call__(self, outcome: str, version: int, seconds: float) -> None:
        self._pending.append((version, outcome, seconds))
        self._count_later.schedule()

    def _count_pending(self) -> None:
        pending, self._pending = self._pending, []
        responses = [(version, outcome) for version, outcome, _ in pending]
        for version, outcome in set(responses):
            counter = self._counters.get((version, outcome)) or self._counter(version, outcome)
            counter.inc(responses.count((version, outcome)))
        observe_all(self._seconds, [seconds for _, _, seconds in pending])

    def _counter(self, version: int, outcome: str) -> "Counter":
        label = outcome if outcome in OUTCOMES else OTHER
        counter = self._requests.labels(VERSIONS.get(version, VERSIONS[2]), label)
        if label is outcome and version in VERSIONS:
            self._counters[version, outcome] = counter
        return counter

    def count_issuer_fetch(self, result: str) -> None:
        """Count a document fetched from an issuer."""
        self._fetches.labels(result if result in FETCH_RESULTS else "failed").inc()

    def count_signatures(self, by: str, count: int) -> None:
        """Count token signatures."""
        self._signatures.labels(by).inc(count)

    def count_batch_signer_disabled(self) -> None:
        """Count a batch signer that failed and is no longer used."""
        self._disabled_batch_signers.inc()

    def count_dropped_connection(self) -> None:
        """Count a connection that was closed without a response."""
        self._dropped_connections.inc()


def observe_all(histogram: "Histogram", amounts: Sequence[float]) -> None:
    """Observe several amounts, with one write for each value that processes share.

    An amount counts in the first bucket whose upper bound it does not exceed.
    """
    bounds, buckets = histogram._upper_bounds, histogram._buckets  # noqa: SLF001 no public method for this
    histogram._sum.inc(sum(amounts))  # noqa: SLF001
    indexes = [bisect_left(bounds, amount) for amount in amounts]
    for index in set(indexes):
        buckets[index].inc(indexes.count(index))
