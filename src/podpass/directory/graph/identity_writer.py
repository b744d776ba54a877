"""Write identities; convert errors of the directory to Graph errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from podpass.directory.errors import DirectoryError
from podpass.directory.graph import errors
from podpass.directory.graph.model import GraphRequest
from podpass.directory.model import Identity


async def create(request: GraphRequest, identity: Identity) -> None:
    """Store a new identity. Raises GraphError."""
    with translate_errors(identity.application_id or identity.object_id):
        await request.directory.identities.put(identity)


async def update(
    request: GraphRequest, found: Identity, step: Callable[[Identity], Identity]
) -> Identity:
    """Change an identity in one transaction; `step` receives its current state. Raises GraphError."""
    with translate_errors(found.application_id or found.object_id):
        return await request.directory.identities.change(found.tenant_id, found.client_id, step)


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Convert errors of the directory to Graph errors about the object `name`."""
    try:
        yield
    except DirectoryError as exc:
        raise errors.from_directory_error(exc, name=name) from exc
