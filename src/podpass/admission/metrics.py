"""What the webhook counts, under the reference's names and ours.

One measurement, three histograms: the bounds of all are one row, and a request adds one to one place in it.
Labels are bounded: outcomes and reasons come from the program, namespaces only while some account in them
is known, and no more than so many. Whoever can reach the port could make series without end otherwise.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator

from podpass import names
from podpass.admission import prometheus_text as exposition
from podpass.admission.metrics_reasons import FAULT
from podpass.admission.prometheus_text import Labels

OTHER = "other"
MAX_NAMESPACES = 500
MAX_REASONS = 64
OUTCOMES = ("mutated", "unchanged", "refused", "failed")
CACHE_RESULTS = ("hit", "live", "stale", "missing", "unreadable")

# The reference's own buckets, and those of the library it is built on.
_REFERENCE = (
    *(n / 1000 for n in range(1, 10)),
    *(n / 100 for n in range(1, 10)),
    *(n / 10 for n in range(1, 10)),
    *(1.0, 1.5, 2.0, 2.5, 3.0),
)
_CONTROLLER = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OURS = (
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
_BOUNDS = tuple(sorted({*_REFERENCE, *_CONTROLLER, *_OURS}))
_WEBHOOK: Labels = {"webhook": names.WEBHOOK_PATH}


class _Series:
    """How long the requests of one namespace took: a count for each bound and one above, and the sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0


class Meter:
    """Count verdicts; it is an Observe. A request pays about a microsecond for it."""

    def __init__(self, is_known: Callable[[str], bool] = lambda _: True) -> None:
        self._is_known = is_known
        self._series: dict[str, _Series] = {OTHER: _Series()}
        self._verdicts: dict[tuple[str, str], int] = dict.fromkeys(((o, "") for o in OUTCOMES), 0)
        self._cache = dict.fromkeys(CACHE_RESULTS, 0)

    def __call__(self, outcome: str, reason: str, namespace: str, seconds: float) -> None:
        series = self._series.get(namespace) or self._find(namespace)
        series.counts[bisect_left(_BOUNDS, seconds)] += 1
        series.total += seconds
        try:
            self._verdicts[outcome, reason] += 1
        except KeyError:
            self._begin(outcome, reason)

    def asked(self, result: str) -> None:
        """Count how a question for an account was answered."""
        self._cache[result] += 1

    def exposition(self) -> Iterator[str]:
        """Write what was counted."""
        yield from exposition.counter(
            "podpass_admission_requests",
            "Verdicts on pods, by outcome, and for refusals by the code of the reason",
            (({"outcome": o, "reason": r}, n) for (o, r), n in sorted(self._verdicts.items())),
        )
        yield from exposition.histogram(
            "podpass_admission_seconds",
            "How long a verdict took, from when the whole request is there",
            _OURS,
            [({}, *self._all(_OURS))],
        )
        yield from exposition.counter(
            "podpass_admission_account_cache",
            "How accounts were found: hit in the cache, live from the API server, stale where that refuses,"
            " missing, unreadable",
            (({"result": result}, count) for result, count in self._cache.items()),
        )
        yield from self._aliases()

    def _aliases(self) -> Iterator[str]:
        """Write the reference's series, so that its dashboards go on."""
        yield from exposition.histogram(
            "azwi_mutation_request",
            "Distribution of how long it took for the azure-workload-identity mutation request",
            _REFERENCE,
            (
                (
                    {"namespace": namespace, "service_name": "webhook"},
                    _within(series.counts, _REFERENCE),
                    series.total,
                )
                for namespace, series in list(self._series.items())
            ),
        )
        counts, total = self._all(_CONTROLLER)
        yield from exposition.histogram(
            "controller_runtime_webhook_latency_seconds",
            "Histogram of the latency of processing admission requests",
            _CONTROLLER,
            [(_WEBHOOK, counts, total)],
        )
        yield from exposition.counter(
            "controller_runtime_webhook_requests",
            "Total number of admission requests by HTTP status code.",
            [({**_WEBHOOK, "code": "200"}, sum(counts)), ({**_WEBHOOK, "code": "500"}, 0)],
        )
        yield from exposition.counter(
            "controller_runtime_webhook_panics",
            "Total number of webhook panics",
            [({}, self._verdicts.get(("failed", FAULT), 0))],
        )

    def _find(self, namespace: str) -> _Series:
        if len(self._series) > MAX_NAMESPACES or not self._is_known(namespace):
            return self._series[OTHER]
        return self._series.setdefault(namespace, _Series())

    def _begin(self, outcome: str, reason: str) -> None:
        key = (outcome if outcome in OUTCOMES else OTHER, reason)
        if key not in self._verdicts and len(self._verdicts) >= MAX_REASONS:
            key = (key[0], OTHER)
        self._verdicts[key] = self._verdicts.get(key, 0) + 1

    def _all(self, bounds: tuple[float, ...]) -> tuple[list[int], float]:
        series = self._series.values()
        counts = [sum(column) for column in zip(*(one.counts for one in series), strict=True)]
        return _within(counts, bounds), sum(one.total for one in series)


def _within(counts: list[int], bounds: tuple[float, ...]) -> list[int]:
    """Gather counts of all bounds into those of some of them."""
    gathered, so_far, place = [], 0, 0
    for bound, count in zip(_BOUNDS, counts, strict=False):
        so_far += count
        if place < len(bounds) and bound == bounds[place]:
            gathered.append(so_far)
            so_far, place = 0, place + 1
    return [*gathered, so_far + counts[-1]]
