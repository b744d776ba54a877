"""What kubeling gets from an instance: signer, Entra tokens, requests to a real API server, and the log."""

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from kubeling.api import MERGE_PATCH, ApiError, Event, Object
from kubeling.audit import audit_id
from kubeling.cluster import InvalidBearerToken, UserInfo
from kubeling.errors import Error as KubelingError
from kubeling.service_account.signer import InvalidSignature

from podpass import log
from podpass.assertion.keys import KeyRing
from podpass.clock import Clock
from podpass.crypto import jose
from podpass.directory.resources import AKS_APP_ID, audiences
from podpass.errors import Error
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.service_account.discovery import jwks_document
from podpass.resource.guard import Guard, KeySource, KeysUnavailable, TokenRefused

# The events of kubeling that are hops of a token, all in one stage.
_HOPS = frozenset(
    {"token_signed", "token_request_refused", "token_projected", "token_projection_refused"}
)


class RingSigner:
    """Signs and verifies ServiceAccount tokens with the keys of the instance's issuer."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign claims with the active key."""
        return self._ring.sign(claims)

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that a published key has signed.

        Raises:
            InvalidSignature
        """
        try:
            parsed = jose.parse(token)
            for key in self._ring.public:
                if parsed.kid == key.kid:
                    jose.verify(parsed, key)
                    return dict(parsed.claims)
        except (jose.MalformedToken, jose.BadSignature) as exc:
            raise InvalidSignature(exc.message) from exc
        raise InvalidSignature("no published key has the kid of the token")

    def jwks(self) -> dict[str, Any]:
        """Return the published keys."""
        return jwks_document(self._ring.public)


class HttpApi:
    """The protocol of kubeling's kubelet over HTTPS, for a real API server."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self.server = client.server

    async def get(self, path: str) -> Object:
        """Read an object."""
        with _as_api_error():
            return await self._client.get(path)

    async def list(self, path: str) -> Sequence[Object]:
        """Read a whole collection."""
        with _as_api_error():
            return (await self._client.list(path))[0]

    async def create(self, path: str, body: Object) -> Object:
        """Create an object."""
        with _as_api_error():
            return await self._client.create(path, body)

    async def patch(self, path: str, body: Any, content_type: str = MERGE_PATCH) -> Object:
        """Patch an object."""
        with _as_api_error():
            return await self._client.patch(path, body, content_type)

    async def delete(self, path: str, options: Object | None = None) -> Object:
        """Delete an object."""
        with _as_api_error():
            return await self._client.delete(path, options)

    def watch(self, path: str, *, metadata_only: bool = False) -> AsyncIterator[Event]:
        """Watch a collection until cancelled."""
        return self._client.watch(path, metadata_only=metadata_only)


@contextlib.contextmanager
def _as_api_error() -> Iterator[None]:
    try:
        yield
    except KubeError as exc:
        raise ApiError(exc.status, exc.reason, exc.message) from exc


@contextlib.contextmanager
def podpass_errors() -> Iterator[None]:
    """Replace an error of kubeling by podpass's own, which the command line shows with its hint."""
    try:
        yield
    except KubelingError as exc:
        raise Error(exc.message, hint=exc.hint or None, **exc.facts) from exc


class _HopFilter(logging.Filter):
    """Adds to kubeling's records what podpass's log needs: the correlation ID, and the marks of a hop."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record."""
        if request := audit_id.get():
            record.correlation_id = request
        if record.msg in _HOPS:
            record.hop, record.stage = True, "assertion"
        return True


def write_log_of_kubeling() -> None:
    """Write the log of kubeling where podpass writes its own."""
    log.adopt("kubeling", _HopFilter())


class EntraTokens:
    """Accepts version 1 tokens of one tenant for AKS's server application.

    The username is a user's principal name, or an application's object ID.
    """

    def __init__(self, tenant_id: str, keys: KeySource, clock: Clock) -> None:
        self._guard = Guard(
            tenant_id=tenant_id,
            audiences=audiences(AKS_APP_ID),
            authorities=(),
            keys=keys,
            clock=clock,
        )

    async def authenticate(self, token: str) -> UserInfo:
        """Return the user of a token. Raises InvalidBearerToken."""
        try:
            caller = await self._guard.admit([f"Bearer {token}"])
        except (TokenRefused, KeysUnavailable) as exc:
            raise InvalidBearerToken(f"[invalid bearer token, {exc.message}]") from exc
        name = caller.claims.get("upn") if caller.is_user else None
        return UserInfo(name=name or caller.object_id, extra={"oid": [caller.object_id]})
