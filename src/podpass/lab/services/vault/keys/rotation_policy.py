"""The rotation policy of a key: when a new version is created, and when it expires. Pure.

Source: https://learn.microsoft.com/azure/key-vault/keys/how-to-configure-key-rotation
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.months import add_months

ROTATE, NOTIFY = "Rotate", "Notify"
_AFTER, _BEFORE = "timeAfterCreate", "timeBeforeExpiry"
_DAY = 24 * 3600
_MIN_EXPIRY_DAYS = 28
_MIN_TRIGGER_DAYS = 7
# A bound of podpass, so that every time is before the year 9999.
_MAX_DAYS = 100 * 365
_DURATION = re.compile(
    r"P(?:(\d{1,5})Y)?(?:(\d{1,5})M)?(?:(\d{1,5})W)?(?:(\d{1,5})D)?"
    r"(?:T(?:(\d{1,7})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """A duration of ISO 8601: `text` as it was given, in months and seconds."""

    text: str
    months: int
    seconds: int

    @property
    def days(self) -> float:
        """Return the approximate number of days, for limits."""
        years, months = divmod(self.months, 12)
        return years * 365 + months * 30 + self.seconds / _DAY

    def after(self, time: int) -> int:
        """Return the time after a time, in seconds since 1970."""
        return self._shift(time, 1)

    def before(self, time: int) -> int:
        """Return the time before a time, in seconds since 1970."""
        return self._shift(time, -1)

    def _shift(self, time: int, sign: int) -> int:
        # The end of the year 9999 minus the longest duration.
        start = datetime.fromtimestamp(min(time, 250_000_000_000), UTC)
        moved = add_months(start, sign * self.months) + timedelta(seconds=sign * self.seconds)
        return int(moved.timestamp())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAction:
    """An action on a key, a time after its creation or a time before its expiry."""

    kind: str
    after: Duration | None = None
    before: Duration | None = None


def parse_duration(value: object, name: str) -> Duration:
    """Parse a duration such as P90D or P1Y10D. Raises BadParameter."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not isinstance(value, str) or found is None or not any(found.groups()):
        raise BadParameter(f"'{name}' must be a duration of ISO 8601, such as P90D.")
    years, months, weeks, days, hours, minutes, seconds = (
        int(each or 0) for each in found.groups()
    )
    duration = Duration(
        text=value,
        months=years * 12 + months,
        seconds=(weeks * 7 + days) * _DAY + hours * 3600 + minutes * 60 + seconds,
    )
    if duration.days > _MAX_DAYS:
        raise BadParameter(f"'{name}' must be at most 100 years.")
    return duration


_DEFAULT_NOTICE = KeyAction(kind=NOTIFY, before=parse_duration("P30D", _BEFORE))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotationPolicy:
    """The actions of a key, and `expiry`, the lifetime of each new version.

    `created` and `updated` are None for the policy of a key that has no own one.
    """

    actions: tuple[KeyAction, ...] = (_DEFAULT_NOTICE,)
    expiry: Duration | None = None
    created: int | None = None
    updated: int | None = None

    def times(self, created: int, expires: int | None) -> dict[str, int]:
        """Return when each kind of action is due for a version with these attributes."""
        due = {}
        for each in self.actions:
            if each.after is not None:
                due[each.kind] = each.after.after(created)
            elif each.before is not None and expires is not None:
                due[each.kind] = each.before.before(expires)
        return due


def parse(given: Mapping[str, Any]) -> KeyRotationPolicy:
    """Parse a policy. Azure's notice is added when the policy has no own one. Raises BadParameter."""
    attributes = _object(given.get("attributes"), "attributes")
    expiry = attributes.get("expiryTime")
    lifetime = parse_duration(expiry, "expiryTime") if expiry is not None else None
    if lifetime is not None and lifetime.days < _MIN_EXPIRY_DAYS:
        raise BadParameter(f"'expiryTime' must be at least {_MIN_EXPIRY_DAYS} days.")
    listed = given.get("lifetimeActions")
    if listed is not None and (not isinstance(listed, list) or len(listed) > 2):
        raise BadParameter(
            "'lifetimeActions' must be a list with at most one Rotate and one Notify."
        )
    actions = [_parse_action(each, lifetime) for each in listed or ()]
    kinds = [each.kind for each in actions]
    if len(set(kinds)) < len(kinds):
        raise BadParameter(f"'lifetimeActions' has the action {kinds[0]} twice.")
    if NOTIFY not in kinds:
        actions.append(_DEFAULT_NOTICE)
    return KeyRotationPolicy(actions=tuple(actions), expiry=lifetime)


def _parse_action(given: object, lifetime: Duration | None) -> KeyAction:
    member = _object(given, "lifetimeActions")
    kind = _object(member.get("action"), "action").get("type")
    kinds = {each.lower(): each for each in (ROTATE, NOTIFY)}
    if not isinstance(kind, str) or kind.lower() not in kinds:
        raise BadParameter("'action.type' must be Rotate or Notify.")
    kind = kinds[kind.lower()]
    trigger = _object(member.get("trigger"), "trigger")
    # SDKs and `az` send the absent member as null.
    times = {
        name: parse_duration(trigger[name], name)
        for name in (_AFTER, _BEFORE)
        if trigger.get(name) is not None
    }
    if len(times) != 1:
        raise BadParameter(f"'trigger' must have either {_AFTER} or {_BEFORE}.")
    after, before = times.get(_AFTER), times.get(_BEFORE)
    if kind == NOTIFY and after is not None:
        raise BadParameter(f"The trigger of Notify must be {_BEFORE}.")
    action = KeyAction(kind=kind, after=after, before=before)
    # The vault adds the notice, so clients send it back with a change.
    if action != _DEFAULT_NOTICE:
        _check_trigger(kind, after, before, lifetime)
    return action


def _check_trigger(
    kind: str, after: Duration | None, before: Duration | None, lifetime: Duration | None
) -> None:
    used = after or before
    assert used is not None
    if used.days < _MIN_TRIGGER_DAYS:
        raise BadParameter(f"A trigger must be at least {_MIN_TRIGGER_DAYS} days.")
    if kind == ROTATE and before is not None and lifetime is None:
        raise BadParameter(f"Rotate with {_BEFORE} needs 'attributes.expiryTime'.")
    if lifetime is not None and used.days > lifetime.days - _MIN_TRIGGER_DAYS:
        raise BadParameter(
            f"A trigger must be at least {_MIN_TRIGGER_DAYS} days before the end of 'expiryTime'."
        )


def to_json(policy: KeyRotationPolicy) -> dict[str, Any]:
    """Return a policy as JSON, without its ID."""
    attributes: dict[str, Any] = {}
    if policy.expiry is not None:
        attributes["expiryTime"] = policy.expiry.text
    if policy.created is not None:
        attributes |= {"created": policy.created, "updated": policy.updated}
    return {
        "lifetimeActions": [_action_to_json(each) for each in policy.actions],
        "attributes": attributes,
    }


def from_json(stored: Mapping[str, Any]) -> KeyRotationPolicy:
    """Return the policy that `to_json` wrote for the store."""
    attributes = stored["attributes"]
    return replace(parse(stored), created=attributes["created"], updated=attributes["updated"])


def _action_to_json(action: KeyAction) -> dict[str, Any]:
    trigger = {_AFTER: action.after, _BEFORE: action.before}
    return {
        "trigger": {name: each.text for name, each in trigger.items() if each is not None},
        "action": {"type": action.kind},
    }


def _object(given: object, name: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadParameter(f"'{name}' must be an object.")
    return given
