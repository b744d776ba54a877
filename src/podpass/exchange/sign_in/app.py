"""The edge around a user's sign-in: which path is whose, and the answers for programs.

Programs get JSON, people get pages; a refusal is written for whoever asked.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson

from podpass import log
from podpass.clock import Clock
from podpass.exchange import responses
from podpass.exchange.client_auth.directory_lookup import Directory
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.form_reader import read_request, receive_form
from podpass.exchange.origins import Origins
from podpass.exchange.sign_in.codes import DEVICE_SECONDS, INTERVAL_SECONDS, Device
from podpass.exchange.sign_in.pages import LOGIN, SignInPages, page_of, signed_out
from podpass.exchange.sign_in.sign_in import DEVICE_STEPS, SignIn
from podpass.exchange.signing.token_sealer import Seal
from podpass.exchange.throttling import Gate, admit, source_of
from podpass.exchange.token_request import TokenRequest
from podpass.http.server import Receive, Reply, Scope
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)

Answer = Callable[[Scope, Receive], Awaitable[Reply]]

DEVICE_PAGE = "oauth2/deviceauth"
_REALM = "userrealm/"
_AUTHORIZE = {"oauth2/v2.0/authorize": 2, "oauth2/authorize": 1}
_DEVICE_CODE = {"oauth2/v2.0/devicecode": 2, "oauth2/devicecode": 1}
_LOGOUT = frozenset({"oauth2/v2.0/logout", "oauth2/logout"})


class SignInApp:
    """Answer what programs and browsers ask around a sign-in."""

    def __init__(
        self,
        signin: SignIn,
        directory: Directory,
        seal: Seal,
        settings: AuthoritySettings,
        clock: Clock,
        *,
        gate: Gate | None,
    ) -> None:
        self._signin = signin
        self._gate = gate
        self._directory = directory
        self._settings = settings
        self._origins = Origins.of(settings)
        self._pages = SignInPages(signin, seal, clock)

    def find(self, tenant: str, rest: str) -> Answer | None:
        """Find who answers a path below a tenant; None when it is not about signing in.

        Errors:  what is found raises Refused to programs; people are shown the refusal.
        """
        path = rest.lower()
        if version := _DEVICE_CODE.get(path):
            return partial(self._device_code, tenant, version)
        if version := _AUTHORIZE.get(path):
            return partial(self._shown, "GET", partial(self._pages.authorize, tenant, version))
        if path == DEVICE_PAGE:
            return partial(self._shown, "GET", self._pages.device_page)
        if path == LOGIN:
            return partial(self._shown, "POST", self._pages.post)
        if path in _LOGOUT:
            return _signed_out
        if tenant.lower() == "common" and path.startswith(_REALM):
            return partial(self._realm, rest[len(_REALM) :])
        return None

    async def _shown(self, method: str, answer: Answer, scope: Scope, receive: Receive) -> Reply:
        """Let a page answer, and show a person why it does not."""
        allowed = (method, "HEAD") if method == "GET" else (method,)
        if scope["method"] not in allowed:
            return responses.not_allowed(*allowed)
        try:
            return await answer(scope, receive)
        except Refused as exc:
            facts = {"outcome": exc.entry.name, "cause": exc.message}
            _log.info("page_refused", extra={"stage": "exchange", **facts})
            return page_of(exc)

    async def _realm(self, name: str, scope: Scope, receive: Receive) -> Reply:
        """Tell how a user signs in: with a password, here, if the name's domain is ours."""
        del scope, receive
        domain = unquote(name).rpartition("@")[2]
        tenant = await self._directory.find_tenant(domain) if domain else None
        known = {
            "ver": "1.0",
            "account_type": "Managed" if tenant is not None else "Unknown",
            "cloud_instance_name": self._origins.cloud.instance,
            "cloud_audience_urn": "urn:federation:MicrosoftOnline",
        }
        if tenant is not None:
            known["domain_name"] = domain.lower()
        return Reply(200, responses.JSON, orjson.dumps(known))

    async def _device_code(
        self, tenant: str, version: int, scope: Scope, receive: Receive
    ) -> Reply:
        began = time.perf_counter()
        facts: dict[str, Any] = {}
        limit = self._settings.max_body_bytes
        request = read_request(
            scope,
            await receive_form(scope, receive, limit),
            tenant=tenant,
            version=version,
            origins=self._origins,
            limit=limit,
            facts=facts,
        )
        if self._gate is not None:
            # Each is kept for its time, and there is room for so many: not for those of one alone.
            admit(self._gate.begins_device(source_of(scope)))
        text, device = await self._signin.begin_device(request, facts)
        log.hop(
            _log,
            "device_code_issued",
            stage="exchange",
            asked="a device code",
            checked=DEVICE_STEPS,
            seconds=time.perf_counter() - began,
            **facts,
        )
        answer = self._device_answer(request, text, device)
        return Reply(200, responses.JSON, orjson.dumps(answer))

    def _device_answer(self, request: TokenRequest, text: str, device: Device) -> dict[str, Any]:
        where = f"{self._settings.pages_origin or request.origin}/common/{DEVICE_PAGE}"
        return {
            "user_code": device.user_code,
            "device_code": text,
            "verification_uri": where,
            "verification_url": where,
            "expires_in": DEVICE_SECONDS,
            "interval": INTERVAL_SECONDS,
            "message": f"To sign in, open the page {where} in a web browser and enter the code "
            f"{device.user_code}.",
        }


async def _signed_out(scope: Scope, receive: Receive) -> Reply:
    del scope, receive
    return signed_out()
