"""Writes of identities, with the directory's refusals said in Graph's codes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from podpass.directory.errors import DirectoryError
from podpass.directory.graph import refusals
from podpass.directory.graph.calls import Call
from podpass.directory.model import Identity


async def put(call: Call, identity: Identity) -> None:
    """Write a new identity.

    Errors:  GraphRefusal.
    """
    with translating(identity.application_id or identity.object_id):
        await call.directory.identities.put(identity)


async def change(call: Call, found: Identity, step: Callable[[Identity], Identity]) -> Identity:
    """Change an identity in one transaction; `step` sees it as it is then.

    Errors:  GraphRefusal.
    """
    with translating(found.application_id or found.object_id):
        return await call.directory.identities.change(found.tenant_id, found.client_id, step)


@contextmanager
def translating(name: str) -> Iterator[None]:
    """Say in Graph's codes what the directory refuses of what `name` names."""
    try:
        yield
    except DirectoryError as exc:
        raise refusals.of_directory(exc, name=name) from exc
