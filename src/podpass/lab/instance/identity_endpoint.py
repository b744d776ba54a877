"""The managed identity endpoint of the cloud half: its identities, and tokens of its token service."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from podpass.clock import Clock
from podpass.crypto.secret import Secret
from podpass.database import DatabaseFailed
from podpass.directory.model import Identity, IdentityKind
from podpass.exchange.errors.catalogue import AadstsError
from podpass.imds.entra_client import TokenNotAcquired
from podpass.imds.identity_headers import IdentityHeaders
from podpass.imds.managed_identity import AssignedIdentity, ManagedIdentityApp
from podpass.imds.token_cache import AccessToken
from podpass.imds.token_query import ManagedIdentityQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podpass.directory.store.directory import Directory
    from podpass.exchange.managed_identity_tokens import ManagedIdentityTokens


class DirectoryIdentities:
    """The managed identities of one tenant, and their tokens.

    `assigned` are the resource IDs of the assigned identities; without them, every managed identity is
    assigned. A name is not enough: another resource group may have an identity of that name.
    """

    def __init__(
        self,
        directory: "Directory",
        tokens: "ManagedIdentityTokens",
        tenant_id: str,
        assigned: Sequence[str],
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._tokens = tokens
        self._tenant_id = tenant_id
        self._assigned = assigned
        self._clock = clock

    async def find(
        self, query: ManagedIdentityQuery, owner: str | None
    ) -> Sequence[AssignedIdentity]:
        """Return the identities that a query selects, at most two.

        Raises TokenNotAcquired if the database fails.
        """
        allowed = [one.lower() for one in (self._assigned if owner is None else (owner,))]
        with _database_errors():
            candidates = await self._candidates(query, allowed)
        return [
            AssignedIdentity(
                client_id=one.client_id,
                object_id=one.object_id,
                resource_id=one.resource_id or "",
            )
            for one in candidates
            if one.kind is IdentityKind.MANAGED_IDENTITY
            and (not allowed or (one.resource_id or "").lower() in allowed)
        ][:2]

    async def _candidates(
        self, query: ManagedIdentityQuery, allowed: Sequence[str]
    ) -> Sequence[Identity]:
        identities, tenant_id = self._directory.identities, self._tenant_id
        if query.selector == "client_id":
            found = await identities.get(tenant_id, query.value)
            return [found] if found else []
        if query.selector:
            found = await identities.find(tenant_id, **{query.selector: query.value})
            return [found] if found else []
        if not allowed:
            managed = IdentityKind.MANAGED_IDENTITY
            return await identities.page(tenant_id, kind=managed, limit=2)
        found_ones = [await identities.find(tenant_id, resource_id=each) for each in allowed]
        return [one for one in found_ones if one is not None]

    async def acquire(self, identity: AssignedIdentity, resource: str) -> AccessToken:
        """Return a token of an identity. Raises TokenNotAcquired."""
        try:
            with _database_errors():
                issued = await self._tokens.issue(self._tenant_id, identity.client_id, resource)
        except AadstsError as exc:
            text = f"{exc.entry.name}: {exc.message}"
            raise TokenNotAcquired(text, number=exc.entry.name, status=exc.status) from exc
        return AccessToken(token=issued.token, obtained=self._clock(), expires=issued.expires)


@contextmanager
def _database_errors() -> Iterator[None]:
    """Convert errors of the database to a temporary error, which clients retry."""
    try:
        yield
    except DatabaseFailed as exc:
        raise TokenNotAcquired(f"The directory is unavailable: {exc.message}") from exc


def create_app(
    directory: "Directory",
    tokens: "ManagedIdentityTokens",
    tenant_id: str,
    clock: Clock,
    *,
    assigned: Sequence[str] = (),
    headers: "Mapping[str, Secret]",
    hosts: Collection[str] = (),
) -> ManagedIdentityApp:
    """Create the application of the endpoint.

    `assigned` are the resource IDs of the identities that IMDS' protocol can use; `headers` maps the resource
    ID of an identity to the secret header of App Service's protocol. Without `assigned`, IMDS can use every
    managed identity; with headers and without `assigned` it is off, because it needs no secret. `hosts` are
    the names of the endpoint, in lower case.
    """
    source = DirectoryIdentities(directory, tokens, tenant_id, assigned, clock)
    serves_imds = bool(assigned) or not headers
    return ManagedIdentityApp(
        source, IdentityHeaders(headers), clock, hosts=hosts, serves_imds=serves_imds
    )
