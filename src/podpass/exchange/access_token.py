"""Builds the claims of an access token and the members of the token response. Pure.

Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podpass.clouds import PUBLIC, Cloud
from podpass.directory.model import Identity, ResourcePrincipal, Tenant
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.exchange.client_auth.authenticator import ClientAuthentication
from podpass.exchange.client_auth.managed_identity_assertion import FEDERATION_CLAIM

# For resources whose clock is slow. Entra documents only that `nbf` equals `iat`; in its tokens, both are
# five minutes in the past.
BACKDATED_SECONDS = 300
# For lifetimes from this length on, `refresh_in` in the response makes the client renew after half of the
# lifetime.
LONG_LIVED_SECONDS = 7200
# Entra's value is base64url of a small protobuf. The meaning of its fields is not public; this one has the
# fields that every known value has, with the value zero.
_FEDERATION = "CAAQABgAIAA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A token request that passed every check.

    `requested` is the resource's identifier as the client wrote it; `origin` that of this service; `roles`
    the client's app roles of the resource; `capabilities` the claim `xms_cc`. `identity` may have only its
    names.
    """

    tenant: Tenant
    identity: Identity
    client_auth: ClientAuthentication
    resource: ResourcePrincipal
    roles: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    requested: str
    origin: str
    cloud: Cloud = PUBLIC


def build_claims(exchange: Exchange, *, now: float, seconds: int, uti: str) -> dict[str, Any]:
    """Build the access token's claims, in the version that the resource requires.

    Units: `seconds` from `now` to `exp`.
    """
    issued = int(now)
    times = {
        "iat": issued - BACKDATED_SECONDS,
        "nbf": issued - BACKDATED_SECONDS,
        "exp": issued + seconds,
    }
    build = _v2_claims if exchange.resource.token_version == 2 else _v1_claims
    claims = build(exchange, times, uti)
    if exchange.roles:
        claims["roles"] = list(exchange.roles)
    if exchange.capabilities:
        claims["xms_cc"] = list(exchange.capabilities)
    # Entra does not mark version 2 tokens for an API of the tenant.
    is_marked = exchange.resource.token_version == 1 or exchange.resource.app_id == EXCHANGE_APP_ID
    if exchange.client_auth.is_federated and is_marked:
        claims[FEDERATION_CLAIM] = _FEDERATION
    return claims


def log_facts(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return log fields that identify an issued access token without containing the token."""
    facts = {"uti": claims["uti"], "oid": claims["oid"], "token_exp": claims["exp"]}
    facts.update({name: claims[name] for name in ("roles", "scp") if name in claims})
    return facts


def _v1_claims(exchange: Exchange, times: dict[str, int], uti: str) -> dict[str, Any]:
    tenant, identity = exchange.tenant, exchange.identity
    issuer = exchange.cloud.v1_issuer(tenant.id)
    claims = {
        "aud": exchange.requested,
        "iss": issuer,
        **times,
        "appid": identity.client_id,
        "appidacr": exchange.client_auth.acr,
        "idp": issuer,
        "idtyp": "app",
        "oid": identity.object_id,
        "sub": identity.object_id,
        "tid": tenant.id,
        "uti": uti,
        "ver": "1.0",
    }
    if identity.resource_id is not None:
        claims["xms_mirid"] = identity.resource_id
    return claims


def _v2_claims(exchange: Exchange, times: dict[str, int], uti: str) -> dict[str, Any]:
    tenant, identity = exchange.tenant, exchange.identity
    return {
        "aud": exchange.resource.app_id,
        "iss": v2_issuer(exchange.origin, tenant.id),
        **times,
        "azp": identity.client_id,
        "azpacr": exchange.client_auth.acr,
        "idtyp": "app",
        "oid": identity.object_id,
        "sub": identity.object_id,
        "tid": tenant.id,
        "uti": uti,
        "ver": "2.0",
    }


def build_header(claims: Mapping[str, Any], key_id: str) -> dict[str, str]:
    """Return the additional members of the token's header; version 1 also has the thumbprint.

    `key_id` is the thumbprint of the certificate.
    """
    return {"typ": "JWT", "x5t": key_id} if claims["ver"] == "1.0" else {"typ": "JWT"}


def v2_issuer(origin: str, tenant: str) -> str:
    """Return the issuer of version 2 tokens of a tenant."""
    return f"{origin}/{tenant}/v2.0"


def build_response(
    token: str, *, version: int, requested: str, now: float, seconds: int
) -> dict[str, Any]:
    """Build the members of a token response, in the format of the endpoint's version.

    There is no `scope`: MSAL Go treats a response as an error if its scope lacks a requested one.
    """
    expires_on, not_before = int(now) + seconds, int(now) - BACKDATED_SECONDS
    times = {"expires_in": seconds, "ext_expires_in": seconds, "expires_on": expires_on}
    if seconds >= LONG_LIVED_SECONDS:
        times["refresh_in"] = seconds // 2
    if version == 1:
        texts = {name: str(value) for name, value in times.items()}
        return {
            "token_type": "Bearer",
            **texts,
            "not_before": str(not_before),
            "resource": requested,
            "access_token": token,
        }
    return {"token_type": "Bearer", **times, "access_token": token}
