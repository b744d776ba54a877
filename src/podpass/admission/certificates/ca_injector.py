"""Inject the Secret's CAs into the `caBundle` of every webhook configuration.

A missing CA is added immediately. If another writer removes it repeatedly, the repairs back off
exponentially.
"""

import logging
from collections.abc import Collection

from podpass.admission.certificates.ca_bundles import (
    BundlePatch,
    ConfigurationClient,
    ObservedConfiguration,
    build_bundle_patch,
    find_last_writer,
)
from podpass.admission.certificates.model import StoredCertificates
from podpass.admission.certificates.status import CertificateStatus
from podpass.clock import Clock
from podpass.kubernetes.client import KubeError

_log = logging.getLogger(__name__)

_FIRST_SECONDS, _LAST_SECONDS = 1, 60
_RESET_FACTOR = 4  # the backoff is reset after this multiple of the current delay without a repair


class RepairBackoff:
    """Exponential backoff of repairs: the first is immediate, then the delay doubles with each repair.

    Units: seconds of `ticks`, a monotonic clock.
    """

    def __init__(self, ticks: Clock, first: float, last: float) -> None:
        self._ticks, self._first, self._last = ticks, first, last
        self._delay = 0.0
        self._repaired_at = float("-inf")

    @property
    def is_ready(self) -> bool:
        return self.wait_seconds <= 0

    @property
    def wait_seconds(self) -> float:
        """Return the seconds until the next repair is allowed."""
        return self._repaired_at + self._delay - self._ticks()

    @property
    def is_conflicting(self) -> bool:
        """Return whether there were several repairs, the last one recently."""
        return self._delay > 2 * self._first and not self._is_reset(self._ticks())

    def record(self) -> None:
        """Count a repair that was made now."""
        now = self._ticks()
        self._delay = self._first if self._is_reset(now) else min(self._delay * 2, self._last)
        self._repaired_at = now

    def _is_reset(self, now: float) -> bool:
        return now - self._repaired_at > _RESET_FACTOR * self._delay


class CABundleInjector:
    """Writes CA bundles into webhook configurations; use one for all configurations of a replica."""

    def __init__(
        self, configurations: ConfigurationClient, status: CertificateStatus, ticks: Clock
    ) -> None:
        self._configurations, self._status = configurations, status
        self._backoffs = {
            name: RepairBackoff(ticks, _FIRST_SECONDS, _LAST_SECONDS)
            for name in configurations.names
        }
        self._last_ids: dict[str, frozenset[str]] = {}

    @property
    def wait_seconds(self) -> list[float]:
        """Return, for each configuration, the seconds until its next repair is allowed."""
        return [backoff.wait_seconds for backoff in self._backoffs.values()]

    async def inject(
        self, configuration: ObservedConfiguration, certificates: StoredCertificates
    ) -> bool:
        """Write the missing CAs into a configuration; return whether it was changed, also by another writer.

        Raises KubeError when the API server is unavailable.
        """
        name, patch = configuration.name, build_bundle_patch(configuration, certificates)
        present = frozenset[str]().union(*configuration.ids)
        if patch is None:
            if not self._backoffs[name].is_conflicting:
                self._status.set_condition(name)
            self._last_ids[name] = present
            return False
        lost = patch.added & self._last_ids.get(name, frozenset())
        if lost and not self._backoffs[name].is_ready:
            return False
        try:
            await self._configurations.write(name, patch.object)
        except KubeError as exc:
            if exc.status in (404, 409):
                return True
            if exc.status not in (403, 422):
                raise
            self._status.set_condition(name, exc.message)
            return False
        self._last_ids[name] = (present | patch.added) - patch.removed
        if lost:
            backoff = self._backoffs[configuration.name]
            backoff.record()
            if backoff.is_conflicting:
                problem = f"{_describe_writer(configuration)} keeps overwriting it"
                self._status.set_condition(configuration.name, problem)
        _log_patch(configuration, patch, lost)
        return True


def _log_patch(
    configuration: ObservedConfiguration, patch: BundlePatch, lost: frozenset[str]
) -> None:
    about = {"configuration": configuration.name}
    if lost:
        repaired = {**about, "ca": _shorten(lost), "changed_by": _describe_writer(configuration)}
        _log.warning("ca_bundle_repaired", extra=repaired)
    if added := patch.added - lost:
        _log.info("ca_bundle_ca_added", extra={**about, "ca": _shorten(added)})
    if patch.removed:
        _log.info("ca_bundle_ca_removed", extra={**about, "ca": _shorten(patch.removed)})


def _describe_writer(configuration: ObservedConfiguration) -> str:
    return find_last_writer(configuration.object or {}) or "an unknown writer"


def _shorten(ids: Collection[str]) -> list[str]:
    return sorted(each[:12] for each in ids)
