"""The decisions of the signer: which header and signature a request gets, and which keys are listed."""

from collections.abc import Callable
from typing import Any

from podpass.crypto import jose
from podpass.errors import Error
from podpass.servers.signer import messages
from podpass.servers.signer.keys import SignerKeySource

MAX_CLAIMS_BYTES = jose.MAX_TOKEN_BYTES


class BadClaims(Error):
    """A request has no claims that can be signed."""

    code = "bad_claims"
    status = 400


class SignerService:
    """Answers the three requests of an API server."""

    def __init__(self, source: SignerKeySource) -> None:
        self._source = source

    def handlers(self) -> dict[str, tuple[Callable[[Any], Any], Any]]:
        """Return each method with its handler and the class of its request."""
        return {
            "Sign": (self.sign, messages.SignJWTRequest),
            "FetchKeys": (self.fetch_keys, messages.FetchKeysRequest),
            "Metadata": (self.metadata, messages.MetadataRequest),
        }

    def sign(self, request: Any) -> Any:
        """Sign the claims byte for byte; the header has `alg`, `kid` and `typ` only.

        Raises BadClaims; Error if there are no keys.
        """
        claims = request.claims
        if len(claims) > MAX_CLAIMS_BYTES:
            raise BadClaims(f"the claims are longer than {MAX_CLAIMS_BYTES} bytes")
        try:
            # Another text could contain a dot, and the signature would be valid for another token.
            jose.loads_object(jose.b64decode(claims))
        except jose.MalformedToken as exc:
            raise BadClaims(f"the claims are invalid: {exc.message}") from exc
        key = self._source.current().active
        header = jose.b64encode(jose.dumps({"alg": "RS256", "kid": key.kid, "typ": "JWT"}))
        signature = jose.b64encode(key.signature(f"{header}.{claims}"))
        return messages.SignJWTResponse(header=header, signature=signature)

    def fetch_keys(self, _: Any) -> Any:
        """List the keys that verify tokens. Raises Error if there are no keys."""
        keys = self._source.current()
        answer = messages.FetchKeysResponse(refresh_hint_seconds=keys.waits.refresh_seconds)
        for key in keys.accepted:
            answer.keys.add(key_id=key.kid, key=key.der)
        answer.data_timestamp.FromMicroseconds(int(keys.time * 1_000_000))
        return answer

    def metadata(self, _: Any) -> Any:
        """Return the longest lifetime of a token. Raises Error if there are no keys."""
        waits = self._source.current().waits
        return messages.MetadataResponse(max_token_expiration_seconds=waits.token_seconds)
