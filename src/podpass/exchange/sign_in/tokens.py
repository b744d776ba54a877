"""A user's sign-in that has passed every check in; claims of the tokens and members of the answer out. Pure.

Source: Entra's access token and id token references.
"""

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.clock import Clock
from podpass.clouds import PUBLIC, Cloud
from podpass.crypto import jose
from podpass.directory.access import GLOBAL_ADMINISTRATOR
from podpass.directory.model import ResourcePrincipal, Tenant, User
from podpass.exchange.access_token import BACKDATED_SECONDS, header, v2_issuer
from podpass.exchange.client_auth.authenticator import Acr, Proof
from podpass.exchange.sign_in import refresh_tokens, scope
from podpass.exchange.sign_in import tokens as user_grant
from podpass.exchange.sign_in.clients import Client
from podpass.exchange.sign_in.scope import Asked
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.signer import Signer
from podpass.exchange.token_request import Facts, TokenRequest
from podpass.settings import AuthoritySettings

# The directory role that every member has, by its template's id.
MEMBER = "b79fbf4d-3ef9-4689-8143-76b194e85509"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserExchange:
    """A user's sign-in that has passed every check.

    Shapes:  `permissions` are those granted, `roles` the user's in the resource; `version` that of the
             endpoint asked.
    """

    tenant: Tenant
    user: User
    client: Client
    proof: Proof
    resource: ResourcePrincipal
    asked: Asked
    permissions: tuple[str, ...]
    roles: tuple[str, ...]
    authenticated: int
    nonce: str
    origin: str
    version: int
    cloud: Cloud = PUBLIC


def subject(user: User, app_id: str) -> str:
    """Name a user to one application, so that two cannot compare notes."""
    return jose.b64encode(hashlib.sha256(f"{app_id}:{user.tenant_id}:{user.id}".encode()).digest())


def access_claims(
    exchange: UserExchange, *, now: float, seconds: int, uti: str, administers: bool
) -> dict[str, Any]:
    """Make the access token's claims, in the version the resource wants.

    Shapes:  `administers` is whether the user may change everything.
    Units:   `seconds` from `now` to `exp`.
    """
    issued = int(now)
    user, resource = exchange.user, exchange.resource
    made = {
        "aud": exchange.asked.resource,
        "iss": exchange.cloud.v1_issuer(exchange.tenant.id),
        "iat": issued - BACKDATED_SECONDS,
        "nbf": issued - BACKDATED_SECONDS,
        "exp": issued + seconds,
        "name": user.display_name or user.name,
        "oid": user.id,
        "scp": " ".join(exchange.permissions),
        "sub": subject(user, resource.app_id),
        "tid": exchange.tenant.id,
        "uti": uti,
        "wids": [GLOBAL_ADMINISTRATOR, MEMBER] if administers else [MEMBER],
        **(_v2(exchange) if resource.token_version == 2 else _v1(exchange)),
    }
    if exchange.roles:
        made["roles"] = list(exchange.roles)
    return made


def _v1(exchange: UserExchange) -> dict[str, Any]:
    return {
        "acr": "1",
        "amr": ["pwd"],
        "appid": exchange.client.id,
        "appidacr": exchange.proof.acr,
        "idtyp": "user",
        "unique_name": exchange.user.name,
        "upn": exchange.user.name,
        "ver": "1.0",
    }


def _v2(exchange: UserExchange) -> dict[str, Any]:
    return {
        "aud": exchange.resource.app_id,
        "iss": v2_issuer(exchange.origin, exchange.tenant.id),
        "azp": exchange.client.id,
        "azpacr": exchange.proof.acr,
        "idtyp": "user",
        "preferred_username": exchange.user.name,
        "ver": "2.0",
    }


def id_claims(exchange: UserExchange, *, now: float, seconds: int, uti: str) -> dict[str, Any]:
    """Make the id token's claims: who signed in, for the client alone.

    Units:   `seconds` from `now` to `exp`.
    """
    issued, user = int(now), exchange.user
    made = {
        "aud": exchange.client.id,
        "iss": v2_issuer(exchange.origin, exchange.tenant.id),
        "iat": issued - BACKDATED_SECONDS,
        "nbf": issued - BACKDATED_SECONDS,
        "exp": issued + seconds,
        "auth_time": exchange.authenticated,
        "name": user.display_name or user.name,
        "oid": user.id,
        "preferred_username": user.name,
        "sub": subject(user, exchange.client.id),
        "tid": exchange.tenant.id,
        "uti": uti,
        "ver": "2.0",
    }
    if exchange.nonce:
        made["nonce"] = exchange.nonce
    return made


def client_info(user: User) -> str:
    """Write what MSAL makes its account's id of."""
    return jose.b64encode(jose.dumps({"uid": user.id, "utid": user.tenant_id}))


def answer(
    exchange: UserExchange, tokens: dict[str, str], *, now: float, seconds: int, info: bool
) -> dict[str, Any]:
    """Make the members of a success, as the endpoint's version writes them.

    Shapes:  `tokens` by the name they are answered under; `info` when the client asked for `client_info`.
    """
    asked, permissions = exchange.asked, exchange.permissions
    times: dict[str, Any] = {"expires_in": seconds, "ext_expires_in": seconds}
    body = {"token_type": "Bearer", "scope": scope.answered(asked, permissions)}
    if exchange.version == 1:
        times |= {"expires_on": int(now) + seconds, "not_before": int(now) - BACKDATED_SECONDS}
        times = {name: str(value) for name, value in times.items()}
        body |= {"scope": " ".join(permissions), "resource": asked.resource}
    if "refresh_token" in tokens and exchange.client.family:
        body["foci"] = exchange.client.family
    if info:
        body["client_info"] = client_info(exchange.user)
    return {**body, **times, **tokens}


class UserTokens:
    """Make a success's body."""

    def __init__(
        self, keys: AuthorityKeys, signer: Signer, settings: AuthoritySettings, clock: Clock
    ) -> None:
        self._keys = keys
        self._signer = signer
        self._settings = settings
        self._clock = clock

    async def grant(self, exchange: UserExchange, request: TokenRequest, facts: Facts) -> bytes:
        """Sign the tokens a client asked for, and write them as JSON."""
        now, seconds = self._clock(), self._settings.user_token_seconds
        facts["uti"] = uti = jose.b64encode(os.urandom(16))
        claims = user_grant.access_claims(
            exchange,
            now=now,
            seconds=seconds,
            uti=uti,
            administers=exchange.user.id in self._settings.administrators,
        )
        key = await self._keys.current()
        tokens = {"access_token": await self._signer.sign(key, claims, header(claims, key.kid))}
        if "offline_access" in exchange.asked.wanted:
            tokens["refresh_token"] = refresh_tokens.mint(
                self._keys.seal,
                exchange.user,
                exchange.client.id,
                clock=self._clock,
                authenticated=exchange.authenticated,
                proved=exchange.proof.acr != Acr.NOTHING,
            )
        if "openid" in exchange.asked.wanted:
            said = user_grant.id_claims(exchange, now=now, seconds=seconds, uti=uti)
            tokens["id_token"] = await self._signer.sign(key, said, {"typ": "JWT"})
        info = bool(request.get("client_info"))
        return orjson.dumps(
            user_grant.answer(exchange, tokens, now=now, seconds=seconds, info=info)
        )
