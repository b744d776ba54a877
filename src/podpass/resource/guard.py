"""The guard of an API: it verifies the access token of a request and returns the caller.

    guard = Guard(tenant_id=TENANT, audiences={"api://orders"})
    caller = await guard.admit(request.headers.getlist("authorization"))
    require_role(caller, "Orders.Read")

The module `checks` has the checks; the guard provides keys, clock and requirements. The vault uses it, and
your own API can use it: docs/develop/protect-your-api.md.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from podpass import guids, names
from podpass.clock import Clock, system
from podpass.crypto import jose
from podpass.errors import Error, SettingsError
from podpass.resource import checks
from podpass.resource.authority_keys import KeysUnavailable, PublishedKeys
from podpass.resource.checks import Check, Principal, TokenRefused, TokenRequirements
from podpass.resource.web_fetcher import WebFetcher

__all__ = [
    "Check",
    "Guard",
    "KeysUnavailable",
    "NotAllowed",
    "Principal",
    "PublishedKeys",
    "TokenRefused",
    "require_role",
    "require_scope",
]

AUTHORITY = f"https://{names.LOGIN_HOST}"
_MAX_LEEWAY_SECONDS = 300


class KeySource(Protocol):
    """A source of the authority's keys, such as PublishedKeys."""

    async def find(self, kid: str) -> jose.PublicKey | None: ...


class NotAllowed(Error):
    """The caller lacks a role or a scope."""

    code = "not_allowed"
    status = 403
    hint = "assign the role to the caller, or request a token with the scope"


class Guard:
    """Verifies access tokens of one tenant for one API, versions 1 and 2.

    `audiences` are compared exactly: the API's client ID (`aud` of version 2 tokens) and its identifier URIs
    as clients write them (version 1). `authorities` are origins whose version 2 tokens are accepted; without
    authorities, only version 1 is accepted. Without `keys`, the keys of the first authority are fetched over
    HTTPS, through the proxy in the environment. Units: `leeway_seconds` for clock differences, 0 to 300;
    `exp` and `nbf` are exact without it. Raises SettingsError for settings that would admit no caller, or too
    many.
    """

    def __init__(
        self,
        *,
        tenant_id: str,
        audiences: Collection[str],
        authorities: Sequence[str] = (AUTHORITY,),
        keys: KeySource | None = None,
        leeway_seconds: int = 0,
        clock: Clock = system,
    ) -> None:
        _check_settings(tenant_id, audiences, authorities, leeway_seconds)
        self.requirements = TokenRequirements(
            tenant_id=tenant_id,
            audiences=frozenset(audiences),
            authorities=tuple(authorities),
            leeway_seconds=leeway_seconds,
        )
        first = next(iter(authorities), AUTHORITY)
        self._realm = f"{first}/{tenant_id}"
        url = f"{self._realm}/discovery/v2.0/keys"
        self._keys: KeySource = keys or PublishedKeys(WebFetcher(), url, clock)
        self._clock = clock

    async def admit(self, authorization: Sequence[str]) -> Principal:
        """Verify the token in the values of a request's Authorization headers, and return the caller.

        Raises TokenRefused, with the WWW-Authenticate header in `challenge`; KeysUnavailable.
        """
        try:
            return await self._verify(_bearer(authorization))
        except TokenRefused as exc:
            exc.challenge = self._challenge(exc)
            raise

    async def _verify(self, bearer: str) -> Principal:
        token = checks.parse(bearer)
        key = await self._keys.find(token.kid or "")
        return checks.verify(token, key, self.requirements, self._clock())

    def _challenge(self, refused: TokenRefused) -> str:
        # RFC 6750 3.1: the challenge of a request without a token contains no error.
        challenge = f'Bearer authorization_uri="{self._realm}"'
        if refused.check is Check.MISSING:
            return challenge
        return f'{challenge}, error="invalid_token", error_description="{refused.message}"'


def require_role(caller: Principal, role: str) -> None:
    """Check that the caller has an app role. Raises NotAllowed."""
    if role not in caller.roles:
        raise NotAllowed(f"the caller lacks the role {role}", role=role)


def require_scope(caller: Principal, scope: str) -> None:
    """Check that the token has a delegated permission. Raises NotAllowed."""
    if scope not in caller.scopes:
        raise NotAllowed(f"the token lacks the scope {scope}", scope=scope)


def _bearer(authorization: Sequence[str]) -> str:
    if not authorization:
        raise TokenRefused("the request has no token", check=Check.MISSING)
    # A proxy in front of the API may have checked the other token.
    if len(authorization) > 1:
        raise TokenRefused("the request has more than one token", check=Check.MISSING)
    scheme, _, token = authorization[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenRefused("the request has no bearer token", check=Check.MISSING)
    return token.strip()


def _check_settings(
    tenant_id: str, audiences: Collection[str], authorities: Sequence[str], leeway_seconds: int
) -> None:
    problems = []
    if not guids.is_lower_guid(tenant_id):
        problems.append(f"tenant_id {tenant_id!r}: want the tenant's ID, a GUID in lower case")
    # A string is a collection of its characters: each would be an audience.
    if isinstance(audiences, str) or not audiences or not all(audiences):
        problems.append("audiences: want a list with at least one audience")
    if isinstance(authorities, str):
        problems.append("authorities: want a list of origins")
    else:
        problems += [
            f"authorities {origin!r}: want https://host without a trailing slash"
            for origin in authorities
            if not origin.startswith("https://") or origin.endswith("/")
        ]
    if not 0 <= leeway_seconds <= _MAX_LEEWAY_SECONDS:
        problems.append(f"leeway_seconds {leeway_seconds}: want 0 to {_MAX_LEEWAY_SECONDS}")
    if problems:
        raise SettingsError(problems)
