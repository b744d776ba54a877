"""Build the two documents that an issuer publishes: OIDC discovery and JWKS.

The functions are pure, so that the issuer's own host and the API server publish the same documents.
Source: OpenID Connect Discovery 1.0 section 4; kubernetes/kubernetes pkg/serviceaccount/openidmetadata.go.
"""

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from podpass.crypto import jose
from podpass.kubernetes.service_account.names import JWKS_PATH

DISCOVERY_TYPE = b"application/json"
JWKS_TYPE = b"application/jwk-set+json"


def is_acceptable(accept: str, media_type: bytes) -> bool:
    """Return whether an Accept header names a document's media type, as strictly as an API server checks it.

    The server knows no weights and no `application/*`; a missing header accepts everything.
    """
    names = {entry.partition(";")[0].strip() for entry in accept.split(",")}
    return not accept or not names.isdisjoint({"*/*", media_type.decode()})


def issuer_base(issuer: str) -> str:
    """Return an issuer without a trailing slash, so that paths can be appended."""
    return issuer.removesuffix("/")


def discovery_document(issuer: str, jwks_uri: str = "") -> dict[str, Any]:
    """Build the discovery document of an issuer.

    `issuer` is repeated byte for byte; `jwks_uri` is below the issuer if it is empty.
    """
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri or issuer_base(issuer) + JWKS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def jwks_document(keys: Sequence[jose.PublicKey]) -> dict[str, Any]:
    """Build a JWKS from public keys, in the given order."""
    return {
        "keys": [
            jose.rsa_jwk(key.key, key.kid or jose.public_key_id(key.key))
            for key in keys
            if isinstance(key.key, rsa.RSAPublicKey)
        ]
    }
