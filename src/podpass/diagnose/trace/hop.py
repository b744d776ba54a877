"""One hop of a token, parsed from a line of a log. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from podpass.log import BY_DOCTOR, DRY_RUN, HOP
from podpass.names import EXCHANGE_AUDIENCE

STAGES = ("account", "admission", "assertion", "exchange", "imds", "resource")
CHALLENGED, PROJECTED, SKIPPED = "challenge", "projected", "skipped"
# Whether an exchange confirms a hop that a pod wrote about itself.
CONFIRMED = "confirmed"
_MARK = b'"hop":true'
_PASSED = frozenset(
    {
        *("ok", "read", "mutated", "unchanged", "signed", PROJECTED, "granted", "signed_in"),
        *("cached", "acquired"),
    }
)
# Fingerprints connect hops with each other; a reader has no use for them.
_HIDDEN = frozenset({"token_sha256", "uti"})


class HopResult(StrEnum):
    """The result of a hop.

    `skipped` is a pod that no webhook changed; `challenge` is a first request without a token, after which
    the client sends one.
    """

    PASSED = "passed"
    REFUSED = "refused"
    SKIPPED = "skipped"
    CHALLENGE = "challenge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One hop: the request, the checks that passed, the outcome, and the duration in milliseconds.

    `time` is RFC 3339 with milliseconds; `outcome` is `ok` or another word for success, an AADSTS code, or a
    slug; `facts` are the other values of the line; `position` is where the line ends.
    """

    stage: str
    asked: str
    checked: tuple[str, ...]
    took_ms: float
    outcome: str
    time: str = ""
    event: str = ""
    correlation_id: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    position: str = ""

    @property
    def result(self) -> HopResult:
        if self.outcome == CHALLENGED:
            return HopResult.CHALLENGE
        if self.outcome == SKIPPED:
            return HopResult.SKIPPED
        return HopResult.PASSED if self.outcome in _PASSED else HopResult.REFUSED

    @property
    def code(self) -> str:
        """Return the code of a refusal: `AADSTS700213`, `bad_annotation`, `Forbidden`."""
        return "" if self.result is HopResult.PASSED else self.fact("code") or self.outcome

    @property
    def cause(self) -> str:
        """Return the sentence that the stage logged about a refusal, or an empty text."""
        return self.fact("cause") or self.fact("reason")

    @property
    def is_dry_run(self) -> bool:
        """Return whether no pod was created, as when `podpass doctor` compares pods."""
        return self.facts.get(DRY_RUN) is True

    @property
    def is_by_doctor(self) -> bool:
        """Return whether `podpass doctor` sent the request to check a workload."""
        return self.facts.get(BY_DOCTOR) is True

    @property
    def is_claimed(self) -> bool:
        """Return whether only the log of the pod itself says that this hop took place."""
        return self.facts.get(CONFIRMED) is False

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the probable mistakes that admission found in a pod."""
        found = self.facts.get("warnings")
        return tuple(map(str, found)) if isinstance(found, list) else ()

    @property
    def clauses(self) -> tuple[str, ...]:
        """Return the clauses of expressions that did not match the token."""
        found = self.facts.get("clauses")
        return tuple(map(str, found)) if isinstance(found, list) else ()

    def fact(self, name: str) -> str:
        """Return a value of the line as text; empty if the line has none."""
        value = self.facts.get(name)
        return "" if value is None else str(value)

    def to_json(self) -> dict[str, Any]:
        """Return the hop as JSON, without the fingerprints of tokens."""
        known = {
            "time": self.time,
            "stage": self.stage,
            "event": self.event,
            "asked": self.asked,
            "checked": list(self.checked),
            "took_ms": self.took_ms,
            "result": str(self.result),
            "outcome": self.outcome,
            "code": self.code,
            "cause": self.cause,
            "correlation_id": self.correlation_id,
        }
        facts = {name: value for name, value in self.facts.items() if name not in _HIDDEN}
        return {**known, "facts": facts}


def parse_hop(line: bytes) -> Hop | None:
    """Parse one line of a log; return None for a line that is not a hop.

    A line of a container's log is accepted, too: a time, the stream and a flag precede the JSON.
    """
    if _MARK not in line:
        return None
    begin = line.find(b"{")
    try:
        record = orjson.loads(line[begin:])
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict) or record.pop(HOP, None) is not True:
        return None
    checked, took = record.pop("checked", ()), record.pop("took_ms", 0.0)
    for name in ("level", "logger"):
        record.pop(name, None)
    return Hop(
        stage=str(record.pop("stage", "")),
        asked=str(record.pop("asked", "")),
        checked=tuple(map(str, checked)) if isinstance(checked, list) else (),
        took_ms=float(took) if isinstance(took, int | float) else 0.0,
        outcome=str(record.pop("outcome", "ok")),
        time=str(record.pop("time", "")),
        event=str(record.pop("event", "")),
        correlation_id=str(record.pop("correlation_id", "")),
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
    return not hop.is_dry_run and hop.result not in (HopResult.CHALLENGE, HopResult.SKIPPED)
