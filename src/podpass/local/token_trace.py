"""The token's hops, read back from an instance's log."""

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
    """One hop: what was asked, what was checked, how long it took in milliseconds."""

    stage: str
    asked: str
    checked: tuple[str, ...]
    took_ms: float
    outcome: str
    facts: dict[str, Any]


def end_of(log: Path) -> int:
    """Give the place in the log from which later hops can be read."""
    return log.stat().st_size if log.exists() else 0


def read_hops(log: Path, start: int = 0) -> Iterator[Hop]:
    """Read the hops logged since `start`, in the order they were logged."""
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


def journey(hops: Iterable[Hop]) -> list[Hop]:
    """Keep the hop of each stage that decided, in the order a token passes the stages.

    A vault is first asked without a token and answers with its challenge, which is no hop of a token; of
    the tokens a pod is given, the one for the exchange counts.
    """
    last: dict[str, Hop] = {}
    for hop in filter(_is_of_the_token, hops):
        known = last.get(hop.stage)
        # The runtime tells of a token after whoever signed it, who knows more of it.
        if hop.outcome != PROJECTED or known is None or known.outcome == PROJECTED:
            last[hop.stage] = hop
    return [last[stage] for stage in STAGES if stage in last]


def _is_of_the_token(hop: Hop) -> bool:
    if hop.stage == "assertion":
        return hop.facts.get("audience") == EXCHANGE_AUDIENCE
    return hop.outcome != CHALLENGED
