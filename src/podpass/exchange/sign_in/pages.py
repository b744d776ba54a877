"""The handlers of the sign-in pages: they translate between HTTP and the sign-in.

There are no sessions: every sign-in requires the password.
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
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.form_reader import refusal
from podpass.exchange.sign_in import authorize, html, used_forms
from podpass.exchange.sign_in import scope as user_scope
from podpass.exchange.sign_in.authorize import AuthorizeRequest
from podpass.exchange.sign_in.clients import Client, Platform
from podpass.exchange.sign_in.codes import Approval
from podpass.exchange.sign_in.consent_rules import RequestedPermission, deserialize
from podpass.exchange.sign_in.consents import ConsentScope
from podpass.exchange.sign_in.csrf import CsrfTokens
from podpass.exchange.sign_in.sign_in import SignIn
from podpass.exchange.signing.token_sealer import TokenSealer
from podpass.http.server import BodyRefused, Receive, Reply, Scope, read_decoded_body

_log = logging.getLogger(__name__)

LOGIN = "login"
_ACTION = f"/common/{LOGIN}"
_GRANT = "sign-in"  # the name of the grant in errors
_MAX_BODY = 64 * 1024
_CONFIRMED = "You are signed in"
# Values of `prompt` that ask for consent again; the second one is that of the v1.0 endpoint.
_CONSENT_PROMPTS = frozenset({"consent", "admin_consent"})


class SignInPages:
    """Renders the pages, handles their forms, and sends the response to the client."""

    def __init__(self, signin: SignIn, seal: TokenSealer, clock: Clock) -> None:
        self._signin = signin
        self._csrf_tokens = CsrfTokens(seal, clock)

    async def authorize(self, tenant: str, version: int, scope: Scope, receive: Receive) -> Reply:
        """Return the sign-in page, or send an error to the client.

        Raises AadstsError, for the user: client and redirect URI are not verified yet.
        """
        del receive
        query = token_request.parse_form(scope["query_string"])
        request = authorize.parse_request(query, version=version)
        found = await self._signin.find_tenant(tenant, grant=_GRANT)
        _, client = await self._signin.find_client(found, request.client_id)
        platform = client.find_platform(request.redirect)
        try:
            authorize.check_request(query, request, platform, version=version)
        except AadstsError as exc:
            return _redirect(request, _error_parameters(exc))
        flow = {
            "kind": "authorize",
            "tenant": tenant,
            "request": asdict(request),
            "platform": platform,
        }
        return self._sign_in_page(scope, flow, client, name=request.login_hint)

    async def device_page(self, scope: Scope, receive: Receive) -> Reply:
        """Return the page on which the user enters the user code."""
        del receive
        return self._code_page(
            scope, token_request.parse_form(scope["query_string"]).get("user_code", "")
        )

    async def post(self, scope: Scope, receive: Receive) -> Reply:
        """Handle a form of one of the pages.

        Raises AadstsError 9002313, 165000, 50089 for an invalid form; 70018, 70020.
        """
        try:
            body = await read_decoded_body(scope, receive, _MAX_BODY)
        except BodyRefused as exc:
            raise refusal(exc) from exc
        form = token_request.parse_form(body)
        flow = self._csrf_tokens.verify(scope, form.get("flow", ""))
        if flow["kind"] == "code":
            return await self._handle_code(scope, form)
        if flow["kind"] == "consent":
            return await self._handle_consent(flow, form)
        if form.get("step") == "cancel":
            return await self._cancel(flow)
        return await self._handle_password(scope, flow, form)

    async def _handle_code(self, scope: Scope, form: Mapping[str, str]) -> Reply:
        try:
            device = await self._signin.devices.find(form.get("user_code", ""))
        except AadstsError as exc:
            status = 429 if exc.entry.number == numbers.USER_LOCKED else 400
            text = "Too many wrong codes. Wait a minute." if status == 429 else exc.message
            return self._code_page(scope, "", fault=text, status=status)
        flow: dict[str, Any] = {
            "kind": "device",
            "tenant": device.segment,
            "user_code": device.user_code,
        }
        flow |= {"client": device.client_id, "scope": device.scope, "version": device.version}
        _, client = await self._find_flow_client(flow)
        return self._sign_in_page(scope, flow, client)

    async def _handle_password(
        self, scope: Scope, flow: dict[str, Any], form: Mapping[str, str]
    ) -> Reply:
        began, name = time.perf_counter(), form.get("username", "")
        tenant, client = await self._find_flow_client(flow)
        facts: dict[str, Any] = {"client_id": client.id, "outcome": "signed_in"}
        try:
            approval = await self._signin.users.authenticate(tenant, name, form.get("password", ""))
            parties = await self._signin.find_consent_scope(client, approval)
            request = flow["request"] if flow["kind"] == "authorize" else flow
            requested = user_scope.parse(request["scope"], version=request["version"])
            prompt = request.get("prompt", "") in _CONSENT_PROMPTS
            needed = await self._signin.consents.needed(parties, requested, prompt=prompt)
            if needed:
                reply = self._consent_page(scope, flow, parties, approval, needed)
            else:
                reply = await self._approve(flow, approval)
        except AadstsError as exc:
            facts |= {"outcome": exc.entry.name}
            reply = self._sign_in_page(scope, flow, client, name=name, fault=_fault_text(exc))
        log.hop(
            _log,
            "user_signed_in" if facts["outcome"] == "signed_in" else "user_sign_in_failed",
            stage="exchange",
            asked="a sign-in on the page",
            checked=("flow", "user"),
            seconds=time.perf_counter() - began,
            **facts,
        )
        return reply

    async def _handle_consent(self, consent: dict[str, Any], form: Mapping[str, str]) -> Reply:
        """Store the consent that the user gave on the page, and complete the sign-in.

        Raises AadstsError 9002313, 50089, 50173, 50105, 90094.
        """
        began, flow, step = time.perf_counter(), consent["flow"], form.get("step")
        if step not in {"accept", "cancel"}:
            raise AadstsError(numbers.MALFORMED_REQUEST, reason="the consent form has no decision")
        await self._signin.used_forms.use(consent["id"])
        if step == "cancel":
            return await self._cancel(flow)
        approval = Approval(**consent["approval"])
        _, client = await self._find_flow_client(flow)
        parties = await self._signin.find_consent_scope(client, approval)
        permissions = deserialize(consent["permissions"])
        for_all = form.get("organization") == "1"
        await self._signin.consents.accept(parties, permissions, for_all=for_all)
        log.hop(
            _log,
            "user_consented",
            stage="exchange",
            asked="consent on the page",
            checked=("flow", "user"),
            seconds=time.perf_counter() - began,
            client_id=client.id,
            oid=parties.user.id,
            permissions=[each.permission.value for each in permissions],
        )
        return await self._approve(flow, approval)

    async def _find_flow_client(self, flow: dict[str, Any]) -> tuple[Tenant | None, Client]:
        client_id = flow["client"] if flow["kind"] == "device" else flow["request"]["client_id"]
        tenant = await self._signin.find_tenant(flow["tenant"], grant=_GRANT)
        _, client = await self._signin.find_client(tenant, client_id)
        return tenant, client

    async def _approve(self, flow: dict[str, Any], approval: Approval) -> Reply:
        if flow["kind"] == "device":
            await self._signin.devices.complete(flow["user_code"], approval)
            return _html(html.completed(_CONFIRMED, "The program that showed the code continues."))
        request = AuthorizeRequest(**flow["request"])
        code = await self._signin.issue_code(request, Platform(flow["platform"]), approval)
        return _redirect(request, {"code": code})

    async def _cancel(self, flow: dict[str, Any]) -> Reply:
        if flow["kind"] == "device":
            await self._signin.devices.complete(flow["user_code"], None)
            return _html(
                html.completed("Cancelled", "The program that showed the code gets an error.")
            )
        return _redirect(
            AuthorizeRequest(**flow["request"]),
            _error_parameters(AadstsError(numbers.SIGN_IN_DECLINED)),
        )

    def _sign_in_page(
        self, scope: Scope, flow: dict[str, Any], client: Client, *, name: str = "", fault: str = ""
    ) -> Reply:
        token, cookie = self._csrf_tokens.issue(scope, flow)
        target = authorize.origin_of(flow["request"]["redirect"]) if "request" in flow else ""
        body = html.sign_in(
            action=_ACTION,
            flow=token,
            client=client.name,
            description=client.description,
            target=target,
            name=name[:256],
            fault=fault,
        )
        targets = [target] if target else []
        return Reply(200, (*html.headers(form_targets=targets), cookie), body)

    def _consent_page(
        self,
        scope: Scope,
        flow: dict[str, Any],
        parties: ConsentScope,
        approval: Approval,
        permissions: tuple[RequestedPermission, ...],
    ) -> Reply:
        # The page needs no second password: its sealed token contains the approval, for this browser only.
        consent = {"kind": "consent", "id": used_forms.create_id(), "flow": flow}
        consent |= {"approval": asdict(approval)}
        token, cookie = self._csrf_tokens.issue(
            scope, consent | {"permissions": [asdict(each) for each in permissions]}
        )
        target = authorize.origin_of(flow["request"]["redirect"]) if "request" in flow else ""
        body = html.consent(
            action=_ACTION,
            flow=token,
            client=parties.client.name,
            description=parties.client.description,
            target=target,
            user=parties.user.name,
            permissions=permissions,
            administers=self._signin.consents.administers(parties.user),
        )
        return Reply(200, (*html.headers(form_targets=[target] if target else []), cookie), body)

    def _code_page(self, scope: Scope, code: str, *, fault: str = "", status: int = 200) -> Reply:
        token, cookie = self._csrf_tokens.issue(scope, {"kind": "code"})
        body = html.device_code(action=_ACTION, flow=token, code=code[:32], fault=fault)
        return Reply(status, (*html.headers(), cookie), body)


def error_reply(exc: AadstsError) -> Reply:
    """Return the page with an error for the user."""
    text = f"{exc.entry.name}: {exc.message}"
    return Reply(exc.status, html.headers(), html.error(text, exc.hint))


def signed_out_reply() -> Reply:
    """Return the page after a sign-out; it never redirects, because any link could set the target."""
    return _html(
        html.completed("Signed out", "This service has no sessions, so there is nothing to end.")
    )


def _fault_text(exc: AadstsError) -> str:
    """Return the text of an error; only the owner of the application can fix an error of the resource."""
    return f"{exc.entry.name}: {exc.message}" if exc.step == "resource" else exc.message


def _html(body: bytes) -> Reply:
    return Reply(200, html.headers(), body)


def _error_parameters(exc: AadstsError) -> dict[str, str]:
    return {"error": exc.error, "error_description": f"{exc.entry.name}: {exc.message}"}


def _redirect(request: AuthorizeRequest, response: dict[str, str]) -> Reply:
    """Send a response to the client in the requested response mode."""
    target = authorize.origin_of(request.redirect)
    if request.mode == "form_post":
        body = html.auto_submit(
            action=request.redirect, fields=authorize.post_fields(request, response)
        )
        return Reply(200, html.headers(form_targets=[target], submits=True), body)
    location = (b"location", authorize.location(request, response).encode("ascii"))
    # Entra uses this status too. A browser follows it with GET, also after the form with the password.
    return Reply(302, (*html.headers(form_targets=[target]), location), b"")
