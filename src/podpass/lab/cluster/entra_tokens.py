"""Authenticate Entra tokens for the embedded Kubernetes API, as in AKS with Entra integration."""

from kubeling.cluster import InvalidBearerToken, UserInfo

from podpass.clock import Clock
from podpass.directory.resources import AKS_APP_ID, audiences
from podpass.resource.guard import Guard, KeySource, KeysUnavailable, TokenRefused


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
