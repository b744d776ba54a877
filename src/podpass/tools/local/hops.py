"""The token's hops, read back from an instance's log."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from podpass.log import HOP

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


def journey(hops: Iterator[Hop]) -> list[Hop]:
    """Keep the last hop of each stage, in the order a token passes the stages.

    A vault is first asked without a token and answers with its challenge; the hop that counts is the
    one that decided.
    """
    last: dict[str, Hop] = {}
    for hop in hops:
        last[hop.stage] = hop
    return [last[stage] for stage in STAGES if stage in last]
