"""Build the claims of the tokens and the token response for a verified sign-in of a user.

Source: Entra's access token and id token references.
"""

import os
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.clock import Clock
from podpass.clouds import PUBLIC, Cloud
from podpass.crypto import jose
from podpass.directory.access import GLOBAL_ADMINISTRATOR
from podpass.directory.model import ResourcePrincipal, Tenant, User
from podpass.exchange.access_token import BACKDATED_SECONDS, build_header, log_facts, v2_issuer
from podpass.exchange.client_auth.authenticator import Acr, ClientAuthentication
from podpass.exchange.sign_in import refresh_tokens, scope
from podpass.exchange.sign_in.clients import Client
from podpass.exchange.sign_in.scope import RequestedScope
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.signer import Signer
from podpass.exchange.token_request import TokenRequest
from podpass.settings import AuthoritySettings

# The directory role of every member, by the ID of its template.
MEMBER = "b79fbf4d-3ef9-4689-8143-76b194e85509"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserExchange:
    """The verified sign-in of a user.

    `permissions` are the granted ones, `roles` the user's app roles in the resource; `capabilities` is the
    claim `xms_cc`; `version` is that of the endpoint.
    """

    tenant: Tenant
    user: User
    client: Client
    client_authentication: ClientAuthentication
    resource: ResourcePrincipal
    requested: RequestedScope
    permissions: tuple[str, ...]
    roles: tuple[str, ...]
    capabilities: tuple[str, ...] = ()
    authenticated: int
    nonce: str
    origin: str
    version: int
    cloud: Cloud = PUBLIC


def build_access_claims(
    exchange: UserExchange, *, now: float, seconds: int, uti: str, administers: bool
) -> dict[str, Any]:
    """Return the claims of the access token, in the version of the resource.

    `administers` is whether the user is a Global Administrator. Units: `seconds` from `now` to `exp`.
    """
    issued = int(now)
    user, resource = exchange.user, exchange.resource
    claims = {
        "aud": exchange.requested.resource,
        "iss": exchange.cloud.v1_issuer(exchange.tenant.id),
        "iat": issued - BACKDATED_SECONDS,
        "nbf": issued - BACKDATED_SECONDS,
        "exp": issued + seconds,
        "name": user.display_name or user.name,
        "oid": user.id,
        "scp": " ".join(exchange.permissions),
        "sub": user.pairwise_subject(resource.app_id),
        "tid": exchange.tenant.id,
        "uti": uti,
        "wids": [GLOBAL_ADMINISTRATOR, MEMBER] if administers else [MEMBER],
        **(_v2(exchange) if resource.token_version == 2 else _v1(exchange)),
    }
    if exchange.roles:
        claims["roles"] = list(exchange.roles)
    if exchange.capabilities:
        claims["xms_cc"] = list(exchange.capabilities)
    return claims


def _v1(exchange: UserExchange) -> dict[str, Any]:
    return {
        "acr": "1",
        "amr": ["pwd"],
        "appid": exchange.client.id,
        "appidacr": exchange.client_authentication.acr,
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
        "azpacr": exchange.client_authentication.acr,
        "idtyp": "user",
        "preferred_username": exchange.user.name,
        "ver": "2.0",
    }


def build_id_claims(
    exchange: UserExchange, *, now: float, seconds: int, uti: str
) -> dict[str, Any]:
    """Return the claims of the ID token.

    Units: `seconds` from `now` to `exp`.
    """
    issued, user = int(now), exchange.user
    claims = {
        "aud": exchange.client.id,
        "iss": v2_issuer(exchange.origin, exchange.tenant.id),
        "iat": issued - BACKDATED_SECONDS,
        "nbf": issued - BACKDATED_SECONDS,
        "exp": issued + seconds,
        "auth_time": exchange.authenticated,
        "name": user.display_name or user.name,
        "oid": user.id,
        "preferred_username": user.name,
        "sub": user.pairwise_subject(exchange.client.id),
        "tid": exchange.tenant.id,
        "uti": uti,
        "ver": "2.0",
    }
    if "email" in exchange.requested.oidc_scopes:
        claims["email"] = user.name
    if exchange.nonce:
        claims["nonce"] = exchange.nonce
    return claims


def build_client_info(user: User) -> str:
    """Return the `client_info` value from which MSAL builds its account ID."""
    return jose.b64encode(jose.dumps({"uid": user.id, "utid": user.tenant_id}))


def build_response(
    exchange: UserExchange, tokens: dict[str, str], *, now: float, seconds: int, info: bool
) -> dict[str, Any]:
    """Return the fields of a successful response in the version of the endpoint.

    `tokens` by field name; `info` is whether the client requested `client_info`.
    """
    requested, permissions = exchange.requested, exchange.permissions
    times: dict[str, Any] = {"expires_in": seconds, "ext_expires_in": seconds}
    body = {"token_type": "Bearer", "scope": scope.format_scope(requested, permissions)}
    if exchange.version == 1:
        times |= {"expires_on": int(now) + seconds, "not_before": int(now) - BACKDATED_SECONDS}
        times = {name: str(value) for name, value in times.items()}
        body |= {"scope": " ".join(permissions), "resource": requested.resource}
    if "refresh_token" in tokens and exchange.client.family:
        body["foci"] = exchange.client.family
    if info:
        body["client_info"] = build_client_info(exchange.user)
    return {**body, **times, **tokens}


class UserTokens:
    """Issues the tokens of a user."""

    def __init__(
        self, keys: AuthorityKeys, signer: Signer, settings: AuthoritySettings, clock: Clock
    ) -> None:
        self._keys = keys
        self._signer = signer
        self._settings = settings
        self._clock = clock

    async def issue(self, exchange: UserExchange, request: TokenRequest) -> bytes:
        """Sign the requested tokens, and return the response as JSON."""
        now, seconds = self._clock(), self._settings.user_token_seconds
        uti = jose.b64encode(os.urandom(16))
        claims = build_access_claims(
            exchange,
            now=now,
            seconds=seconds,
            uti=uti,
            administers=exchange.user.id in self._settings.administrators,
        )
        request.record.add(**log_facts(claims))
        key = await self._keys.current()
        tokens = {
            "access_token": await self._signer.sign(key, claims, build_header(claims, key.kid))
        }
        if "offline_access" in exchange.requested.oidc_scopes:
            tokens["refresh_token"] = refresh_tokens.issue(
                self._keys.token_sealer,
                exchange.user,
                exchange.client.id,
                clock=self._clock,
                authenticated=exchange.authenticated,
                confidential=exchange.client_authentication.acr != Acr.NOTHING,
            )
        if "openid" in exchange.requested.oidc_scopes:
            id_claims = build_id_claims(exchange, now=now, seconds=seconds, uti=uti)
            tokens["id_token"] = await self._signer.sign(key, id_claims, {"typ": "JWT"})
        info = bool(request.get("client_info"))
        return orjson.dumps(build_response(exchange, tokens, now=now, seconds=seconds, info=info))
