"""Decide the next step of a rotation from the state of the keys; pure.

The order is such that no verifier sees a token whose key it cannot find: a key is published and loaded, then
the caches of verifiers expire, then it signs; the key before it stays published until its last token has
expired. Each step can be repeated, so a rotation that was interrupted continues with the step that is due.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from podpass.assertion.publishing.model import ClockReading, IssuerKey, IssuerState, RotationWaits

# Clocks of verifiers may differ from that of the API server by this much.
CLOCK_SKEW_SECONDS = 300
_MAX_CLOCK_ERROR_SECONDS = 60.0
_MAX_FORMER = 100


class RotationStep(StrEnum):
    """A step that changes something, in the order of a rotation."""

    CREATE = "create"
    PUBLISH = "publish"
    LOAD = "load"
    SIGN = "sign"
    CONFIRM = "confirm"
    WITHDRAW = "withdraw"
    FORGET = "forget"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueStep:
    """A step that is due now, and the key that it is about."""

    step: RotationStep
    kid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationWait:
    """A time before which the next step would break tokens.

    `is_manual`: the rotation continues only when the operator states that a restart is done.
    """

    until: float
    reason: str
    kid: str
    is_manual: bool = False


def is_in_progress(state: IssuerState) -> bool:
    """Return whether a rotation has begun and not ended."""
    return len(state.keys) > 1 or state.active.is_leaked


def is_old(state: IssuerState, now: float, older_than: float) -> bool:
    """Return whether the active key has signed for at least this many seconds."""
    return now - (state.active.signs or 0.0) >= older_than


def next_step(
    state: IssuerState, waits: RotationWaits, now: float, *, start: bool
) -> DueStep | RotationWait | None:
    """Return the step that is due, the wait before it, or None at the end of the rotation.

    `start` begins a rotation if none is in progress.
    """
    if due := _withdrawal_of_unused_leaked_key(state):
        return due
    # A missing key is published before anything else; a removal is published in the same step.
    if set(state.published) != {key.kid for key in state.to_publish}:
        return DueStep(step=RotationStep.PUBLISH)
    active, upcoming = state.active, state.upcoming
    if upcoming is not None:
        return _next_step_of_upcoming_key(upcoming, active, waits, now)
    if active.confirmed is None:
        return DueStep(step=RotationStep.CONFIRM, kid=active.kid)
    for key in state.keys:
        if key.withdrawn is not None:
            return DueStep(step=RotationStep.FORGET, kid=key.kid)
    if active.is_leaked:
        return DueStep(step=RotationStep.CREATE)
    for key in state.keys:
        if key is not active:
            return _withdrawal(key, waits, now)
    return DueStep(step=RotationStep.CREATE) if start else None


def _withdrawal_of_unused_leaked_key(state: IssuerState) -> DueStep | None:
    """Withdraw a leaked key that never signed: it protects no token."""
    for key in state.keys:
        if key.is_leaked and key.signs is None and key.withdrawn is None:
            return DueStep(step=RotationStep.WITHDRAW, kid=key.kid)
    return None


def _next_step_of_upcoming_key(
    upcoming: IssuerKey, active: IssuerKey, waits: RotationWaits, now: float
) -> DueStep | RotationWait:
    if upcoming.loaded is None:
        return DueStep(step=RotationStep.LOAD, kid=upcoming.kid)
    assert upcoming.published is not None
    cached = upcoming.published + waits.cache_seconds
    refreshed = upcoming.loaded + waits.refresh_seconds
    if now < max(cached, refreshed) and not active.is_leaked:
        if cached >= refreshed:
            reason = "verifiers may still use cached keys without the new key"
        else:
            reason = "API servers fetch the keys of the signer again"
        return RotationWait(until=max(cached, refreshed), reason=reason, kid=upcoming.kid)
    return DueStep(step=RotationStep.SIGN, kid=upcoming.kid)


def _withdrawal(key: IssuerKey, waits: RotationWaits, now: float) -> DueStep | RotationWait:
    assert key.replaced is not None
    until = key.replaced + waits.token_seconds + CLOCK_SKEW_SECONDS
    if now < until and not key.is_leaked:
        return RotationWait(
            until=until, reason="tokens of the old key have not expired yet", kid=key.kid
        )
    return DueStep(step=RotationStep.WITHDRAW, kid=key.kid)


def acknowledge_publication(state: IssuerState, now: float) -> IssuerState:
    """Record that the target has exactly the keys to publish."""
    keys = tuple(
        replace(key, published=now) if key.withdrawn is None and key.published is None else key
        for key in state.keys
    )
    published = tuple(key.kid for key in state.to_publish)
    return replace(state, keys=keys, published=published)


def activate(state: IssuerState, kid: str, now: float) -> IssuerState:
    """Make a key the active one; its time is later than that of the key before it, even by a wrong clock."""
    return state.with_key(kid, signs=max(now, (state.active.signs or 0.0) + 0.001))


def confirm(state: IssuerState, kid: str, now: float) -> IssuerState:
    """Record that all API servers sign with a key, so with no other one."""
    state = state.with_key(kid, confirmed=now)
    for key in state.keys:
        if key.kid != kid and key.signs is not None and key.replaced is None:
            state = state.with_key(key.kid, replaced=now)
    return state


def forget(state: IssuerState, kid: str) -> IssuerState:
    """Remove a key that is withdrawn from the published documents."""
    keys = tuple(key for key in state.keys if key.kid != kid)
    former = tuple(dict.fromkeys((*state.former, kid)))[-_MAX_FORMER:]
    return replace(state, keys=keys, former=former)


def mark_leaked(state: IssuerState, kid: str) -> IssuerState:
    """Record that an attacker may have a private key. Raises IssuerError for an unknown key ID."""
    return state.with_key(state.key(kid).kid, is_leaked=True)


def clock_problem(last: ClockReading, now: ClockReading) -> str | None:
    """Return why the clock cannot be trusted, or None: a wrong clock would shorten the waits."""
    if now.seconds < last.seconds - _MAX_CLOCK_ERROR_SECONDS:
        return f"the clock is {last.seconds - now.seconds:.0f} seconds before the last step"
    if now.boot_id and now.boot_id == last.boot_id:
        passed = now.boot_seconds - last.boot_seconds
        error = now.seconds - last.seconds - passed
        if abs(error) > _MAX_CLOCK_ERROR_SECONDS:
            return f"the clock was changed by {error:.0f} seconds since the last step"
    return None


def remote_clock_problem(now: float, remote: float) -> str | None:
    """Return how much the clock differs from that of another machine, or None."""
    if abs(now - remote) > _MAX_CLOCK_ERROR_SECONDS:
        return f"the clock differs by {now - remote:.0f} seconds"
    return None


def restart_waits(state: IssuerState, now: float) -> IssuerState:
    """Begin all waits again now, after the clock was corrected."""
    moved = {
        key.kid: {
            name: now
            for name in ("published", "loaded", "replaced")
            if getattr(key, name) is not None
        }
        for key in state.keys
    }
    for kid, changes in moved.items():
        state = state.with_key(kid, **changes)
    # Activation times order the keys, so they move together.
    late = max((key.signs or 0.0) for key in state.keys) - now
    if late > 0:
        for key in state.keys:
            if key.signs is not None:
                state = state.with_key(key.kid, signs=key.signs - late)
    return state
