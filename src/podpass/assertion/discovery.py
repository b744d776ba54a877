"""What an issuer publishes: its discovery document and its keys.

Pure, so that the issuer's own host and the API server publish the same.
Source: OpenID Connect Discovery 1.0 section 4; kubernetes/kubernetes pkg/serviceaccount/openidmetadata.go.
"""

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from podpass import jose

JWKS_PATH = "/openid/v1/jwks"
DISCOVERY_TYPE = b"application/json"
JWKS_TYPE = b"application/jwk-set+json"


def base(issuer: str) -> str:
    """Give an issuer without its closing slash, as paths are put after it."""
    return issuer.removesuffix("/")


def discovery_document(issuer: str) -> dict[str, Any]:
    """Describe an issuer.

    Shapes:  `issuer` comes back byte for byte; keys are beside the document, on the same origin.
    """
    return {
        "issuer": issuer,
        "jwks_uri": base(issuer) + JWKS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def jwks(keys: Sequence[jose.PublicKey]) -> dict[str, Any]:
    """Write public keys as a JWKS, in the order given."""
    return {
        "keys": [
            jose.rsa_jwk(key.key, key.kid or jose.kid_of(key.key))
            for key in keys
            if isinstance(key.key, rsa.RSAPublicKey)
        ]
    }
