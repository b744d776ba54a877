"""The schedule of signing keys: which key signs at which time. Pure.

The schedule depends on stored times only, so replicas with the same rows sign with the same key. A key is
published long before it signs, and there is always a next key. The key with the latest activation time that
has passed is the active key; older keys stay published until every token that they signed has expired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podpass.errors import SettingsError
from podpass.settings.authority_process import MAX_ROTATION_SECONDS

_DAY = 24 * 3600
# Within this time every replica receives the notification of a new key.
_NOTIFY_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySchedule:
    """How long a key signs, and how long it is published before and after it signs.

    Units: seconds. `ahead_seconds` covers the day for which consumers may cache the published keys;
    `token_seconds` is the longest token lifetime; `skew_seconds` covers the clock difference of two replicas
    and the delay until a replica reads the change of another replica. Raises SettingsError.
    """

    rotation_seconds: float = 90 * _DAY
    ahead_seconds: float = 25 * 3600
    token_seconds: float = _DAY
    skew_seconds: float = 600

    def __post_init__(self) -> None:
        problems = [
            f"{name} {getattr(self, name)}: want more than 0"
            for name in self.__slots__
            if not getattr(self, name) > 0
        ]
        if self.ahead_seconds < _NOTIFY_SECONDS:
            problems.append(
                f"ahead_seconds {self.ahead_seconds}: want {_NOTIFY_SECONDS} or more, so that every"
                " replica reads a new key before it signs"
            )
        if self.rotation_seconds < self.ahead_seconds:
            problems.append(
                f"rotation_seconds {self.rotation_seconds}: want ahead_seconds"
                f" ({self.ahead_seconds}) or more"
            )
        if self.rotation_seconds > MAX_ROTATION_SECONDS:
            problems.append(
                f"rotation_seconds {self.rotation_seconds}: want {MAX_ROTATION_SECONDS} or less"
            )
        if problems:
            raise SettingsError(problems)

    @property
    def stale_seconds(self) -> float:
        """Return the seconds that a replica may sign after its last read of the keys."""
        return self.skew_seconds / 2

    @property
    def cache_seconds(self) -> int:
        """Return the max-age of the published keys: a cached copy expires before a newer key signs."""
        return int(max(0, min(_DAY, self.ahead_seconds - self.stale_seconds)))

    @property
    def idle_seconds(self) -> float:
        """Return the seconds that a key must be out of use before it is deleted."""
        return self.token_seconds + self.skew_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledKey:
    """A key in the schedule; `ordinal` is its number in the order of creation.

    Units: seconds since the epoch.
    """

    ordinal: int
    kid: str
    created: float
    activates: float

    @property
    def order(self) -> tuple[float, int]:
        return self.activates, self.ordinal


def sort_by_activation(slots: Sequence[ScheduledKey]) -> Sequence[ScheduledKey]:
    """Sort keys by activation time."""
    return sorted(slots, key=lambda slot: slot.order)


def active_key(slots: Sequence[ScheduledKey], now: float) -> ScheduledKey:
    """Return the key that signs now: the one with the latest activation time that has passed.

    If the clock was set back to a time before every activation, this is the first key, which every consumer
    knows.
    """
    ordered = sort_by_activation(slots)
    activated = [slot for slot in ordered if slot.activates <= now]
    return activated[-1] if activated else ordered[0]


def next_key(slots: Sequence[ScheduledKey], now: float) -> ScheduledKey | None:
    """Return the key that signs after the active key; None if there is none."""
    if not slots:
        return None
    current = active_key(slots, now)
    return next((slot for slot in sort_by_activation(slots) if slot.order > current.order), None)


def active_interval(slots: Sequence[ScheduledKey], now: float) -> tuple[float, float]:
    """Return the half-open time interval in which the active key stays the same."""
    current, after = active_key(slots, now), next_key(slots, now)
    begins = current.activates if current.activates <= now else float("-inf")
    return begins, float("inf") if after is None else after.activates


def initial_activations(now: float, schedule: KeySchedule) -> tuple[float, float]:
    """Return the activation times of the first two keys: now, and one rotation later."""
    return now, now + schedule.rotation_seconds


def next_activation(
    slots: Sequence[ScheduledKey], now: float, schedule: KeySchedule
) -> float | None:
    """Return the activation time of the key that must be created now; None while there is a next key."""
    if next_key(slots, now) is not None:
        return None
    return _activation_after(active_key(slots, now), now, schedule)


def find_misplaced(
    slots: Sequence[ScheduledKey], now: float, schedule: KeySchedule
) -> tuple[ScheduledKey, float] | None:
    """Find a next key that a wrong clock scheduled more than one rotation ahead, and its correct time.

    Otherwise one replica whose clock was once years ahead would stop all rotation.
    """
    after = next_key(slots, now)
    if after is None or after.activates <= now + schedule.rotation_seconds:
        return None
    activates = _activation_after(active_key(slots, now), now, schedule)
    return (after, activates) if activates < after.activates else None


def _activation_after(current: ScheduledKey, now: float, schedule: KeySchedule) -> float:
    return max(current.activates + schedule.rotation_seconds, now + schedule.ahead_seconds)


def plan_early_rotation(
    slots: Sequence[ScheduledKey],
    now: float,
    schedule: KeySchedule,
    *,
    replaces: str,
    at_once: bool,
) -> tuple[ScheduledKey, float] | None:
    """Return the key that an early rotation activates earlier, and its new activation time.

    `replaces` is the active key at the time of the request, so two concurrent requests rotate once. The
    result is None if nothing changes.
    """
    after = next_key(slots, now)
    if after is None or (current := active_key(slots, now)).kid != replaces:
        return None
    # A creation time in the future comes from a wrong clock: such a key counts as published now.
    known = min(after.created, now) + schedule.ahead_seconds
    # Not before the active key: with a slow clock, the two keys would change their order.
    activates = max(current.activates, now if at_once else max(now, known))
    return (after, activates) if activates < after.activates else None


def list_out_of_use(slots: Sequence[ScheduledKey], now: float) -> Sequence[ScheduledKey]:
    """List the keys that signed before the active key."""
    if not slots:
        return ()
    current = active_key(slots, now)
    return [slot for slot in sort_by_activation(slots) if slot.order < current.order]


def track_out_of_use(
    watched: Mapping[str, float], slots: Sequence[ScheduledKey], now: float, ticks: float
) -> dict[str, float]:
    """Record since when each key has been out of use, by the monotonic clock.

    If a clock jump makes a key active again, its record is reset.
    """
    return {slot.kid: watched.get(slot.kid, ticks) for slot in list_out_of_use(slots, now)}


def list_expired(
    watched: Mapping[str, float], ticks: float, schedule: KeySchedule
) -> Sequence[str]:
    """List the keys whose tokens have all expired.

    It uses the monotonic clock: a wall clock that is temporarily set forward would remove keys whose tokens
    are still valid.
    """
    return [kid for kid, since in watched.items() if ticks - since >= schedule.idle_seconds]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPeriod:
    """A key with its state, as `podpass authority keys` lists it.

    Units: seconds since the epoch. `until` is when the next key signs, None for the last key; `published` is
    the earliest time at which an old key is no longer published, None for other keys.
    """

    slot: ScheduledKey
    state: str
    until: float | None
    published: float | None


def timeline(
    slots: Sequence[ScheduledKey], now: float, schedule: KeySchedule
) -> Sequence[KeyPeriod]:
    """Return the period of every key, in the order in which they sign."""
    ordered = sort_by_activation(slots)
    if not ordered:
        return []
    current = active_key(ordered, now)
    periods = []
    for slot, after in zip(ordered, [*ordered[1:], None], strict=True):
        state = "active" if slot is current else "old" if slot.order < current.order else "upcoming"
        until = None if after is None else after.activates
        published = None if until is None or state != "old" else until + schedule.idle_seconds
        periods.append(KeyPeriod(slot=slot, state=state, until=until, published=published))
    return periods
