"""The schedule of a CronJob: five fields, a name such as `@hourly`, or `@every 1h30m`.

Source: the parser that kube-controller-manager uses, github.com/robfig/cron v3. Unlike in other parsers,
Sunday is only 0, and `5/15` means `5-59/15`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Minute, hour, day of the month, month, day of the week: bounds, and names that start at the lower bound.
_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|h|m|s)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_DAYS = 5 * 366


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times at which a CronJob starts jobs.

    `fields` are the allowed values of each field; `any_day` and `any_weekday` are true if that field is `*`.
    `every` is the interval of `@every` in seconds; zero for other schedules.
    """

    fields: tuple[frozenset[int], ...] = ()
    any_day: bool = True
    any_weekday: bool = True
    every: float = 0.0

    def next(self, after: float, zone: tzinfo = UTC) -> float | None:
        """Return the first time after a time; None if there is none within five years.

        Times are in seconds since the epoch.
        """
        if self.every:
            return float(int(after + self.every))
        first = datetime.fromtimestamp(after, zone).date()
        for day in range(_MAX_DAYS):
            today = first + timedelta(days=day)
            if self._has_day(today):
                for moment in self._times(today, zone):
                    if moment > after:
                        return moment
        return None

    def _has_day(self, today: date) -> bool:
        _, _, days, months, weekdays = self.fields
        if today.month not in months:
            return False
        by_day, by_weekday = today.day in days, (today.weekday() + 1) % 7 in weekdays
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday

    def _times(self, today: date, zone: tzinfo) -> Iterator[float]:
        """Yield the times of a day; an hour that the clock skips has none, and a repeated hour has two."""
        minutes, hours = sorted(self.fields[0]), sorted(self.fields[1])
        for hour in hours:
            for fold in (0, 1):
                for minute in minutes:
                    local = datetime(
                        today.year, today.month, today.day, hour, minute, tzinfo=zone, fold=fold
                    )
                    moment = local.timestamp()
                    back = datetime.fromtimestamp(moment, zone)
                    if (
                        back.replace(tzinfo=None) == local.replace(tzinfo=None)
                        and back.fold == fold
                    ):
                        yield moment


def parse(text: str) -> Schedule:
    """Parse a schedule. Raises ValueError: the text is not a schedule."""
    text = text.strip()
    if text.startswith(_EVERY):
        return Schedule(every=max(float(int(_duration(text.removeprefix(_EVERY)))), 1.0))
    given = _NAMED.get(text, text).split()
    if len(given) != len(_FIELDS):
        raise ValueError(f"{text!r} has {len(given)} fields, not {len(_FIELDS)}")
    fields = tuple(
        frozenset().union(*(_values(part, *bounds) for part in field.split(",")))
        for field, bounds in zip(given, _FIELDS, strict=True)
    )
    return Schedule(fields, _is_any(given[2]), _is_any(given[4]))


def _is_any(field: str) -> bool:
    return any(part in ("*", "?", "*/1", "?/1") for part in field.split(","))


def _duration(text: str) -> float:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _values(part: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int]:
    """Return the values of `*`, `5`, `1-5`, or one of them with a step such as `*/5`."""
    span, slash, step = part.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
        raise ValueError(f"{part!r} has no valid step")
    if span in ("*", "?"):
        return frozenset(range(low, high + 1, int(step or 1)))
    numbers = dict(zip(names, range(low, high + 1), strict=False))
    ends = [str(numbers.get(end.lower(), end)) for end in span.split("-")]
    if len(ends) > 2 or not all(end.isascii() and end.isdigit() for end in ends):
        raise ValueError(f"{part!r} is not a number or a range")
    first, last = int(ends[0]), int(ends[-1])
    if slash and len(ends) == 1:
        last = high
    if not low <= first <= last <= high:
        raise ValueError(f"{part!r} is not between {low} and {high}")
    return frozenset(range(first, last + 1, int(step or 1)))
