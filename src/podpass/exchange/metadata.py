"""Builds the metadata documents: OpenID configuration, JWKS, instance discovery. Pure.

Every URL in a document starts with the given origin, which comes from the settings.

Source: Entra's published documents; RFC 8414, OpenID Connect Discovery 1.0.
"""

import base64
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from podpass.clouds import CLOUDS, PUBLIC, Cloud
from podpass.crypto import jose
from podpass.exchange.access_token import v2_issuer
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.signing.key import AuthorityKey

# The issuer in documents for any tenant contains this literal text.
ANY_TENANT = "{tenantid}"
_SEGMENT = re.compile(r"[0-9a-zA-Z._-]+")
_CLAIMS = (
    "sub iss cloud_instance_name cloud_instance_host_name cloud_graph_host_name msgraph_host aud exp iat "
    "auth_time acr nonce preferred_username name tid ver at_hash c_hash email"
)

_OPENID_V1 = jose.DISCOVERY_PATH.removeprefix("/")
_OPENID_V2 = f"v2.0{jose.DISCOVERY_PATH}"
_KEYS_V2 = "discovery/v2.0/keys"
PATHS = (_OPENID_V2, _OPENID_V1, _KEYS_V2, "discovery/keys")


def build_document(
    path: str,
    *,
    origin: str,
    segment: str,
    tenant: str,
    keys: Sequence[AuthorityKey],
    pages: str = "",
    graph: str = "",
    cloud: Cloud = PUBLIC,
) -> dict[str, Any]:
    """Build the document of a path below a tenant.

    `path` is one of PATHS; `segment` is the tenant in the endpoints, a tenant ID, or a name such as `common`;
    `tenant` is the tenant in the issuer, a tenant ID or ANY_TENANT; `pages` is the origin at which browsers
    reach the sign-in page, if it differs; `graph` is the origin of Graph for clients of this service, empty
    if this service has none.
    """
    if path not in (_OPENID_V1, _OPENID_V2):
        return jwks(keys, v2_issuer(origin, tenant) if path == _KEYS_V2 else None, cloud)
    build = openid_v2 if path == _OPENID_V2 else openid_v1
    document = _with_pages_origin(build(origin, segment, tenant, cloud), origin, pages)
    if graph:
        # Clients that use Microsoft's host for this service use Microsoft's host for Graph, too.
        is_public = origin == f"https://{cloud.login}"
        graph = f"https://{cloud.graph}" if is_public else graph
        document["userinfo_endpoint"] = f"{graph}/oidc/userinfo"
    return document


def _with_pages_origin(document: dict[str, Any], origin: str, pages: str) -> dict[str, Any]:
    # A client reaches this service through the gateway at Microsoft's host name; the browser that it opens
    # does not.
    if pages:
        for name in ("authorization_endpoint", "end_session_endpoint"):
            document[name] = pages + document[name].removeprefix(origin)
    return document


def openid_v2(origin: str, segment: str, tenant: str, cloud: Cloud = PUBLIC) -> dict[str, Any]:
    """Build the OpenID configuration of a tenant's v2.0 endpoints."""
    base = f"{origin}/{segment}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": [
            "client_secret_post",
            "private_key_jwt",
            "client_secret_basic",
        ],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": v2_issuer(origin, tenant),
        "request_uri_parameter_supported": False,
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "http_logout_supported": True,
        "frontchannel_logout_supported": True,
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
        "claims_supported": _CLAIMS.split(),
        "kerberos_endpoint": f"{base}/kerberos",
        **_cloud_members(cloud),
    }


def openid_v1(origin: str, segment: str, tenant: str, cloud: Cloud = PUBLIC) -> dict[str, Any]:
    """Build the OpenID configuration of a tenant's v1.0 endpoints, which validators of v1 tokens read."""
    base = f"{origin}/{segment}"
    return {
        "token_endpoint": f"{base}/oauth2/token",
        "token_endpoint_auth_methods_supported": [
            "client_secret_post",
            "private_key_jwt",
            "client_secret_basic",
        ],
        "jwks_uri": f"{base}/discovery/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": [
            "code",
            "id_token",
            "code id_token",
            "token id_token",
            "token",
        ],
        "scopes_supported": ["openid"],
        "issuer": cloud.v1_issuer(tenant),
        "microsoft_multi_refresh_token": True,
        "authorization_endpoint": f"{base}/oauth2/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/devicecode",
        "http_logout_supported": True,
        "frontchannel_logout_supported": True,
        "end_session_endpoint": f"{base}/oauth2/logout",
        "claims_supported": _CLAIMS.split(),
        "kerberos_endpoint": f"{base}/kerberos",
        **_cloud_members(cloud),
    }


def _cloud_members(cloud: Cloud) -> dict[str, str | None]:
    members = {
        "cloud_instance_name": cloud.instance,
        "cloud_graph_host_name": cloud.old_graph,
        "msgraph_host": cloud.graph,
        "rbac_url": cloud.roles,
    }
    return {"tenant_region_scope": None, **{k: value for k, value in members.items() if value}}


def jwks(keys: Sequence[AuthorityKey], issuer: str | None, cloud: Cloud = PUBLIC) -> dict[str, Any]:
    """Build the JWKS like Entra: without `alg`, with the certificate.

    `issuer` is None except in the v2.0 document.
    """
    return {"keys": [_jwk(key, issuer, cloud) for key in keys]}


def _jwk(key: AuthorityKey, issuer: str | None, cloud: Cloud) -> dict[str, Any]:
    numbers = jose.rsa_jwk(key.public, key.kid)
    jwk = {
        "kty": "RSA",
        "use": "sig",
        "kid": key.kid,
        "x5t": key.kid,
        "n": numbers["n"],
        "e": numbers["e"],
        "x5c": [base64.b64encode(key.certificate).decode()],
        "cloud_instance_name": cloud.instance,
    }
    if issuer is not None:
        jwk["issuer"] = issuer
    return jwk


def instance_discovery(origin: str | None, api_version: str, endpoint: str) -> dict[str, Any]:
    """Build the instance discovery document for an authority.

    `endpoint` is the authorization endpoint that the client would use; `origin` is the origin of its host,
    None if the host is unknown. Raises AadstsError 50049.
    """
    path = urlsplit(endpoint).path
    segment = path.strip("/").partition("/")[0]
    if origin is None or _SEGMENT.fullmatch(segment) is None:
        raise AadstsError(numbers.UNKNOWN_INSTANCE)
    version = "/v2.0" if "/v2.0/" in path else ""
    return {
        "tenant_discovery_endpoint": f"{origin}/{segment}{version}{jose.DISCOVERY_PATH}",
        "api-version": api_version,
        "metadata": [
            {
                "preferred_network": cloud.login,
                "preferred_cache": cloud.cache or cloud.login,
                "aliases": list(cloud.aliases),
            }
            for cloud in CLOUDS.values()
        ],
    }
