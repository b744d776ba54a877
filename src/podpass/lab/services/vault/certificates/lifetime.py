"""When the lifetime actions of a certificate are due. Pure."""

from collections.abc import Iterator
from dataclasses import replace

from podpass.lab.services.vault.certificates.policy import (
    AUTO_RENEW,
    EMAIL_CONTACTS,
    LifetimeAction,
)
from podpass.lab.services.vault.certificates.records import CertificateSettings
from podpass.lab.services.vault.model import ObjectState, ObjectVersion

_DAY = 24 * 3600


def plan(state: ObjectState, latest: ObjectVersion | None) -> ObjectState:
    """Return a certificate's state with the time of its next action."""
    times = [] if latest is None else [time for time, _ in _list_actions(state, latest)]
    return replace(state, next_action=min(times, default=None))


def due_actions(state: ObjectState, latest: ObjectVersion, now: float) -> set[str]:
    """Return the names of the actions that are due."""
    return {action for time, action in _list_actions(state, latest) if time <= now}


def _list_actions(state: ObjectState, latest: ObjectVersion) -> Iterator[tuple[int, str]]:
    settings = CertificateSettings.of(state)
    # A version that waits for a merge becomes the latest one.
    if settings.pending is not None and settings.pending.in_progress:
        return
    for each in settings.policy.actions:
        renews = each.action == AUTO_RENEW and not settings.policy.is_merged
        notifies = each.action == EMAIL_CONTACTS and settings.notified != latest.version
        if renews or notifies:
            yield _time(each, latest), each.action


def _time(action: LifetimeAction, version: ObjectVersion) -> int:
    begins, ends = version.not_before or 0, version.expires or 0
    if action.days is not None:
        return ends - action.days * _DAY
    assert action.percentage is not None, "an action has one of the two triggers"
    return begins + (ends - begins) * action.percentage // 100
