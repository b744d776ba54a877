"""Who calls, for any API: one object that admits a request's access token or says why not.

    guard = Guard(tenant_id=TENANT, audiences={"api://orders"})
    caller = await guard.admit(request.headers.getlist("authorization"))
    require_role(caller, "Orders.Read")

The verdicts are `checks`'; this holds what they need: the keys, the clock, what is accepted. The key vault
uses it, and so can your own API: docs/guides/protect-your-api.md.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from podpass import guids, names
from podpass.clock import Clock, system
from podpass.crypto import jose
from podpass.errors import Error, SettingsError
from podpass.resource import checks
from podpass.resource.authority_keys import KeysUnavailable, PublishedKeys
from podpass.resource.bearer import WebFetcher
from podpass.resource.checks import Accepted, Check, Principal, TokenRefused

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


class Keys(Protocol):
    """Where the authority's keys are found by name; PublishedKeys is one."""

    async def find(self, kid: str) -> jose.PublicKey | None: ...


class NotAllowed(Error):
    """The caller is known and lacks a role or a scope."""

    code = "not_allowed"
    status = 403
    hint = "give the caller the role, or ask for a token with the scope"


class Guard:
    """Admit callers with access tokens of one tenant for one API, versions 1 and 2.

    Shapes:  `audiences` are exact: the API's client id (`aud` of version 2 tokens) and its identifier URIs
             as clients write them (version 1). `authorities` are origins whose version 2 tokens are
             accepted; with none, only version 1 passes. Without `keys`, those of the first authority are
             fetched over HTTPS, through the proxy the environment names.
    Units:   `leeway_seconds` for clocks that differ, 0 to 300; both edges are exact without it.
    Errors:  SettingsError for what could never admit anyone, or would admit too many.
    """

    def __init__(
        self,
        *,
        tenant_id: str,
        audiences: Collection[str],
        authorities: Sequence[str] = (AUTHORITY,),
        keys: Keys | None = None,
        leeway_seconds: int = 0,
        clock: Clock = system,
    ) -> None:
        _check_settings(tenant_id, audiences, authorities, leeway_seconds)
        self.accepted = Accepted(
            tenant_id=tenant_id,
            audiences=frozenset(audiences),
            authorities=tuple(authorities),
            leeway_seconds=leeway_seconds,
        )
        first = next(iter(authorities), AUTHORITY)
        self._realm = f"{first}/{tenant_id}"
        url = f"{self._realm}/discovery/v2.0/keys"
        self._keys: Keys = keys or PublishedKeys(WebFetcher(), url, clock)
        self._clock = clock

    async def admit(self, authorization: Sequence[str]) -> Principal:
        """Check the token in the values of a request's Authorization headers, and say who calls.

        Errors:  TokenRefused, with the answer's WWW-Authenticate in `challenge`; KeysUnavailable.
        """
        try:
            return await self._judge(_bearer(authorization))
        except TokenRefused as exc:
            exc.challenge = self._challenge(exc)
            raise

    async def _judge(self, bearer: str) -> Principal:
        token = checks.read(bearer)
        key = await self._keys.find(token.kid or "")
        return checks.check(token, key, self.accepted, self._clock())

    def _challenge(self, refused: TokenRefused) -> str:
        # RFC 6750 3.1: a request that tried nothing is told no error.
        place = f'Bearer authorization_uri="{self._realm}"'
        if refused.check is Check.MISSING:
            return place
        return f'{place}, error="invalid_token", error_description="{refused.message}"'


def require_role(caller: Principal, role: str) -> None:
    """Let pass a caller who holds an application role.

    Errors:  NotAllowed.
    """
    if role not in caller.roles:
        raise NotAllowed(f"the caller lacks the role {role}", role=role)


def require_scope(caller: Principal, scope: str) -> None:
    """Let pass a user who lets the application do this.

    Errors:  NotAllowed.
    """
    if scope not in caller.scopes:
        raise NotAllowed(f"the token lacks the scope {scope}", scope=scope)


def _bearer(authorization: Sequence[str]) -> str:
    if not authorization:
        raise TokenRefused("the request carries no token", check=Check.MISSING)
    # Whoever stands in front may have looked at the other one.
    if len(authorization) > 1:
        raise TokenRefused("the request carries more than one token", check=Check.MISSING)
    scheme, _, token = authorization[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenRefused("the request carries no bearer token", check=Check.MISSING)
    return token.strip()


def _check_settings(
    tenant_id: str, audiences: Collection[str], authorities: Sequence[str], leeway_seconds: int
) -> None:
    problems = []
    if not guids.is_lower_guid(tenant_id):
        problems.append(f"tenant_id {tenant_id!r}: want the tenant's id, a GUID in lower case")
    # A text is a collection of its letters: each would be an audience.
    if isinstance(audiences, str) or not audiences or not all(audiences):
        problems.append("audiences: want a list of one audience at least")
    if isinstance(authorities, str):
        problems.append("authorities: want a list of origins")
    else:
        problems += [
            f"authorities {origin!r}: want https://host without a slash at the end"
            for origin in authorities
            if not origin.startswith("https://") or origin.endswith("/")
        ]
    if not 0 <= leeway_seconds <= _MAX_LEEWAY_SECONDS:
        problems.append(f"leeway_seconds {leeway_seconds}: want 0 to {_MAX_LEEWAY_SECONDS}")
    if problems:
        raise SettingsError(problems)
