"""Keeping every configuration's `caBundle` in step with the Secret, without a quarrel at full speed."""

import logging
from collections.abc import Collection

from podpass.admission.certificates.ca_bundles import (
    Configurations,
    Mended,
    Registered,
    changed_by,
    mend,
)
from podpass.admission.certificates.model import Held
from podpass.admission.certificates.status import Standing
from podpass.clock import Clock
from podpass.kubernetes.client import KubeError

_log = logging.getLogger(__name__)


class Mending:
    """Writes configurations; what was taken out of one by somebody is put back at once, then ever slower."""

    def __init__(self, configurations: Configurations, standing: Standing, ticks: Clock) -> None:
        self._configurations, self._standing = configurations, standing
        self._paces = {name: Pace(ticks, 1, 60) for name in configurations.names}
        self._carried: dict[str, frozenset[str]] = {}

    @property
    def wait_seconds(self) -> list[float]:
        return [pace.wait_seconds for pace in self._paces.values()]

    async def mend(self, registered: Registered, held: Held) -> bool:
        """Bring a configuration into step; tell whether it has changed, by us or by somebody quicker.

        Errors:  KubeError when the API server cannot be asked.
        """
        name, mended = registered.name, mend(registered, held)
        present = frozenset[str]().union(*registered.ids)
        if mended is None:
            if not self._paces[name].is_contested:
                self._standing.say(name)
            self._carried[name] = present
            return False
        lost = mended.joined & self._carried.get(name, frozenset())
        if lost and not self._paces[name].allows:
            return False
        try:
            await self._configurations.write(name, mended.object)
        except KubeError as exc:
            if exc.status in (404, 409):
                return True
            if exc.status not in (403, 422):
                raise
            self._standing.say(name, exc.message)
            return False
        self._carried[name] = (present | mended.joined) - mended.left
        if lost:
            self._spend(registered)
        _tell(registered, mended, lost)
        return True

    def _spend(self, registered: Registered) -> None:
        pace = self._paces[registered.name]
        pace.spend()
        if pace.is_contested:
            self._standing.say(registered.name, f"{_culprit(registered)} keeps overwriting it")


def _tell(registered: Registered, mended: Mended, lost: frozenset[str]) -> None:
    about = {"configuration": registered.name}
    if lost:
        repaired = {**about, "ca": _short(lost), "changed_by": _culprit(registered)}
        _log.warning("bundle_repaired", extra=repaired)
    if joined := mended.joined - lost:
        _log.info("ca_joined", extra={**about, "ca": _short(joined)})
    if mended.left:
        _log.info("ca_left", extra={**about, "ca": _short(mended.left)})


def _culprit(registered: Registered) -> str:
    return changed_by(registered.object or {}) or "somebody"


def _short(ids: Collection[str]) -> list[str]:
    return sorted(each[:12] for each in ids)


_CALM = 4  # times the present gap without a need for it: the quarrel is over


class Pace:
    """Allow a first time at once, and then only after gaps that double while it is needed again.

    Units:   seconds of `ticks`.
    """

    def __init__(self, ticks: Clock, first: float, last: float) -> None:
        self._ticks, self._first, self._last = ticks, first, last
        self._gap = 0.0
        self._since = float("-inf")

    @property
    def allows(self) -> bool:
        return self.wait_seconds <= 0

    @property
    def wait_seconds(self) -> float:
        """How long until it may be done again."""
        return self._since + self._gap - self._ticks()

    @property
    def is_contested(self) -> bool:
        """Tell whether it was needed again and again, and not long ago."""
        return self._gap > 2 * self._first and not self._is_calm(self._ticks())

    def spend(self) -> None:
        """Note that it was done."""
        now = self._ticks()
        self._gap = self._first if self._is_calm(now) else min(self._gap * 2, self._last)
        self._since = now

    def _is_calm(self, now: float) -> bool:
        return now - self._since > _CALM * self._gap
