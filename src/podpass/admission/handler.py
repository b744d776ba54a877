"""The edge of the webhook: `POST /mutate-v1-pod` and advice. It translates and decides nothing.

Raw ASGI, because every pod of a cluster waits for it. Every fault leaves as a verdict of one shape.
"""

import logging
import time
import uuid
from dataclasses import dataclass

from podpass import names
from podpass.account.annotations import read_wish
from podpass.account.model import Account, Pod, Wish, read_pod
from podpass.admission.events import Events
from podpass.admission.memory_budget import Hold, Room
from podpass.admission.metrics_reasons import FAULT, Observe
from podpass.admission.mutate import Operation, mutate
from podpass.admission.request_log import Hop
from podpass.admission.service_accounts import Accounts
from podpass.admission.warn_handler import Adviser
from podpass.admission.warnings import warn
from podpass.admission.wire import (
    MAX_BODY_BYTES,
    VERSIONS,
    Review,
    allowed,
    denied,
    parse_review,
)
from podpass.errors import Error
from podpass.http.server import App, Receive, Scope, Send, header, read_body, respond
from podpass.log import correlation_id
from podpass.settings import WebhookSettings

_log = logging.getLogger(__name__)
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
_MAX_MESSAGE = 1024
_MAX_AUDITED = 64


def create_app(
    settings: WebhookSettings,
    accounts: Accounts,
    *,
    observe: Observe | None = None,
    events: Events | None = None,
) -> App:
    """Serve the webhook.

    Shapes:  `observe` is told of each verdict, `events` of each pod that was refused.
    """
    room = Room()
    webhook = Webhook(settings, accounts, room, observe, events)
    adviser = Adviser(accounts, room)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case names.WEBHOOK_PATH:
                await respond(send, 200, await webhook.answer(scope, receive))
            case names.ADVICE_PATH:
                await respond(send, 200, await adviser.answer(scope, receive))
            case _:
                await respond(send, 404, b"not found", _TEXT)

    return app


@dataclass(slots=True)
class _Case:
    """What is known of one request so far, and what came of it."""

    review: Review | None = None
    pod: Pod | None = None
    started: float = 0.0
    outcome: str = "failed"
    reason: str = ""


class Webhook:
    """One verdict for one request."""

    def __init__(
        self,
        settings: WebhookSettings,
        accounts: Accounts,
        room: Room,
        observe: Observe | None,
        events: Events | None,
    ) -> None:
        self._settings = settings
        self._room = room
        self._accounts = accounts
        self._observe = observe
        self._events = events

    async def answer(self, scope: Scope, receive: Receive) -> bytes:
        """Answer a request with a review, whatever it holds."""
        case, hold = _Case(), Hold(self._room)
        try:
            body = await read_body(receive, MAX_BODY_BYTES, hold.grow)
            case.started = time.perf_counter()
            case.review = parse_review(body, header(scope, b"content-type"))
            correlation_id.set(case.review.uid)
            verdict = await self._decide(case, case.review)
        except Error as exc:
            verdict = self._refuse(case, exc)
        except Exception:  # noqa: BLE001 our fault: a refusal to the user, not a broken connection
            verdict = self._broken(case)
        finally:
            hold.release()
        if self._observe is not None:
            seconds = time.perf_counter() - case.started if case.started else 0.0
            namespace = case.review.namespace if case.review else ""
            self._observe(case.outcome, case.reason, namespace, seconds)
        return verdict

    async def _decide(self, case: _Case, review: Review) -> bytes:
        if not review.creates_pod:
            _log.info("review_passed", extra={"namespace": review.namespace})
            case.outcome = "unchanged"
            return allowed(review.api_version, review.uid)
        account, wish = await self._read(case, review)
        assert case.pod is not None
        operations, warnings = self._mutate(case.pod, account, wish)
        case.outcome = "mutated" if operations else "unchanged"
        audit = _audit(wish) if operations else None
        return allowed(review.api_version, review.uid, operations, warnings=warnings, audit=audit)

    async def _read(self, case: _Case, review: Review) -> tuple[Account, Wish]:
        settings = self._settings
        with Hop(_log, "account", "ServiceAccount {pod.namespace}/{pod.account}") as this:
            this.pod = case.pod = pod = read_pod(review.object, review.namespace)
            account = Account(
                namespace=pod.namespace,
                name=pod.account,
                annotations=await self._accounts.annotations(pod.namespace, pod.account),
            )
            this.checked.append("the account exists")
            wish = read_wish(
                pod,
                account,
                tenant_id=settings.tenant_id,
                custom_endpoint_annotation=settings.custom_endpoint_annotation,
            )
            this.checked.append("annotations are in range")
            this.facts = {"client_id": wish.client_id, "tenant_id": wish.tenant_id}
            this.outcome = "read"
        return account, wish

    def _mutate(self, pod: Pod, account: Account, wish: Wish) -> tuple[list[Operation], list[str]]:
        with Hop(_log, "admission", names.WEBHOOK_PATH + " for {pod}", pod) as this:
            change = mutate(pod, wish, self._settings)
            operations = change.operations
            this.checked.append("no other volume stands at the token's path")
            warnings = warn(pod, account, wish, change, self._settings.custom_endpoint_annotation)
            this.facts["operations"] = len(operations)
            if warnings:
                this.facts["warnings"] = warnings
            this.outcome = "mutated" if operations else "unchanged"
        return operations, warnings

    def _refuse(self, case: _Case, exc: Error) -> bytes:
        # Who is to mend it: whoever wrote the pod, or whoever runs the cluster.
        case.outcome = "refused" if exc.status < 500 else "failed"
        case.reason = exc.code
        message = _sentence(exc, case.pod)
        if case.review is None:
            _log.warning("review_refused", extra={"code": exc.code, "reason": exc.message})
            version = str(exc.facts.get("api_version", VERSIONS[0]))
            return denied(version, str(exc.facts.get("uid", "")), exc.status, message)
        if self._events is not None and not case.review.dry_run:
            self._events.refused(case.review.namespace, case.review.object, exc.code, message)
        return denied(case.review.api_version, case.review.uid, exc.status, message)

    def _broken(self, case: _Case) -> bytes:
        case.outcome, case.reason = "failed", FAULT
        uid = case.review.uid if case.review else ""
        cid = uid or uuid.uuid4().hex
        correlation_id.set(cid)
        _log.exception("admission_failed")
        about = case.pod or "this pod"
        message = f"podpass failed on {about}; its log says why under correlation id {cid}"
        return denied(case.review.api_version if case.review else VERSIONS[0], uid, 500, message)


def _audit(wish: Wish) -> dict[str, str]:
    """Say for the audit log that a pod was changed, and for which client.

    Nothing is said of a pass that changes nothing: an API server keeps the first word under a key, and
    complains of every other one.
    """
    said = {names.AUDIT_MUTATED: "true"}
    if wish.client_id:
        said[names.AUDIT_CLIENT_ID] = wish.client_id[:_MAX_AUDITED]
    return said


def _sentence(exc: Error, pod: Pod | None) -> str:
    """Say whom it hits, what is wrong and what to do; on one line, since names are not checked yet."""
    text = f"{exc.message}; {exc.hint}" if exc.hint else exc.message
    if pod is not None and str(pod) not in text:
        text = f"{pod}: {text}"
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"
