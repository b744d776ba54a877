"""Report whether API servers trust the served certificate, and if not, the reason in one sentence."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from podpass.admission.certificates.ca_bundles import ObservedConfiguration
from podpass.admission.certificates.model import (
    CertificateAuthority,
    ObservationHistory,
    RotationPolicy,
    ServedCertificate,
    StoredCertificates,
)
from podpass.admission.certificates.planner import is_valid
from podpass.clock import rfc3339

_log = logging.getLogger(__name__)

# Condition types; the name of a configuration is also a condition type.
API, CLOCK, READING, WRITING, BREAKING = "api", "clock", "secret", "secret_write", "secret_broken"


class CertificateStatus:
    """What a replica serves, its last observed state, and the problems of its rotation.

    Problems are sentences, by condition type. Units: `configurations_read_at` and `secret_read_at` in
    monotonic seconds: when the last successful read of all configurations, and of the Secret, began.
    """

    def __init__(self, policy: RotationPolicy) -> None:
        self._policy = policy
        self.served: ServedCertificate | None = None
        self.certificates = StoredCertificates()
        self.history = ObservationHistory()
        self.configurations: dict[str, ObservedConfiguration] = {}
        self.configurations_read_at = self.secret_read_at = float("-inf")
        self._problems: dict[str, str] = {}
        self._is_leaf_invalid = False

    def record_secret(self, certificates: StoredCertificates, now: float) -> None:
        """Store the Secret's contents, and whether its leaf is valid at `now`."""
        self.certificates = certificates
        leaf = certificates.leaf
        self._is_leaf_invalid = leaf is not None and not is_valid(leaf, now)

    def record_served(self, served: ServedCertificate) -> None:
        """Store the certificate that is now served; the replica no longer counts as disconnected."""
        self.served = served
        self.history = replace(self.history, was_disconnected=False)

    def set_condition(self, where: str, problem: str = "") -> None:
        """Set or clear the problem of one condition; log each change once."""
        before = self._problems.get(where, "")
        if problem == before:
            return
        if problem:
            self._problems[where] = problem
            # The text changes while the API server stays unavailable or the clock stays wrong, so only the
            # first one is logged.
            if where not in (API, CLOCK) or not before:
                extra = {"where": where, "cause": problem}
                _log.error("certificate_rotation_degraded", extra=extra)
        else:
            del self._problems[where]
            _log.info("certificate_rotation_recovered", extra={"where": where})

    @property
    def is_degraded(self) -> bool:
        """Return whether the rotation has a problem, even if the served certificate is valid for months."""
        return bool(self._problems)

    def not_ready_reason(self, now: float, ticks: float) -> str:
        """Return why API servers do not trust the served certificate, or an empty text."""
        return next(self._list_reasons(now, ticks), "")

    def _list_reasons(self, now: float, ticks: float) -> Iterator[str]:
        if self.served is None:
            yield self._explain_missing()
            return
        leaf = self.served.leaf
        if not is_valid(leaf, now):
            what = f"is not valid before {rfc3339(leaf.not_before)}"
            if leaf.not_after <= now:
                what = f"expired at {rfc3339(leaf.not_after)}"
            yield f"the serving certificate {what}; {self._explain_clock(now)}"
        for configuration in self.configurations.values():
            ca_id = self.served.ca.id
            name, problem = configuration.name, self._problems.get(configuration.name)
            if configuration.object is None:
                yield f"MutatingWebhookConfiguration {name} is missing, so no API server calls this webhook"
            elif any(ca_id not in ids for ids in configuration.ids):
                lacks = f"a caBundle of MutatingWebhookConfiguration {name} does not contain the CA in use"
                yield f"{lacks}: {problem}" if problem else lacks
        is_old = self.served.ca.id in {each.id for each in self.certificates.old}
        stored = self.certificates.leaf
        # When the clock reaches `not_before`, the replica still serves the leaf of the old CA until it
        # reconciles.
        is_refused = stored and (self._is_leaf_invalid or not is_valid(stored, now))
        if is_old and is_refused:
            yield f"a newer CA signs, but its certificate is not valid here: {self._explain_clock(now)}"
        if self.history.was_disconnected:
            yield (
                "this replica was disconnected too long; other replicas may already have removed its CA,"
                " and no newer certificate is available"
            )
        yield from self._check_age(self.served.ca, ticks)

    def _explain_clock(self, now: float) -> str:
        return self._problems.get(CLOCK) or f"this machine's clock shows {rfc3339(now)}"

    def _explain_missing(self) -> str:
        """Return why there is no certificate yet: the first problem in the order of the steps."""
        for where in (API, CLOCK, READING, WRITING, *self._problems):
            if where in self._problems:
                return self._problems[where]
        if self.certificates.current is not None:
            seconds = self._policy.propagation_seconds
            return (
                "there is no serving certificate yet: every API server must first observe its CA,"
                f" which takes {seconds:g} s"
            )
        return "there is no serving certificate yet: the Secret has not been read"

    def _check_age(self, served: CertificateAuthority, ticks: float) -> Iterator[str]:
        """Yield a reason when other replicas may have changed something that this replica did not observe."""
        limit = self._policy.stale_seconds
        age = ticks - self.configurations_read_at
        if age >= limit:
            first = next(iter(self._problems.values()), "no reconcile has finished")
            cause = self._problems.get(API, first)
            since = "" if self.configurations_read_at == float("-inf") else f" since {age:.0f} s"
            yield f"whether API servers trust the certificate is unknown{since}: {cause}"
        if ticks - self.secret_read_at >= limit and self._list_own_ids() - self._list_safe(served):
            cause = self._problems.get(READING) or self._problems.get(
                API, "the Secret was not read"
            )
            yield f"another CA was added, and this replica cannot follow: {cause}"

    def _list_safe(self, served: CertificateAuthority) -> set[str]:
        """Return the CAs whose presence in a bundle shows no rotation: the served CA and older ones."""
        older = () if self._is_superseded() else (each.id for each in self.certificates.old)
        return {served.id, *older}

    def _is_superseded(self) -> bool:
        """Return whether the Secret, as last read, has another current CA than that of the served leaf."""
        current = self.certificates.current
        return current is not None and self.served is not None and current.id != self.served.ca.id

    def _list_own_ids(self) -> set[str]:
        """Return the ids of this webhook's CAs in all bundles that were read."""
        bundles = (bundle for each in self.configurations.values() for bundle in each.bundles)
        return {ca.id for bundle in bundles for ca in bundle if ca.is_own}
