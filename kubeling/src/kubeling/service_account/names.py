"""Names and paths of ServiceAccounts that clients, pods and other clusters use; the discovery document.

Source: kubernetes/kubernetes staging/src/k8s.io/apiserver/pkg/authentication/serviceaccount/util.go
and pkg/serviceaccount/openidmetadata.go; OpenID Connect Discovery 1.0 section 4.
"""

from typing import Any

# The path at which the API server publishes the keys that verify its tokens.
JWKS_PATH = "/openid/v1/jwks"
# The directory in which a container finds its ServiceAccount token.
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
USERNAME_PREFIX = "system:serviceaccount:"
ALL_ACCOUNTS_GROUP = "system:serviceaccounts"


def subject(namespace: str, account: str) -> str:
    """Return the user name of a ServiceAccount, which is also the `sub` of its tokens."""
    return f"{USERNAME_PREFIX}{namespace}:{account}"


def account_groups(namespace: str) -> tuple[str, str]:
    """Return the two groups of every ServiceAccount in a namespace."""
    return ALL_ACCOUNTS_GROUP, f"{ALL_ACCOUNTS_GROUP}:{namespace}"


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
