"""Facts that were read from another system, or could not be read."""

from dataclasses import dataclass
from typing import TypeVar

from podpass.errors import Error

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unread:
    """A fact that could not be read, with the reason in one clause."""

    reason: str


class FactUnread(Error):
    """A decision needs a fact that could not be read; the message has the reason."""

    code = "not_read"


def known(fact: T | Unread) -> T:
    """Return a fact that was read. Raises FactUnread."""
    if isinstance(fact, Unread):
        raise FactUnread(fact.reason)
    return fact
