"""A request to a vault, its response, and the operation that serves it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from podpass.http.server import Headers
from podpass.http.shares import ShareExceeded
from podpass.lab.services.vault import errors, wire
from podpass.lab.services.vault.model import (
    SECRETS,
    AuditContext,
    Kind,
    ObjectVersion,
    Vault,
    collection_of,
    recovery_policy,
)
from podpass.lab.services.vault.slow_work import FairSlots, WorkLimits
from podpass.lab.services.vault.store import VaultStore

# Enough for a value of 25 KB with every byte escaped, and its attributes.
MAX_BODY_BYTES = 256 * 1024
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultResponse:
    """A response: JSON, or nothing."""

    body: dict[str, Any] | None = None
    status: int = 200
    headers: Headers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultRequest:
    """An authorized request: `name` and `version` may be empty, `base` is the origin in IDs of objects.

    `principal` is the object ID of the caller; `limits` are those of all vaults.
    """

    store: VaultStore
    vault: Vault
    kind: Kind
    base: str
    name: str
    version: str
    query: Mapping[str, str]
    body: bytes
    now: float
    action: str
    principal: str
    limits: WorkLimits

    @property
    def collection(self) -> str:
        """Return the key of the vault's objects of this kind in the store."""
        return collection_of(self.vault, self.kind)

    @property
    def audit(self) -> AuditContext:
        """Return the context of the audit entry."""
        return AuditContext(action=self.action, base=self.base, now=self.now)

    @property
    def context(self) -> wire.VaultContext:
        """Return the values of the vault in responses."""
        return wire.VaultContext(base=self.base, recovery=recovery_policy(self.vault))

    def require_found(self, found: ObjectVersion | None) -> ObjectVersion:
        """Return a version that was found. Raises ObjectNotFound."""
        if found is None:
            path = f"{self.name}/{self.version}" if self.version else self.name
            raise errors.not_found(self.kind, path)
        return found

    async def find_version(self) -> ObjectVersion:
        """Return the requested version, or the latest one. Raises ObjectNotFound."""
        return self.require_found(await self.store.get(self.collection, self.name, self.version))

    async def compute(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Run a function that takes milliseconds in a thread, within the caller's share. Raises Throttled."""
        with _throttling(), self.limits.computing.hold(self.principal):
            return await asyncio.to_thread(function, *args, **kwargs)

    async def generate(
        self,
        function: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Run a function that may take seconds in a thread, in a slot of the caller. Raises Throttled."""
        async with self.slot(self.limits.generation):
            return await asyncio.to_thread(function, *args, **kwargs)

    @contextlib.asynccontextmanager
    async def slot(self, slots: FairSlots) -> AsyncIterator[None]:
        """Wait for a slot of the caller, and hold it until the context ends. Raises Throttled."""
        with _throttling():
            async with slots.take(self.principal):
                yield


@contextlib.contextmanager
def _throttling() -> Iterator[None]:
    try:
        yield
    except ShareExceeded as exc:
        raise errors.Throttled(
            f"The caller has too many requests at the same time: {exc.message}.",
            hint="repeat the request after the time in Retry-After",
        ) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation, with the data action or the access policy permission that it needs.

    `permission` is one for objects of `kind`, in lower case. `changes` is set for operations with an audit
    entry.
    """

    title: str
    action: str
    permission: str
    run: Callable[[VaultRequest], Awaitable[VaultResponse]]
    kind: Kind = SECRETS
    changes: bool = False
    max_body: int = MAX_BODY_BYTES


Paths = dict[tuple[str, ...], dict[str, Operation]]
"""Operations by path, in which `*` is a name and `+` a version or an empty segment, then by method."""
