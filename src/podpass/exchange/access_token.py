"""A verified exchange in, the access token's claims and the answer's members out. Pure.

Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podpass.clouds import PUBLIC, Cloud
from podpass.directory.model import Identity, ResourcePrincipal, Tenant
from podpass.exchange.client_auth.authenticator import Proof

# For resources whose clock is behind. Entra's documentation says only that `nbf` is `iat`; that both lie
# five minutes back is what its tokens are known for.
BACKDATED_SECONDS = 300
# From this lifetime on a client is told to renew at half of it.
LONG_LIVED_SECONDS = 7200


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A token request that has passed every check.

    Shapes:  `asked` is the resource's identifier as the client wrote it; `origin` the service's; `roles`
             the application roles of the resource that the client holds. Of `identity` only what names it
             need be there.
    """

    tenant: Tenant
    identity: Identity
    proof: Proof
    resource: ResourcePrincipal
    roles: tuple[str, ...] = ()
    asked: str
    origin: str
    cloud: Cloud = PUBLIC


def claims(exchange: Exchange, *, now: float, seconds: int, uti: str) -> dict[str, Any]:
    """Make the access token's claims, in the version the resource wants.

    Units:   `seconds` from `now` to `exp`.
    """
    issued = int(now)
    times = {
        "iat": issued - BACKDATED_SECONDS,
        "nbf": issued - BACKDATED_SECONDS,
        "exp": issued + seconds,
    }
    make = _v2 if exchange.resource.token_version == 2 else _v1
    made = make(exchange, times, uti)
    if exchange.roles:
        made["roles"] = list(exchange.roles)
    return made


def _v1(exchange: Exchange, times: dict[str, int], uti: str) -> dict[str, Any]:
    tenant, identity = exchange.tenant, exchange.identity
    issuer = exchange.cloud.v1_issuer(tenant.id)
    made = {
        "aud": exchange.asked,
        "iss": issuer,
        **times,
        "appid": identity.client_id,
        "appidacr": exchange.proof.acr,
        "idp": issuer,
        "idtyp": "app",
        "oid": identity.object_id,
        "sub": identity.object_id,
        "tid": tenant.id,
        "uti": uti,
        "ver": "1.0",
    }
    if identity.resource_id is not None:
        made["xms_mirid"] = identity.resource_id
    return made


def _v2(exchange: Exchange, times: dict[str, int], uti: str) -> dict[str, Any]:
    tenant, identity = exchange.tenant, exchange.identity
    return {
        "aud": exchange.resource.app_id,
        "iss": v2_issuer(exchange.origin, tenant.id),
        **times,
        "azp": identity.client_id,
        "azpacr": exchange.proof.acr,
        "idtyp": "app",
        "oid": identity.object_id,
        "sub": identity.object_id,
        "tid": tenant.id,
        "uti": uti,
        "ver": "2.0",
    }


def header(claims: Mapping[str, Any], key_id: str) -> dict[str, str]:
    """Make the token's header beside `alg` and `kid`: version 1 names the certificate too.

    Shapes:  `key_id` is the certificate's thumbprint.
    """
    return {"typ": "JWT", "x5t": key_id} if claims["ver"] == "1.0" else {"typ": "JWT"}


def v2_issuer(origin: str, tenant: str) -> str:
    return f"{origin}/{tenant}/v2.0"


def answer(token: str, *, version: int, asked: str, now: float, seconds: int) -> dict[str, Any]:
    """Make the members of a success, as the endpoint's version writes them.

    There is no `scope`: MSAL Go takes one that misses a scope it asked for as a refusal.
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
            "resource": asked,
            "access_token": token,
        }
    return {"token_type": "Bearer", **times, "access_token": token}
