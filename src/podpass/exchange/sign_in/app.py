"""The edge of the sign-in of users: routes, and the responses to programs.

Programs get JSON, browsers get HTML pages; this is also true of errors.
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
from podpass.exchange.client_auth.directory_lookup import DirectoryReader
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.form_reader import read_request, receive_form
from podpass.exchange.origins import Origins
from podpass.exchange.sign_in.codes import DEVICE_SECONDS, INTERVAL_SECONDS, DeviceCode
from podpass.exchange.sign_in.pages import LOGIN, SignInPages, error_reply, signed_out_reply
from podpass.exchange.sign_in.sign_in import DEVICE_STEPS, SignIn
from podpass.exchange.signing.token_sealer import TokenSealer
from podpass.exchange.throttling import RequestLimiter, client_address, require_no_wait
from podpass.exchange.token_request import RequestRecord, TokenRequest
from podpass.http.server import Receive, Reply, Scope
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)

Handler = Callable[[Scope, Receive], Awaitable[Reply]]

DEVICE_PAGE = "oauth2/deviceauth"
_REALM = "userrealm/"
_AUTHORIZE = {"oauth2/v2.0/authorize": 2, "oauth2/authorize": 1}
_DEVICE_CODE = {"oauth2/v2.0/devicecode": 2, "oauth2/devicecode": 1}
_LOGOUT = frozenset({"oauth2/v2.0/logout", "oauth2/logout"})


class SignInApp:
    """Routes requests of programs and browsers that belong to a sign-in."""

    def __init__(
        self,
        signin: SignIn,
        directory: DirectoryReader,
        seal: TokenSealer,
        settings: AuthoritySettings,
        clock: Clock,
        *,
        limiter: RequestLimiter | None,
    ) -> None:
        self._signin = signin
        self._limiter = limiter
        self._directory = directory
        self._settings = settings
        self._origins = Origins.from_settings(settings)
        self._pages = SignInPages(signin, seal, clock)

    def find_handler(self, tenant: str, rest: str) -> Handler | None:
        """Return the handler of a path below a tenant; None if it does not belong to the sign-in.

        A handler for programs raises AadstsError; a handler for browsers returns an error page.
        """
        path = rest.lower()
        if version := _DEVICE_CODE.get(path):
            return partial(self._handle_device_code, tenant, version)
        if version := _AUTHORIZE.get(path):
            return partial(
                self._handle_page, "GET", partial(self._pages.authorize, tenant, version)
            )
        if path == DEVICE_PAGE:
            return partial(self._handle_page, "GET", self._pages.device_page)
        if path == LOGIN:
            return partial(self._handle_page, "POST", self._pages.post)
        if path in _LOGOUT:
            return _signed_out
        if tenant.lower() == "common" and path.startswith(_REALM):
            return partial(self._user_realm, rest[len(_REALM) :])
        return None

    async def _handle_page(
        self, method: str, handler: Handler, scope: Scope, receive: Receive
    ) -> Reply:
        """Call the handler of a page, and return its error as a page."""
        allowed = (method, "HEAD") if method == "GET" else (method,)
        if scope["method"] not in allowed:
            return responses.not_allowed(*allowed)
        try:
            return await handler(scope, receive)
        except AadstsError as exc:
            facts = {"outcome": exc.entry.name, "cause": exc.message}
            _log.info("page_refused", extra={"stage": "exchange", **facts})
            return error_reply(exc)

    async def _user_realm(self, name: str, scope: Scope, receive: Receive) -> Reply:
        """Return the realm of a user name: `Managed` if its domain belongs to a tenant."""
        del scope, receive
        domain = unquote(name).rpartition("@")[2]
        tenant = await self._directory.find_tenant(domain) if domain else None
        realm = {
            "ver": "1.0",
            "account_type": "Managed" if tenant is not None else "Unknown",
            "cloud_instance_name": self._origins.cloud.instance,
            "cloud_audience_urn": "urn:federation:MicrosoftOnline",
        }
        if tenant is not None:
            realm["domain_name"] = domain.lower()
        return Reply(200, responses.JSON_HEADERS, orjson.dumps(realm))

    async def _handle_device_code(
        self, tenant: str, version: int, scope: Scope, receive: Receive
    ) -> Reply:
        began = time.perf_counter()
        limit = self._settings.max_body_bytes
        request = read_request(
            scope,
            await receive_form(scope, receive, limit),
            tenant=tenant,
            version=version,
            origins=self._origins,
            limit=limit,
            record=RequestRecord(),
        )
        if self._limiter is not None:
            # The number of stored codes is limited, and one caller must not use all of them.
            require_no_wait(self._limiter.acquire_device_code(client_address(scope)))
        text, device = await self._signin.create_device_code(request)
        log.hop(
            _log,
            "device_code_issued",
            stage="exchange",
            asked="a device code",
            checked=DEVICE_STEPS,
            seconds=time.perf_counter() - began,
            **request.record.fields,
        )
        response = self._device_code_response(request, text, device)
        return Reply(200, responses.JSON_HEADERS, orjson.dumps(response))

    def _device_code_response(
        self, request: TokenRequest, text: str, device: DeviceCode
    ) -> dict[str, Any]:
        page = f"{self._settings.pages_origin or request.origin}/common/{DEVICE_PAGE}"
        # Version 1 has numbers as text, which ADAL for Go, in kubelogin's legacy mode, requires.
        number: type[int | str] = str if request.version == 1 else int
        return {
            "user_code": device.user_code,
            "device_code": text,
            "verification_uri": page,
            "verification_url": page,
            "expires_in": number(DEVICE_SECONDS),
            "interval": number(INTERVAL_SECONDS),
            "message": f"To sign in, open the page {page} in a web browser and enter the code "
            f"{device.user_code}.",
        }


async def _signed_out(scope: Scope, receive: Receive) -> Reply:
    del scope, receive
    return signed_out_reply()
