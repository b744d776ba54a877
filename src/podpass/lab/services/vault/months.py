"""Months of the calendar. Pure."""

import calendar
from datetime import datetime


def add_months(start: datetime, months: int) -> datetime:
    """Return the same day after a number of months, or the last day of a shorter month."""
    year, month = divmod(start.month - 1 + months, 12)
    year, month = start.year + year, month + 1
    day = min(start.day, calendar.monthrange(year, month)[1])
    return start.replace(year=year, month=month, day=day)
