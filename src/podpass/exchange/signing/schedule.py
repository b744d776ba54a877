"""Which key signs when: agreed by time alone, so that replicas need not talk. Pure.

A key is published long before it signs, and there is always one to come. The newest whose time has come
signs; those before it stay published until nothing they signed is alive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podpass.errors import SettingsError
from podpass.settings.authority_process import MAX_ROTATION_SECONDS

_DAY = 24 * 3600
_HEARD_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long a key signs, and how long it is known before and after.

    Units:   seconds. `ahead_seconds` covers the day for which a consumer may keep the published keys;
             `token_seconds` the longest life of a token; `skew_seconds` the clocks of two replicas, and
             the time until one hears of another's change.
    Errors:  SettingsError.
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
        if self.ahead_seconds < _HEARD_SECONDS:
            problems.append(
                f"ahead_seconds {self.ahead_seconds}: want {_HEARD_SECONDS} or more, within which every"
                " replica hears of a new key"
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
        """For how long a replica signs without having read what the others agreed on."""
        return self.skew_seconds / 2

    @property
    def cache_seconds(self) -> int:
        """How long consumers are told to keep the published keys: never past a new key's first token."""
        return int(max(0, min(_DAY, self.ahead_seconds - self.stale_seconds)))

    @property
    def idle_seconds(self) -> float:
        """How long a key must have been out of use before it goes."""
        return self.token_seconds + self.skew_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One key's place in time; `ordinal` counts the keys ever made.

    Units:   seconds since the epoch.
    """

    ordinal: int
    kid: str
    created: float
    activates: float

    @property
    def order(self) -> tuple[float, int]:
        return self.activates, self.ordinal


def in_order(slots: Sequence[Slot]) -> Sequence[Slot]:
    """Sort keys by when they sign."""
    return sorted(slots, key=lambda slot: slot.order)


def active(slots: Sequence[Slot], now: float) -> Slot:
    """Choose the key that signs: the newest whose time has come.

    A clock set back before all of them takes the first: every consumer knows it.
    """
    ordered = in_order(slots)
    come = [slot for slot in ordered if slot.activates <= now]
    return come[-1] if come else ordered[0]


def coming(slots: Sequence[Slot], now: float) -> Slot | None:
    """Find the key that signs next."""
    if not slots:
        return None
    signs = active(slots, now)
    return next((slot for slot in in_order(slots) if slot.order > signs.order), None)


def bounds(slots: Sequence[Slot], now: float) -> tuple[float, float]:
    """Tell from when until when (not included) `active` gives what it gives now."""
    signs, after = active(slots, now), coming(slots, now)
    begins = signs.activates if signs.activates <= now else float("-inf")
    return begins, float("inf") if after is None else after.activates


def first(now: float, schedule: Schedule) -> tuple[float, float]:
    """Tell when the first two keys of a new database sign: at once, and a rotation later."""
    return now, now + schedule.rotation_seconds


def due(slots: Sequence[Slot], now: float, schedule: Schedule) -> float | None:
    """Tell from when a key that has to be made now would sign; None while there is one to come."""
    if coming(slots, now) is not None:
        return None
    return _next_turn(active(slots, now), now, schedule)


def misplaced(slots: Sequence[Slot], now: float, schedule: Schedule) -> tuple[Slot, float] | None:
    """Find a coming key whose turn a wrong clock put beyond a whole rotation, and its right turn.

    Without this, one replica whose clock once stood years ahead would end all rotation.
    """
    after = coming(slots, now)
    if after is None or after.activates <= now + schedule.rotation_seconds:
        return None
    turn = _next_turn(active(slots, now), now, schedule)
    return (after, turn) if turn < after.activates else None


def _next_turn(signs: Slot, now: float, schedule: Schedule) -> float:
    return max(signs.activates + schedule.rotation_seconds, now + schedule.ahead_seconds)


def brought_forward(
    slots: Sequence[Slot], now: float, schedule: Schedule, *, replaces: str, at_once: bool
) -> tuple[Slot, float] | None:
    """Find the key that an early rotation lets sign sooner, and from when.

    Shapes:  `replaces` is the key that signed when the rotation was asked for: two that are asked for at
             once are one. None when nothing is left to do.
    """
    after = coming(slots, now)
    if after is None or (signs := active(slots, now)).kid != replaces:
        return None
    # One made by a clock that stood ahead has been known since now at best.
    known = min(after.created, now) + schedule.ahead_seconds
    # Not before the key it follows: by a clock that is behind, the two would change places.
    turn = max(signs.activates, now if at_once else max(now, known))
    return (after, turn) if turn < after.activates else None


def out_of_use(slots: Sequence[Slot], now: float) -> Sequence[Slot]:
    """List the keys that signed before the active one."""
    if not slots:
        return ()
    signs = active(slots, now)
    return [slot for slot in in_order(slots) if slot.order < signs.order]


def watch(
    watched: Mapping[str, float], slots: Sequence[Slot], now: float, ticks: float
) -> dict[str, float]:
    """Note since when each key has been out of use, by a clock that nobody can set.

    A key that a jump of the clock brings back into use begins anew.
    """
    return {slot.kid: watched.get(slot.kid, ticks) for slot in out_of_use(slots, now)}


def spent(watched: Mapping[str, float], ticks: float, schedule: Schedule) -> Sequence[str]:
    """List the keys of which no token can be alive.

    Not by the wall clock: one that is set forward for a moment would take the keys from under live tokens.
    """
    return [kid for kid, since in watched.items() if ticks - since >= schedule.idle_seconds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a person wants to know of a key.

    Units:   seconds since the epoch. `until` is when the next one signs, None for the last; `published`
             how long a key out of use stays at least, None before it is.
    """

    slot: Slot
    state: str
    until: float | None
    published: float | None


def timeline(slots: Sequence[Slot], now: float, schedule: Schedule) -> Sequence[Turn]:
    """Tell of every key, in the order in which they sign."""
    ordered = in_order(slots)
    if not ordered:
        return []
    signs = active(ordered, now)
    turns = []
    for slot, after in zip(ordered, [*ordered[1:], None], strict=True):
        state = "active" if slot is signs else "old" if slot.order < signs.order else "coming"
        until = None if after is None else after.activates
        published = None if until is None or state != "old" else until + schedule.idle_seconds
        turns.append(Turn(slot=slot, state=state, until=until, published=published))
    return turns
