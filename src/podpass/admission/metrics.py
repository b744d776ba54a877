"""Count admission responses, under podpass's metric names and those of azure-workload-identity.

Three histograms share one list of buckets, so that a request increments one counter. Labels are bounded, so
that a client that reaches the port cannot create series: outcomes and reasons come from the program, and a
namespace is a label only while one of its ServiceAccounts is cached, up to a maximum number.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator

from podpass import names
from podpass.admission import prometheus_text
from podpass.admission.metrics_reasons import INTERNAL_ERROR
from podpass.admission.prometheus_text import Labels

OTHER = "other"
MAX_NAMESPACES = 500
MAX_REASONS = 64
OUTCOMES = ("mutated", "unchanged", "refused", "failed")
LOOKUP_RESULTS = ("hit", "live", "stale", "missing", "unreadable")

# The buckets of azure-workload-identity, and those of controller-runtime.
_REFERENCE = (
    *(n / 1000 for n in range(1, 10)),
    *(n / 100 for n in range(1, 10)),
    *(n / 10 for n in range(1, 10)),
    *(1.0, 1.5, 2.0, 2.5, 3.0),
)
_CONTROLLER = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PODPASS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
    5.0,
    10.0,
)
_BOUNDS = tuple(sorted({*_REFERENCE, *_CONTROLLER, *_PODPASS}))
_WEBHOOK: Labels = {"webhook": names.WEBHOOK_PATH}


class _Series:
    """Durations of one namespace: a count for each bucket and one for longer ones, and the sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0


class AdmissionMetrics:
    """Counts responses as a MetricsRecorder; one call takes about a microsecond."""

    def __init__(self, is_known: Callable[[str], bool] = lambda _: True) -> None:
        self._is_known = is_known
        self._series: dict[str, _Series] = {OTHER: _Series()}
        self._responses: dict[tuple[str, str], int] = dict.fromkeys(((o, "") for o in OUTCOMES), 0)
        self._cache = dict.fromkeys(LOOKUP_RESULTS, 0)

    def __call__(self, outcome: str, reason: str, namespace: str, seconds: float) -> None:
        series = self._series.get(namespace) or self._find_series(namespace)
        series.counts[bisect_left(_BOUNDS, seconds)] += 1
        series.total += seconds
        try:
            self._responses[outcome, reason] += 1
        except KeyError:
            key = (outcome if outcome in OUTCOMES else OTHER, reason)
            if key not in self._responses and len(self._responses) >= MAX_REASONS:
                key = (key[0], OTHER)
            self._responses[key] = self._responses.get(key, 0) + 1

    def count_lookup(self, result: str) -> None:
        """Count the result of one ServiceAccount lookup."""
        self._cache[result] += 1

    def render(self) -> Iterator[str]:
        """Yield all metrics in Prometheus text format."""
        yield from prometheus_text.render_counter(
            "podpass_admission_requests",
            "Admission responses by outcome; reason is the error code of a denial",
            (({"outcome": o, "reason": r}, n) for (o, r), n in sorted(self._responses.items())),
        )
        yield from prometheus_text.render_histogram(
            "podpass_admission_seconds",
            "Time to compute an admission response, from the arrival of the complete request",
            _PODPASS,
            [({}, *self._sum_series(_PODPASS))],
        )
        yield from prometheus_text.render_counter(
            "podpass_admission_account_lookups",
            "ServiceAccount lookups: hit in the cache, live from the API server, stale from the cache when"
            " the API server refuses, missing, unreadable",
            (({"result": result}, count) for result, count in self._cache.items()),
        )
        yield from self._render_aliases()

    def _render_aliases(self) -> Iterator[str]:
        """Yield azure-workload-identity's series, so that its dashboards keep working."""
        yield from prometheus_text.render_histogram(
            "azwi_mutation_request",
            "Distribution of how long it took for the azure-workload-identity mutation request",
            _REFERENCE,
            (
                (
                    {"namespace": namespace, "service_name": "webhook"},
                    _merge_buckets(series.counts, _REFERENCE),
                    series.total,
                )
                for namespace, series in list(self._series.items())
            ),
        )
        counts, total = self._sum_series(_CONTROLLER)
        yield from prometheus_text.render_histogram(
            "controller_runtime_webhook_latency_seconds",
            "Histogram of the latency of processing admission requests",
            _CONTROLLER,
            [(_WEBHOOK, counts, total)],
        )
        yield from prometheus_text.render_counter(
            "controller_runtime_webhook_requests",
            "Total number of admission requests by HTTP status code.",
            [({**_WEBHOOK, "code": "200"}, sum(counts)), ({**_WEBHOOK, "code": "500"}, 0)],
        )
        yield from prometheus_text.render_counter(
            "controller_runtime_webhook_panics",
            "Total number of webhook panics",
            [({}, self._responses.get(("failed", INTERNAL_ERROR), 0))],
        )

    def _find_series(self, namespace: str) -> _Series:
        if len(self._series) > MAX_NAMESPACES or not self._is_known(namespace):
            return self._series[OTHER]
        return self._series.setdefault(namespace, _Series())

    def _sum_series(self, bounds: tuple[float, ...]) -> tuple[list[int], float]:
        series = self._series.values()
        counts = [sum(column) for column in zip(*(one.counts for one in series), strict=True)]
        return _merge_buckets(counts, bounds), sum(one.total for one in series)


def _merge_buckets(counts: list[int], bounds: tuple[float, ...]) -> list[int]:
    """Merge the counts of all buckets into a subset of the buckets."""
    merged, so_far, place = [], 0, 0
    for bound, count in zip(_BOUNDS, counts, strict=False):
        so_far += count
        if place < len(bounds) and bound == bounds[place]:
            merged.append(so_far)
            so_far, place = 0, place + 1
    return [*merged, so_far + counts[-1]]
