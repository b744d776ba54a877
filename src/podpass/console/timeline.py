"""The last token exchanges of a log, each with its hops; counts and refusals. Pure, with bounded memory."""

import re
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

from podpass.clock import rfc3339
from podpass.diagnose.trace.assignment import GENERATED
from podpass.diagnose.trace.hop import STAGES, Hop, HopResult
from podpass.kubernetes.service_account.names import USERNAME_PREFIX
from podpass.names import EXCHANGE_AUDIENCE

MAX_EXCHANGES = 500
MAX_REFUSALS = 200
# The last hops of this many ServiceAccounts wait for an exchange.
_MAX_ACCOUNTS = 2000
_MAX_RESOURCES = 20
_MAX_CREDENTIALS = 20_000
_MAX_FACTS, _MAX_ITEMS, _MAX_CHARS = 40, 30, 500
_MAX_DEPTH = 3
_MAX_TIME = 253_402_300_800  # the year 10000, which no date has
# Three parts in base64url, as every compact JWS has them. Hops contain no token; this keeps it so.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)*")

Account = tuple[str, str]
Key = TypeVar("Key")
Value = TypeVar("Value")
_Request = tuple[str, HopResult, Account | None]


@dataclass(slots=True, kw_only=True)
class ExchangeTrace:
    """One token exchange: what preceded it for the ServiceAccount, and the requests with its token.

    `number` grows by one with each exchange; `changed` is the revision of the last change. `sidecar` are the
    requests to the migration sidecar that got its token.
    """

    number: int
    changed: int
    hop: Hop
    before: tuple[Hop, ...] = ()
    sidecar: list[Hop] = field(default_factory=list)
    resources: list[Hop] = field(default_factory=list)

    @property
    def hops(self) -> tuple[Hop, ...]:
        """Return all hops in the order of the stages."""
        return (*self.before, self.hop, *self.sidecar, *self.resources)

    @property
    def account(self) -> Account | None:
        """Return namespace and name of the ServiceAccount; None for another issuer's subject."""
        return account_of(self.hop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refused hop.

    `caller` is the exchange whose token the hop used, or the hop itself if the exchange is unknown.
    """

    number: int
    hop: Hop
    caller: Hop


@dataclass(slots=True)
class StageCount:
    """How many hops of a stage passed and were refused, and when the last one was."""

    passed: int = 0
    refused: int = 0
    last: str = ""


class Timeline:
    """Stores the last exchanges and refusals, and counts all hops."""

    def __init__(self) -> None:
        self.revision = 0
        self.counts = {stage: StageCount() for stage in STAGES}
        self.refusals: deque[Refusal] = deque(maxlen=MAX_REFUSALS)
        # The time of the last exchange with each credential, by client ID and name.
        self.credential_uses: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._numbers = 0
        self._exchanges: OrderedDict[int, ExchangeTrace] = OrderedDict()
        self._by_token: OrderedDict[str, int] = OrderedDict()
        self._by_request: OrderedDict[_Request, int] = OrderedDict()
        self._before: OrderedDict[Account, dict[str, Hop]] = OrderedDict()
        # Tokens that no pod is bound to, as `kubectl create token` requests them, by their fingerprint.
        self._unbound: OrderedDict[str, Hop] = OrderedDict()

    def add(self, hop: Hop) -> None:
        """Add a hop, in log order."""
        count = self.counts.get(hop.stage)
        if count is None or hop.is_dry_run or hop.result is HopResult.CHALLENGE:
            return
        hop = clip(hop)
        self.revision += 1
        is_refused = hop.result is HopResult.REFUSED
        if is_refused:
            self._numbers += 1
            found = self._exchanges.get(self._by_token.get(hop.fact("uti"), 0))
            caller = hop if found is None else found.hop
            self.refusals.append(Refusal(number=self._numbers, hop=hop, caller=caller))
        if not hop.is_by_doctor and not _is_unbound(hop):
            count.last = hop.time
            count.refused += is_refused
            count.passed += not is_refused
        match hop.stage:
            case "exchange":
                self._add_exchange(hop)
            case "resource":
                self._add_resource(hop)
            case "imds":
                self._add_sidecar(hop)
            case _:
                self._remember(hop)

    @property
    def last_number(self) -> int:
        """Return the number of the last exchange or refusal."""
        return self._numbers

    def exchange(self, number: int) -> ExchangeTrace | None:
        """Return an exchange; None if it is unknown or too old."""
        return self._exchanges.get(number)

    def newest(self, limit: int, *, after: int = 0, pod: str = "") -> list[ExchangeTrace]:
        """Return the newest exchanges with a greater number than `after`, the newest first.

        `pod` is NAMESPACE/NAME, or empty for all.
        """
        every = reversed(self._exchanges.values())
        found = islice((each for each in every if pod in ("", pod_of(each.hop))), limit)
        return [each for each in found if each.number > after]

    def count_exchanges(self) -> Counter[tuple[str, HopResult]]:
        """Count the exchanges of each pod by their result."""
        return Counter((pod_of(each.hop), each.hop.result) for each in self._exchanges.values())

    def changed_since(self, revision: int, limit: int, pod: str = "") -> list[ExchangeTrace]:
        """Return those of the newest exchanges that got a hop after a revision."""
        return [each for each in self.newest(limit, pod=pod) if each.changed > revision]

    def _add_exchange(self, hop: Hop) -> None:
        self._numbers += 1
        known = {} if hop.is_by_doctor else self._before.get(account_of(hop) or ("", ""), {})
        if (unbound := self._unbound.get(hop.fact("token_sha256"))) is not None:
            known = {**known, unbound.stage: unbound}
        before = tuple(known[stage] for stage in STAGES if stage in known)
        self._exchanges[self._numbers] = ExchangeTrace(
            number=self._numbers, changed=self.revision, hop=hop, before=before
        )
        if len(self._exchanges) > MAX_EXCHANGES:
            self._exchanges.popitem(last=False)
        is_use = hop.result is HopResult.PASSED and not hop.is_by_doctor
        if is_use and (credential := hop.fact("credential")):
            self.credential_uses[hop.fact("client_id"), credential] = hop.time
            if len(self.credential_uses) > _MAX_CREDENTIALS:
                self.credential_uses.popitem(last=False)
        if token := hop.fact("uti"):
            _put(self._by_token, token, self._numbers)
        if hop.correlation_id:
            _put(self._by_request, _request_of(hop), self._numbers)

    def _add_resource(self, hop: Hop) -> None:
        found = self._exchanges.get(self._by_token.get(hop.fact("uti"), 0))
        if found is not None and len(found.resources) < _MAX_RESOURCES:
            found.resources.append(hop)
            found.changed = self.revision

    def _add_sidecar(self, hop: Hop) -> None:
        """Add a hop of a sidecar to its exchange; what only the pod claims belongs to none."""
        number = self._by_request.get(_request_of(hop), 0)
        found = None if hop.is_claimed else self._exchanges.get(number)
        if found is not None and len(found.sidecar) < _MAX_RESOURCES:
            found.sidecar.append(hop)
            found.changed = self.revision

    def _remember(self, hop: Hop) -> None:
        account = account_of(hop)
        if account is None:
            return
        if hop.stage == "assertion" and hop.fact("audience") != EXCHANGE_AUDIENCE:
            return
        if _is_unbound(hop):
            _put(self._unbound, hop.fact("token_sha256"), hop)
            return
        known = self._before.setdefault(account, {})
        self._before.move_to_end(account)
        # The kubelet reports the token after the issuer, whose hop has more facts.
        if hop.outcome != "projected" or hop.stage not in known:
            known[hop.stage] = hop
        if len(self._before) > _MAX_ACCOUNTS:
            self._before.popitem(last=False)


def _request_of(hop: Hop) -> _Request:
    return hop.correlation_id, hop.result, account_of(hop)


def _put(values: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    values[key] = value
    if len(values) > MAX_EXCHANGES:
        values.popitem(last=False)


def _is_unbound(hop: Hop) -> bool:
    """Return whether a hop is the request for a token that no pod is bound to."""
    return hop.stage == "assertion" and not hop.fact("pod")


def account_of(hop: Hop) -> Account | None:
    """Return namespace and name of a hop's ServiceAccount; None if it names none."""
    subject = hop.fact("sub")
    if subject.startswith(USERNAME_PREFIX):
        namespace, _, name = subject.removeprefix(USERNAME_PREFIX).partition(":")
        return namespace, name
    namespace, name = hop.fact("namespace"), hop.fact("account")
    return (namespace, name) if namespace and name else None


def pod_of(hop: Hop) -> str:
    """Return a hop's pod as NAMESPACE/NAME; empty if it names none, or only the prefix of its name."""
    account, pod = account_of(hop), hop.fact("pod")
    return f"{account[0]}/{pod}" if account and pod and not pod.endswith(GENERATED) else ""


def clip(hop: Hop) -> Hop:
    """Return a hop with texts of bounded length, and without anything that looks like a token."""
    facts = dict(islice(hop.facts.items(), _MAX_FACTS))
    return replace(
        hop,
        asked=clip_text(hop.asked),
        outcome=clip_text(hop.outcome),
        time=clip_text(hop.time),
        event=clip_text(hop.event),
        correlation_id=clip_text(hop.correlation_id),
        checked=tuple(map(clip_text, hop.checked[:_MAX_ITEMS])),
        facts={clip_text(name): _clip_value(value) for name, value in facts.items()},
    )


def clip_text(text: str) -> str:
    """Return a text of at most 500 characters, without anything that looks like a token."""
    if "eyJ" in text:
        text = _TOKEN.sub("[token]", text)
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}…"


