"""Valid and invalid token requests, each with the code that the service must return."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from podpass.crypto import jose
from tests.soak.identities import (
    APPLICATION,
    DISABLED,
    SECRET,
    STABLE,
    WITHOUT_CREDENTIALS,
    account_name,
    stable_client_id,
)
from tests.soak.issuer import IssuerProcess
from tests.soak.token_client import TOKEN_PATH, token_form

GRANTED = 0
_UNKNOWN_CLIENT = "99999999-9999-4999-8999-999999999999"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRequest:
    """A form, its path, and the code that the service must return."""

    form: Mapping[str, str]
    code: int
    client_id: str = ""
    path: str = TOKEN_PATH


class RequestCases:
    """Makes requests of every kind; assertions are reused, as pods do, until `sign_again` is called.

    `key_rotating` is true while the issuer signs with a key that the service may not know yet.
    """

    def __init__(self, issuer: IssuerProcess) -> None:
        self._issuer = issuer
        self.key_rotating = False
        self._kept: dict[int, str] = {}

    def sign_again(self) -> None:
        """Discard all assertions, so that new ones are signed."""
        self._kept.clear()

    def valid_request(self, number: int) -> CaseRequest:
        """Return a valid request of an identity that no test changes."""
        number %= STABLE
        if number not in self._kept:
            self._kept[number] = self._issuer.assertion(account_name(number))
        asked = token_form(stable_client_id(number), self._kept[number])
        return CaseRequest(form=asked, code=GRANTED, client_id=stable_client_id(number))

    def secret_request(self, number: int) -> CaseRequest:
        """Return a valid request with a client secret."""
        del number
        asked = token_form(APPLICATION, "", client_assertion=None, client_assertion_type=None)
        asked["client_secret"] = SECRET
        return CaseRequest(form=asked, code=GRANTED, client_id=APPLICATION)

    def invalid_request(self, number: int) -> CaseRequest:
        """Return an invalid request; the number selects the error."""
        makers: tuple[Callable[[int], CaseRequest], ...] = (
            *(self._wrong_form, self._wrong_tenant, self._wrong_claims, self._wrong_signature),
            *(self._wrong_client, self._wrong_resource, self._wrong_secret),
        )
        return makers[number % len(makers)](number // len(makers))

    def _changed(self, code: int, **changes: str | None) -> CaseRequest:
        good = self.valid_request(0).form
        fields: dict[str, str | None] = {**good, **changes}
        return CaseRequest(form={k: v for k, v in fields.items() if v is not None}, code=code)

    def _wrong_form(self, number: int) -> CaseRequest:
        chosen: tuple[tuple[int, dict[str, str | None]], ...] = (
            (900144, {"client_id": None}),
            (900144, {"scope": None}),
            (70003, {"grant_type": "urn:strange"}),
            (901002, {"resource": "https://vault.azure.net"}),
            (7000216, {"client_assertion": None}),
            (50027, {"client_assertion": "three.little.parts"}),
            (50027, {"client_assertion": "x" * 9000}),
        )
        code, changes = chosen[number % len(chosen)]
        return self._changed(code, **changes)

    def _wrong_tenant(self, number: int) -> CaseRequest:
        code, tenant = ((90002, _UNKNOWN_CLIENT), (90002, "unknown.test"), (9001023, "common"))[
            number % 3
        ]
        return CaseRequest(
            form=self.valid_request(0).form, code=code, path=f"/{tenant}/oauth2/v2.0/token"
        )

    def _wrong_claims(self, number: int) -> CaseRequest:
        now = int(time.time())
        chosen = (
            (700211, {"iss": "https://elsewhere.test/"}),
            (700212, {"aud": ["api://other"]}),
            (700213, {"sub": "system:serviceaccount:default:other"}),
            (7002138, {"sub": f"system:serviceaccount:default:{account_name(0)}".upper()}),
            (700024, {"iat": now - 7200, "nbf": now - 7200, "exp": now - 3600}),
            (70023, {"exp": now + 90 * 3600}),
            (90014, {"sub": None}),
        )
        code, changes = chosen[number % len(chosen)]
        return self._changed(
            code, client_assertion=self._issuer.assertion(account_name(0), changes=changes)
        )

    def _wrong_signature(self, number: int) -> CaseRequest:
        head, claims, signature = self._issuer.assertion(account_name(0)).split(".")
        if number % 2:
            other = self._issuer.assertion(account_name(1)).split(".")[2]
            return self._changed(7000274, client_assertion=f"{head}.{claims}.{other}")
        unknown = jose.b64encode(b'{"alg":"RS256","kid":"no-such-key"}')
        return self._changed(7000272, client_assertion=f"{unknown}.{claims}.{signature}")

    def _wrong_client(self, number: int) -> CaseRequest:
        chosen = ((700016, _UNKNOWN_CLIENT), (7000112, DISABLED), (70025, WITHOUT_CREDENTIALS))
        code, client_id = chosen[number % len(chosen)]
        return self._changed(code, client_id=client_id)

    def _wrong_resource(self, number: int) -> CaseRequest:
        chosen = (
            (500011, "api://nothing-of-this-name/.default"),
            (1002012, "https://vault.azure.net/secrets.read"),
            (70011, "not a scope/.default"),
        )
        code, scope = chosen[number % len(chosen)]
        return self._changed(code, scope=scope)

    def _wrong_secret(self, number: int) -> CaseRequest:
        del number
        asked = {**self.secret_request(0).form, "client_secret": "not-the-secret-that-was-given"}
        return CaseRequest(form=asked, code=7000215)
