"""Times that every calendar has."""

from sqlalchemy import Double

# Midnight before the years 1 and 10000: beyond them no date can be written.
BEGIN, END = -62135596800.0, 253402300800.0


class Moment(Double[float]):
    """A column of seconds since the epoch; a row in which they are no date is damaged."""
