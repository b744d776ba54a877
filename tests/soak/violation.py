"""The error that a soak reports."""


class Violation(Exception):
    """An invariant of the service was violated; the message names it."""
