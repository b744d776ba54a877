"""The author of changes: an API sets the actor, and the store records it with each change."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The author of a change: an object id, empty for podpass itself, and a display name."""

    object_id: str = ""
    name: str = "podpass"


_PODPASS = Actor()
actor: ContextVar[Actor] = ContextVar("actor", default=_PODPASS)


@contextmanager
def acting(author: Actor) -> Iterator[None]:
    """Record `author` as the actor of the changes made inside this context."""
    token = actor.set(author)
    try:
        yield
    finally:
        actor.reset(token)
