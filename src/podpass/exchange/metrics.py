"""What the token service counts, for Prometheus. Labels come from closed sets: no caller can add a series.

In: outcomes as the edge names them. Out: counters and a histogram, in whatever registry they are made for.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from prometheus_client import Histogram

from podpass.exchange.errors import catalogue
from podpass.exchange.signing.signer import SINGLY, TOGETHER
from podpass.tasks import EndOfTurn

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter

GRANTED = "granted"
THROTTLED = "throttled"
OTHER = "other"
OUTCOMES = frozenset({GRANTED, THROTTLED, *(entry.name for entry in catalogue.TABLE.values())})
VERSIONS = {1: "v1", 2: "v2"}
FETCHES = frozenset({"ok", "failed"})
# Half a millisecond is a quick exchange, three seconds the longest fetch of an issuer's keys.
BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8)


class Observe(Protocol):
    """Whoever is told of each answer of the token endpoint.

    Units:   `seconds` from when the whole request is there to its answer.
    """

    def __call__(self, outcome: str, version: int, seconds: float) -> None: ...


class Meter:
    """Count in Prometheus's words; it is an Observe.

    Values that several processes share take long to write, so the answers of one turn of the event loop
    are counted together at its end.
    """

    def __init__(self, registry: "CollectorRegistry") -> None:
        # A process without metrics needs none of it.
        from prometheus_client import Counter

        from podpass.exchange.metrics import BatchHistogram

        self._requests = Counter(
            "podpass_exchange_requests",
            "Answers of the token endpoint, by outcome: granted, throttled, or the AADSTS code",
            ("version", "outcome"),
            registry=registry,
        )
        self._seconds = BatchHistogram(
            "podpass_exchange_request_seconds",
            "How long the token endpoint took to answer",
            buckets=BUCKETS,
            registry=registry,
        )
        self._fetches = Counter(
            "podpass_exchange_issuer_fetches",
            "Documents asked of issuers, two for a fetch of keys, by result: ok or failed",
            ("result",),
            registry=registry,
        )
        self._dropped = Counter(
            "podpass_exchange_dropped_connections",
            "Connections closed before TLS or another request, since their address sends nothing but"
            " refused requests, or has too many",
            registry=registry,
        )
        self._signatures = Counter(
            "podpass_exchange_signatures",
            "Signatures of tokens: made singly by openssl, or several at once by the multibuffer library",
            ("by",),
            registry=registry,
        )
        self._given_up = Counter(
            "podpass_exchange_multibuffer_given_up",
            "Workers that sign by openssl alone since the multibuffer library failed",
            registry=registry,
        )
        for by in (SINGLY, TOGETHER):
            self._signatures.labels(by)
        for version in VERSIONS.values():
            self._requests.labels(version, GRANTED)
        for result in FETCHES:
            self._fetches.labels(result)
        self._counters: dict[tuple[int, str], Counter] = {}
        self._waiting: list[tuple[int, str, float]] = []
        self._turn = EndOfTurn(self._count)

    def __call__(self, outcome: str, version: int, seconds: float) -> None:
        self._waiting.append((version, outcome, seconds))
        self._turn.want()

    def _count(self) -> None:
        waiting, self._waiting = self._waiting, []
        answers = [(version, outcome) for version, outcome, _ in waiting]
        for version, outcome in set(answers):
            counter = self._counters.get((version, outcome)) or self._find(version, outcome)
            counter.inc(answers.count((version, outcome)))
        self._seconds.observe_all([seconds for _, _, seconds in waiting])

    def _find(self, version: int, outcome: str) -> "Counter":
        known = outcome if outcome in OUTCOMES else OTHER
        counter = self._requests.labels(VERSIONS.get(version, VERSIONS[2]), known)
        if known is outcome and version in VERSIONS:
            self._counters[version, outcome] = counter
        return counter

    def fetched(self, result: str) -> None:
        """Count a fetch of an issuer's keys."""
        self._fetches.labels(result if result in FETCHES else "failed").inc()

    def signed(self, by: str, count: int) -> None:
        """Count signatures of tokens."""
        self._signatures.labels(by).inc(count)

    def gave_up(self) -> None:
        """Count a multi-buffer library that is not asked any more."""
        self._given_up.inc()

    def dropped(self) -> None:
        """Count a connection that was closed unanswered."""
        self._dropped.inc()


class BatchHistogram(Histogram):
    """Observe as its parent does, and write each of the values it shares with other processes once."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """Observe amounts, each of which falls into the first bucket whose bound it does not exceed."""
        self._sum.inc(sum(amounts))
        places = [bisect_left(self._upper_bounds, amount) for amount in amounts]
        for place in set(places):
            self._buckets[place].inc(places.count(place))