def _clip_value(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return clip_text(value)
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        items = islice(value.items(), _MAX_ITEMS)
        return {clip_text(str(key)): _clip_value(each, depth + 1) for key, each in items}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [_clip_value(each, depth + 1) for each in islice(value, _MAX_ITEMS)]
    return value


def claims(exchange: ExchangeTrace) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the claims of the assertion and of the access token, as the token service logged them.

    Pairs of a token's kind, `assertion` or `access_token`, and its claims.
    """
    hop = exchange.hop
    for kind, names in _CLAIMS.items():
        facts = hop.facts
        found = [(claim, _claim_text(claim, facts[fact])) for claim, fact in names if fact in facts]
        if found and (kind == "assertion" or hop.result is HopResult.PASSED):
            yield kind, found


# The claims of each token, and the facts of the exchange that have their values.
_CLAIMS = {
    "assertion": (("iss", "iss"), ("sub", "sub"), ("aud", "aud"), ("kid", "kid"), ("exp", "exp")),
    "access_token": (
        ("aud", "resource"),
        ("appid", "client_id"),
        ("oid", "oid"),
        ("tid", "tenant_id"),
        ("roles", "roles"),
        ("scp", "scp"),
        ("exp", "token_exp"),
        ("uti", "uti"),
    ),
}


def _claim_text(claim: str, value: Any) -> str:
    """Return a claim as text; a time also as a date."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    is_time = claim == "exp" and isinstance(value, int | float) and 0 <= value < _MAX_TIME
    return f"{text} ({rfc3339(value)})" if is_time else text
