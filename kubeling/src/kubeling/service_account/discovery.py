"""The discovery document of the issuer of ServiceAccount tokens.

Source: OpenID Connect Discovery 1.0 section 4; kubernetes/kubernetes pkg/serviceaccount/openidmetadata.go.
"""

from typing import Any

from kubeling.service_account.names import JWKS_PATH

DISCOVERY_PATH = "/.well-known/openid-configuration"
DISCOVERY_TYPE = b"application/json"
JWKS_TYPE = b"application/jwk-set+json"


def is_acceptable(accept: str, media_type: bytes) -> bool:
    """Return whether an Accept header names a document's media type, as strictly as an API server checks it.

    The server knows no weights and no `application/*`; a missing header accepts everything.
    """
    names = {entry.partition(";")[0].strip() for entry in accept.split(",")}
    return not accept or not names.isdisjoint({"*/*", media_type.decode()})


def discovery_document(issuer: str, jwks_uri: str = "") -> dict[str, Any]:
    """Build the discovery document; `issuer` is repeated byte for byte, an empty `jwks_uri` is below it."""
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri or issuer.removesuffix("/") + JWKS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
