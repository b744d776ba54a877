"""Requests whose answers are known beforehand, good and bad: each with the code it must get."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from podpass.crypto import jose
from tests.soak.asking import TOKEN_PATH, form
from tests.soak.issuer import Issuer
from tests.soak.people import (
    APPLICATION,
    DISABLED,
    SECRET,
    STABLE,
    WITHOUT_CREDENTIALS,
    account,
    client,
)

GRANTED = 0
_NOBODY = "99999999-9999-4999-8999-999999999999"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A form, the path it goes to, and the answer it must get."""

    form: Mapping[str, str]
    code: int
    client_id: str = ""
    path: str = TOKEN_PATH


class Cases:
    """Makes requests of every kind; assertions are kept and sent again, as pods do, until `renew`.

    Shapes:  `unsettled` while the issuer signs with a key that the service may not know yet.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.unsettled = False
        self._kept: dict[int, str] = {}

    def renew(self) -> None:
        """Let every assertion be signed anew."""
        self._kept.clear()

    def good(self, number: int) -> Request:
        """Ask rightly, as one of those whom nobody changes."""
        number %= STABLE
        if number not in self._kept:
            self._kept[number] = self._issuer.assertion(account(number))
        asked = form(client(number), self._kept[number])
        return Request(form=asked, code=GRANTED, client_id=client(number))

    def secret(self, number: int) -> Request:
        """Ask rightly, with a secret."""
        del number
        asked = form(APPLICATION, "", client_assertion=None, client_assertion_type=None)
        asked["client_secret"] = SECRET
        return Request(form=asked, code=GRANTED, client_id=APPLICATION)

    def bad(self, number: int) -> Request:
        """Ask wrongly; the number chooses how."""
        makers: tuple[Callable[[int], Request], ...] = (
            *(self._wrong_form, self._wrong_tenant, self._wrong_claims, self._wrong_signature),
            *(self._wrong_client, self._wrong_resource, self._wrong_secret),
        )
        return makers[number % len(makers)](number // len(makers))

    def _changed(self, code: int, **changes: str | None) -> Request:
        good = self.good(0).form
        fields: dict[str, str | None] = {**good, **changes}
        return Request(form={k: v for k, v in fields.items() if v is not None}, code=code)

    def _wrong_form(self, number: int) -> Request:
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

    def _wrong_tenant(self, number: int) -> Request:
        code, tenant = ((90002, _NOBODY), (90002, "nobody.test"), (9001023, "common"))[number % 3]
        return Request(form=self.good(0).form, code=code, path=f"/{tenant}/oauth2/v2.0/token")

    def _wrong_claims(self, number: int) -> Request:
        now = int(time.time())
        chosen = (
            (700211, {"iss": "https://elsewhere.test/"}),
            (700212, {"aud": ["api://other"]}),
            (700213, {"sub": "system:serviceaccount:default:somebody"}),
            (7002138, {"sub": f"system:serviceaccount:default:{account(0)}".upper()}),
            (700024, {"iat": now - 7200, "nbf": now - 7200, "exp": now - 3600}),
            (70023, {"exp": now + 90 * 3600}),
            (90014, {"sub": None}),
        )
        code, changes = chosen[number % len(chosen)]
        return self._changed(
            code, client_assertion=self._issuer.assertion(account(0), changes=changes)
        )

    def _wrong_signature(self, number: int) -> Request:
        head, claims, signature = self._issuer.assertion(account(0)).split(".")
        if number % 2:
            other = self._issuer.assertion(account(1)).split(".")[2]
            return self._changed(7000274, client_assertion=f"{head}.{claims}.{other}")
        unknown = jose.b64encode(b'{"alg":"RS256","kid":"no-such-key"}')
        return self._changed(7000272, client_assertion=f"{unknown}.{claims}.{signature}")

    def _wrong_client(self, number: int) -> Request:
        chosen = ((700016, _NOBODY), (7000112, DISABLED), (70025, WITHOUT_CREDENTIALS))
        code, client_id = chosen[number % len(chosen)]
        return self._changed(code, client_id=client_id)

    def _wrong_resource(self, number: int) -> Request:
        chosen = (
            (500011, "api://nothing-of-this-name/.default"),
            (1002012, "https://vault.azure.net/secrets.read"),
            (70011, "not a scope/.default"),
        )
        code, scope = chosen[number % len(chosen)]
        return self._changed(code, scope=scope)

    def _wrong_secret(self, number: int) -> Request:
        del number
        asked = {**self.secret(0).form, "client_secret": "not-the-secret-that-was-given"}
        return Request(form=asked, code=7000215)
