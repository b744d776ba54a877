"""The edge of the pages on which people sign in. It translates, nothing else.

No page keeps a session: every sign-in asks for the password.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from podpass import log
from podpass.clock import Clock
from podpass.directory.model import Tenant
from podpass.exchange import token_request
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.sign_in import authorize, html
from podpass.exchange.sign_in.authorize import AuthorizeRequest
from podpass.exchange.sign_in.clients import Client, Platform
from podpass.exchange.sign_in.codes import Approval
from podpass.exchange.sign_in.csrf import Flows
from podpass.exchange.sign_in.sign_in import SignIn
from podpass.exchange.signing.token_sealer import Seal
from podpass.http.server import BodyTooLarge, Receive, Reply, Scope, read_body

_log = logging.getLogger(__name__)

LOGIN = "login"
_ACTION = f"/common/{LOGIN}"
_GRANT = "sign-in"  # what refusals call it
_MAX_BODY = 64 * 1024
_CONFIRMED = "You are signed in"


class SignInPages:
    """Show the pages, take their forms, send the answer on."""

    def __init__(self, signin: SignIn, seal: Seal, clock: Clock) -> None:
        self._signin = signin
        self._flows = Flows(seal, clock)

    async def authorize(self, tenant: str, version: int, scope: Scope, receive: Receive) -> Reply:
        """Show the sign-in page, or send the client a refusal.

        Errors:  Refused, for a person: it is not known yet that the client may be told.
        """
        del receive
        query = token_request.parse_form(scope["query_string"])
        asked = authorize.read_request(query, version=version)
        found = await self._signin.any_or_find(tenant, grant=_GRANT)
        _, client = await self._signin.client(found, asked.client_id)
        platform = client.platform(asked.redirect)
        try:
            authorize.check_request(query, asked, platform, version=version)
        except Refused as exc:
            return _back(asked, _fault(exc))
        flow = {"kind": "authorize", "tenant": tenant, "asked": asdict(asked), "platform": platform}
        return self._sign_in_page(scope, flow, client, name=asked.login_hint)

    async def device_page(self, scope: Scope, receive: Receive) -> Reply:
        """Show the page on which the code is typed."""
        del receive
        return self._code_page(
            scope, token_request.parse_form(scope["query_string"]).get("user_code", "")
        )

    async def post(self, scope: Scope, receive: Receive) -> Reply:
        """Take a form of one of the pages.

        Errors:  Refused 9002313, 165000, 50089 for a form that is none of ours; 70018, 70020.
        """
        try:
            form = token_request.parse_form(await read_body(receive, _MAX_BODY))
        except BodyTooLarge as exc:
            raise Refused(9002313, reason=exc.message) from exc
        flow = self._flows.read(scope, form.get("flow", ""))
        if flow["kind"] == "code":
            return await self._take_code(scope, form)
        if form.get("step") == "cancel":
            return await self._cancel(flow)
        return await self._take_password(scope, flow, form)

    async def _take_code(self, scope: Scope, form: Mapping[str, str]) -> Reply:
        try:
            device = await self._signin.devices.find(form.get("user_code", ""))
        except Refused as exc:
            status = 429 if exc.entry.number == 50053 else 400
            text = "Too many wrong codes. Wait a minute." if status == 429 else exc.message
            return self._code_page(scope, "", fault=text, status=status)
        flow = {"kind": "device", "tenant": device.segment, "user_code": device.user_code}
        flow |= {"client": device.client_id}
        _, client = await self._client_of(flow)
        return self._sign_in_page(scope, flow, client)

    async def _take_password(
        self, scope: Scope, flow: dict[str, Any], form: Mapping[str, str]
    ) -> Reply:
        began, name = time.perf_counter(), form.get("username", "")
        tenant, client = await self._client_of(flow)
        facts: dict[str, Any] = {"client_id": client.id, "outcome": "signed_in"}
        try:
            approval = await self._signin.people.sign_in(tenant, name, form.get("password", ""))
            await self._signin.people.check_approval(client, approval)
            reply = await self._approve(flow, approval)
        except Refused as exc:
            facts |= {"outcome": exc.entry.name}
            reply = self._sign_in_page(scope, flow, client, name=name, fault=exc.message)
        log.hop(
            _log,
            "user_signed_in" if facts["outcome"] == "signed_in" else "user_not_signed_in",
            stage="exchange",
            asked="a sign-in on the page",
            checked=("flow", "user"),
            seconds=time.perf_counter() - began,
            **facts,
        )
        return reply

    async def _client_of(self, flow: dict[str, Any]) -> tuple[Tenant | None, Client]:
        client_id = flow["client"] if flow["kind"] == "device" else flow["asked"]["client_id"]
        tenant = await self._signin.any_or_find(flow["tenant"], grant=_GRANT)
        _, client = await self._signin.client(tenant, client_id)
        return tenant, client

    async def _approve(self, flow: dict[str, Any], approval: Approval) -> Reply:
        if flow["kind"] == "device":
            await self._signin.devices.settle(flow["user_code"], approval)
            return _html(html.done(_CONFIRMED, "The program that showed the code goes on."))
        asked = AuthorizeRequest(**flow["asked"])
        code = await self._signin.give_code(asked, Platform(flow["platform"]), approval)
        return _back(asked, {"code": code})

    async def _cancel(self, flow: dict[str, Any]) -> Reply:
        if flow["kind"] == "device":
            await self._signin.devices.settle(flow["user_code"], None)
            return _html(html.done("Cancelled", "The program that showed the code is told so."))
        return _back(AuthorizeRequest(**flow["asked"]), _fault(Refused(65004)))

    def _sign_in_page(
        self, scope: Scope, flow: dict[str, Any], client: Client, *, name: str = "", fault: str = ""
    ) -> Reply:
        token, cookie = self._flows.begin(scope, flow)
        target = authorize.origin_of(flow["asked"]["redirect"]) if "asked" in flow else ""
        body = html.sign_in(
            action=_ACTION,
            flow=token,
            client=client.name,
            about=client.about,
            target=target,
            name=name[:256],
            fault=fault,
        )
        targets = [target] if target else []
        return Reply(200, (*html.headers(form_targets=targets), cookie), body)

    def _code_page(self, scope: Scope, code: str, *, fault: str = "", status: int = 200) -> Reply:
        token, cookie = self._flows.begin(scope, {"kind": "code"})
        body = html.device_code(action=_ACTION, flow=token, code=code[:32], fault=fault)
        return Reply(status, (*html.headers(), cookie), body)


def page_of(refused: Refused) -> Reply:
    """Show a refusal to a person."""
    text = f"{refused.entry.name}: {refused.message}"
    return Reply(refused.status, html.headers(), html.refused(text, refused.hint))


def signed_out() -> Reply:
    """Tell that no session is kept; nobody is sent on, since a link would name the place."""
    return _html(html.done("Signed out", "This page keeps no session: nothing is left to end."))


def _html(body: bytes) -> Reply:
    return Reply(200, html.headers(), body)


def _fault(refused: Refused) -> dict[str, str]:
    return {
        "error": refused.error,
        "error_description": f"{refused.entry.name}: {refused.message}",
    }


def _back(asked: AuthorizeRequest, answer: dict[str, str]) -> Reply:
    """Send an answer back to the client, in the way it asked for."""
    target = authorize.origin_of(asked.redirect)
    if asked.mode == "form_post":
        body = html.forward(action=asked.redirect, fields=authorize.post_fields(asked, answer))
        return Reply(200, html.headers(form_targets=[target], submits=True), body)
    where = (b"location", authorize.location(asked, answer).encode("ascii"))
    return Reply(303, (*html.headers(form_targets=[target]), where), b"")
