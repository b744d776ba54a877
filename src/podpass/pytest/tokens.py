"""Tokens for tests: valid ones from the real endpoints, and wrong ones that a service must refuse."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from podpass import names
from podpass.errors import Error
from podpass.kubernetes.service_account.names import subject
from podpass.pytest.client import InstanceRequestFailed, ServiceConnection

if TYPE_CHECKING:
    from podpass.crypto.jose import SigningKey
    from podpass.lab.data.datadir import DataDir
    from podpass.pytest.objects import IdentityHandle

OWN, OTHER = KEYS = ("own", "other")
ALGORITHMS = ("RS256", "none", "HS256")
VAULT_SCOPE = "https://vault.azure.net/.default"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FORM = "application/x-www-form-urlencoded"


class ExchangeRefused(Error):
    """The token service refused a request; `number` is the AADSTS number."""

    code = "exchange_refused"

    def __init__(self, failed: InstanceRequestFailed) -> None:
        super().__init__(failed.message)
        self.number = int((failed.body.get("error_codes") or [0])[0])
        self.error = str(failed.body.get("error", ""))
        self.status = failed.status


class Tokens:
    """Requests and mints tokens."""

    def __init__(
        self,
        data_dir: "DataDir",
        control: ServiceConnection,
        authority: ServiceConnection,
        *,
        issuer: str,
        tenant_id: str,
        request: Callable[[str, str], str],
    ) -> None:
        self._data_dir = data_dir
        self._control, self._authority = control, authority
        self._issuer, self._tenant_id = issuer, tenant_id
        self._request = request

    def projected(self, account: str, audience: str = names.EXCHANGE_AUDIENCE) -> str:
        """Request a token of a ServiceAccount, `NAMESPACE/NAME`, as its pods get it.

        Raises InstanceRequestFailed, if the ServiceAccount does not exist.
        """
        return self._request(account, audience)

    def assertion(
        self,
        account: str,
        *,
        key: str = OWN,
        algorithm: str = "RS256",
        expires_in: float = 3600,
        remove: tuple[str, ...] = (),
        **claims: Any,
    ) -> str:
        """Mint a token like that of a ServiceAccount, with other claims, another key or another algorithm.

        `claims` replaces claims, `remove` removes them; the key `other` is not published.
        """
        now = int(time.time())
        namespace, _, name = account.rpartition("/")
        namespace = namespace or "default"
        made: dict[str, Any] = {
            "aud": [names.EXCHANGE_AUDIENCE],
            "iss": self._issuer,
            "sub": subject(namespace, name),
            "iat": now - 10 + min(0, int(expires_in)),
            "nbf": now - 10 + min(0, int(expires_in)),
            "exp": now + int(expires_in),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name}},
            **claims,
        }
        kept = {name: value for name, value in made.items() if name not in remove}
        return self._sign(kept, key, algorithm, lambda: self._sign_as_issuer(kept))

    def access_token(
        self, identity: "IdentityHandle", scope: str = VAULT_SCOPE, *, assertion: str = ""
    ) -> str:
        """Exchange a token of a ServiceAccount for an access token, as an SDK does.

        The default assertion is like a token of the first ServiceAccount that the identity trusts, which need
        not exist. Raises ExchangeRefused.
        """
        form = {
            "grant_type": "client_credentials",
            "client_id": identity.client_id,
            "scope": scope,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": assertion or self.assertion(identity.account),
        }
        return self._exchange(form)

    def change(
        self,
        token: str,
        *,
        key: str = OWN,
        algorithm: str = "RS256",
        remove: tuple[str, ...] = (),
        **claims: Any,
    ) -> str:
        """Sign an access token again, with other claims, another key or another algorithm.

        The key `own` is that of the token service, so only the changed claims are wrong.
        """
        made = {**decode(token), **claims}
        kept = {name: value for name, value in made.items() if name not in remove}
        body = {"claims": kept}
        return self._sign(
            kept,
            key,
            algorithm,
            lambda: str(self._control.request("POST", "/tests/sign", body)["token"]),
        )

    def _exchange(self, form: Mapping[str, str]) -> str:
        path = f"/{self._tenant_id}/oauth2/v2.0/token"
        try:
            answer = self._authority.request("POST", path, urlencode(form).encode(), _FORM)
        except InstanceRequestFailed as exc:
            raise ExchangeRefused(exc) from exc
        return str(answer["access_token"])

    def _sign(
        self, claims: Mapping[str, Any], key: str, algorithm: str, sign: Callable[[], str]
    ) -> str:
        from podpass.crypto import jose

        if key not in KEYS or algorithm not in ALGORITHMS:
            raise ValueError(f"key must be one of {KEYS}, algorithm one of {ALGORITHMS}")
        head, _, signature = sign().rpartition(".")
        header = jose.loads_object(jose.b64decode(head.partition(".")[0]))
        if key == OTHER:
            other = jose.SigningKey(kid=str(header["kid"]), key=jose.generate_rsa())
            return other.sign(claims, header)
        if algorithm == "RS256":
            return f"{head}.{signature}"
        header = {**header, "alg": algorithm}
        text = f"{jose.b64encode(jose.dumps(header))}.{jose.b64encode(jose.dumps(claims))}"
        return text + "." + ("" if algorithm == "none" else self._hmac(text))

    def _sign_as_issuer(self, claims: Mapping[str, Any]) -> str:
        return self._issuer_key().sign(claims)

    def _issuer_key(self) -> "SigningKey":
        """Return the newest key of the issuer, which signs."""
        from podpass.crypto import jose

        newest = max(self._data_dir.path("keys", "issuer").glob("*.pem"))
        key = jose.load_private_pem(newest.read_bytes())
        return jose.SigningKey(kid=jose.public_key_id(key.public_key()), key=key)

    def _hmac(self, text: str) -> str:
        """Sign with the public key as the secret, which a verifier that trusts `alg` accepts."""
        import hashlib
        import hmac

        from cryptography.hazmat.primitives import serialization

        from podpass.crypto import jose

        pem = (
            self._issuer_key()
            .key.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return jose.b64encode(hmac.new(pem, text.encode(), hashlib.sha256).digest())


def decode(token: str) -> dict[str, Any]:
    """Return the claims of a token, without any check."""
    import base64
    import json

    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return claims
