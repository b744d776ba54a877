"""The signer protocol that the API server uses to issue and verify ServiceAccount tokens.

The API server builds the claims; the signer holds the private key, as with the `ExternalJWTSigner` service
of kube-apiserver.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from podpass.crypto import jose


class TokenSigner(Protocol):
    """Signs tokens and lists the keys that verify them."""

    @property
    def public(self) -> Sequence[jose.PublicKey]:
        """Return the published keys, the active one first."""
        ...

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign claims with the active key; the header holds `alg` and `kid` only."""
        ...
