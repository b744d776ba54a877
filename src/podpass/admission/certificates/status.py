"""Whether API servers trust what this replica serves, and if not, why: one sentence for people."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from podpass.admission.certificates.ca_bundles import Registered
from podpass.admission.certificates.model import Authority, Held, Plan, Seen, Served
from podpass.admission.certificates.planner import is_valid
from podpass.clock import rfc3339

_log = logging.getLogger(__name__)

# Where a problem may lie; besides these, at a configuration of some name.
API, CLOCK, READING, WRITING, BREAKING = "api", "clock", "secret", "secret_write", "secret_broken"


class Standing:
    """What is served, what was seen last, and what is in the way.

    Shapes:  problems are sentences, by where they lie.
    Units:   `heard` and `read_secret` by the replica's ticks, of the last look at all configurations and at
             the Secret.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.served: Served | None = None
        self.held = Held()
        self.seen = Seen()
        self.registered: dict[str, Registered] = {}
        self.heard = self.read_secret = float("-inf")
        self._problems: dict[str, str] = {}
        self._refused = False

    def judge(self, held: Held, now: float) -> None:
        """Note what the Secret holds, and whether its leaf is valid by the clock that the look goes by."""
        self.held = held
        self._refused = held.leaf is not None and not is_valid(held.leaf, now)

    def take(self, served: Served) -> None:
        """Note what is served from now on; with it ends a silence."""
        self.served = served
        self.seen = replace(self.seen, after_silence=False)

    def say(self, where: str, problem: str = "") -> None:
        """Note what is in the way, or that it no longer is; each is logged once."""
        before = self._problems.get(where, "")
        if problem == before:
            return
        if problem:
            self._problems[where] = problem
            # A server that is away is so in one way and then in another, a clock by ever another second.
            if where not in (API, CLOCK) or not before:
                _log.error("certificates_hindered", extra={"where": where, "cause": problem})
        else:
            del self._problems[where]
            _log.info("certificates_unhindered", extra={"where": where})

    @property
    def is_hindered(self) -> bool:
        """Tell whether anything is in the way, though what is served may do for months."""
        return bool(self._problems)

    def trouble(self, now: float, ticks: float) -> str:
        """Say why API servers do not trust what is served; empty when they do."""
        return next(self._troubles(now, ticks), "")

    def _troubles(self, now: float, ticks: float) -> Iterator[str]:
        if self.served is None:
            yield self._why_nothing()
            return
        leaf = self.served.leaf
        if not is_valid(leaf, now):
            ended = leaf.not_after <= now
            what = f"expired at {rfc3339(leaf.not_after)}"
            if not ended:
                what = f"is not valid before {rfc3339(leaf.not_before)}"
            clock = self._problems.get(CLOCK) or f"this machine's clock says {rfc3339(now)}"
            yield f"the serving certificate {what}; {clock}"
        for registered in self.registered.values():
            yield from self._distrust(registered, self.served.authority.id)
        given_up = self.served.authority.id in {each.id for each in self.held.old}
        # Its time coming is not enough: until another look takes it, what is served is what the others drop.
        waits = self.held.leaf and (self._refused or not is_valid(self.held.leaf, now))
        if given_up and waits:
            clock = self._problems.get(CLOCK) or f"this machine's clock says {rfc3339(now)}"
            yield f"another authority signs by now, whose certificate is not valid here: {clock}"
        if self.seen.after_silence:
            yield "after a silence others may be giving up what is served, and there is no other to serve"
        yield from self._silence(self.served.authority, ticks)

    def _why_nothing(self) -> str:
        """Say why there is no certificate yet: the first cause along the way to one."""
        for where in (API, CLOCK, READING, WRITING, *self._problems):
            if where in self._problems:
                return self._problems[where]
        if self.held.current is not None:
            return (
                "there is no serving certificate yet: every API server has to hear of its authority first,"
                f" which takes {self._plan.lag_seconds:g} s"
            )
        return "there is no serving certificate yet: the Secret was not read so far"

    def _distrust(self, registered: Registered, authority: str) -> Iterator[str]:
        name, problem = registered.name, self._problems.get(registered.name)
        if registered.object is None:
            yield f"MutatingWebhookConfiguration {name} is missing, so no API server calls this webhook"
        elif any(authority not in ids for ids in registered.ids):
            lacks = f"the caBundle of MutatingWebhookConfiguration {name} lacks our authority"
            yield f"{lacks}: {problem}" if problem else lacks

    def _silence(self, served: Authority, ticks: float) -> Iterator[str]:
        """Say that others may have changed what we could not hear of."""
        limit = self._plan.stale_seconds
        unheard = ticks - self.heard
        if unheard >= limit:
            first = next(iter(self._problems.values()), "no look at the API server came to an end")
            cause = self._problems.get(API, first)
            since = "" if self.heard == float("-inf") else f" since {unheard:.0f} s"
            yield f"whether API servers trust the certificate is unknown{since}: {cause}"
        if ticks - self.read_secret >= limit and self._present() - self._harmless(served):
            cause = self._problems.get(READING) or self._problems.get(
                API, "the Secret was not read"
            )
            yield f"another authority has joined, which this replica cannot follow: {cause}"

    def _harmless(self, served: Authority) -> set[str]:
        """List the authorities in a bundle that put none before what is served: it, and those before it."""
        return {served.id, *(() if self._is_behind() else (each.id for each in self.held.old))}

    def _is_behind(self) -> bool:
        """Tell whether another authority than that of what is served signs, by the Secret as last read."""
        current = self.held.current
        return (
            current is not None
            and self.served is not None
            and current.id != self.served.authority.id
        )

    def _present(self) -> set[str]:
        """List the authorities of ours in any bundle that was seen."""
        bundles = (bundle for each in self.registered.values() for bundle in each.bundles)
        return {authority.id for bundle in bundles for authority in bundle if authority.ours}
