"""What a load saw, in a few figures."""

from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value that so large a share does not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def milliseconds(values: Sequence[float]) -> dict[str, float]:
    """Give the usual quantiles of seconds."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(quantile(values, share) * 1000, 1) for name, share in shares.items()}
