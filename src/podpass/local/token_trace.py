"""Read the hops of tokens from the log of an instance."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from podpass.log import HOP
from podpass.names import EXCHANGE_AUDIENCE

CHALLENGED, PROJECTED = "challenge", "projected"
STAGES = ("account", "admission", "assertion", "exchange", "resource")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One hop: the request, the checks, the outcome and the duration in milliseconds."""

    stage: str
    asked: str
    checked: tuple[str, ...]
    took_ms: float
    outcome: str
    facts: dict[str, Any]


def log_size(log: Path) -> int:
    """Return the size of the log, the start position for later hops."""
    return log.stat().st_size if log.exists() else 0


def read_hops(log: Path, start: int = 0) -> Iterator[Hop]:
    """Read the hops logged after position `start`, in log order."""
    with log.open("rb") as lines:
        lines.seek(start)
        for line in lines:
            if b'"hop":true' not in line or not line.endswith(b"\n"):
                continue
            record = orjson.loads(line)
            if record.pop(HOP, False):
                yield Hop(
                    stage=record.pop("stage"),
                    asked=record.pop("asked"),
                    checked=tuple(record.pop("checked")),
                    took_ms=record.pop("took_ms"),
                    outcome=str(record.pop("outcome", "ok")),
                    facts=record,
                )


def select_hops(hops: Iterable[Hop]) -> list[Hop]:
    """Return the deciding hop of each stage, in the order of the stages.

    The first vault request has no token and gets a challenge; it is not a hop. Of a pod's tokens, only the
    one for the exchange counts.
    """
    last: dict[str, Hop] = {}
    for hop in filter(_belongs_to_token, hops):
        known = last.get(hop.stage)
        # The kubelet logs the token after the issuer; the issuer's record has more facts.
        if hop.outcome != PROJECTED or known is None or known.outcome == PROJECTED:
            last[hop.stage] = hop
    return [last[stage] for stage in STAGES if stage in last]


def _belongs_to_token(hop: Hop) -> bool:
    if hop.stage == "assertion":
        return hop.facts.get("audience") == EXCHANGE_AUDIENCE
    return hop.outcome != CHALLENGED
