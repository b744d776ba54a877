"""The edge of the webhook: `POST /mutate-v1-pod`, and two probes. It translates and decides nothing.

Raw ASGI, because every pod of a cluster waits for it. Every fault leaves as a verdict of one shape.
"""

import logging
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from podpass import names
from podpass.account.annotations import read_wish
from podpass.account.model import Account, Pod, Wish, read_pod
from podpass.admission.accounts import Accounts
from podpass.admission.mutate import Operation, mutate
from podpass.admission.wire import (
    MAX_BODY_BYTES,
    VERSIONS,
    BadReview,
    Review,
    allowed,
    denied,
    parse_review,
)
from podpass.errors import Error
from podpass.log import correlation_id, hop
from podpass.serve import App, BodyTooLarge, Receive, Scope, Send, header, read_body, respond
from podpass.settings import WebhookSettings

_log = logging.getLogger(__name__)
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)


def create_app(
    settings: WebhookSettings, accounts: Accounts, *, ready: Callable[[], bool] = lambda: True
) -> App:
    """Serve the webhook; `ready` tells whether pods may already be sent here."""
    webhook = Webhook(settings, accounts)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case names.WEBHOOK_PATH:
                await respond(send, 200, await webhook.answer(scope, receive))
            case "/healthz":
                await respond(send, 200, b"ok", _TEXT)
            case "/readyz":
                done = ready()
                await respond(send, 200 if done else 500, b"ok" if done else b"not ready", _TEXT)
            case _:
                await respond(send, 404, b"not found", _TEXT)

    return app


class Webhook:
    """One verdict for one request."""

    def __init__(self, settings: WebhookSettings, accounts: Accounts) -> None:
        self._settings = settings
        self._accounts = accounts

    async def answer(self, scope: Scope, receive: Receive) -> bytes:
        """Answer a request with a review, whatever it holds."""
        api_version, uid = VERSIONS[0], ""
        try:
            body = await read_body(receive, MAX_BODY_BYTES)
            review = parse_review(body, header(scope, b"content-type"))
            api_version, uid = review.api_version, review.uid
            correlation_id.set(uid)
            return await self._decide(review)
        except (BadReview, BodyTooLarge) as exc:
            _log.warning("review_refused", extra={"code": exc.code, "reason": exc.message})
            known_version = str(exc.facts.get("api_version", api_version))
            return denied(known_version, uid, exc.status, _sentence(exc))
        except Error as exc:
            return denied(api_version, uid, exc.status, _sentence(exc))
        except Exception:  # noqa: BLE001 our fault: a refusal to the user, not a broken connection
            return self._broken(api_version, uid)

    async def _decide(self, review: Review) -> bytes:
        pod, wish = await self._read(review)
        return allowed(review, self._mutate(pod, wish))

    async def _read(self, review: Review) -> tuple[Pod, Wish]:
        settings = self._settings
        with _Hop("account", "the review's object") as this:
            pod = read_pod(review.object, review.namespace)
            this.of(f"ServiceAccount {pod.namespace}/{pod.account}", pod)
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
            this.facts |= {"client_id": wish.client_id, "tenant_id": wish.tenant_id}
            this.outcome = "read"
        return pod, wish

    def _mutate(self, pod: Pod, wish: Wish) -> list[Operation]:
        with _Hop("admission", names.WEBHOOK_PATH) as this:
            this.of(f"{names.WEBHOOK_PATH} for {pod}", pod)
            operations = mutate(pod, wish, self._settings)
            this.checked.append("no other volume stands at the token's path")
            this.facts["operations"] = len(operations)
            this.outcome = "mutated" if operations else "unchanged"
        return operations

    def _broken(self, api_version: str, uid: str) -> bytes:
        cid = uid or uuid.uuid4().hex
        correlation_id.set(cid)
        _log.exception("admission_failed")
        message = f"podpass failed on this pod; its log says why under correlation id {cid}"
        return denied(api_version, uid, 500, message)


class _Hop:
    """Times one stage and logs how it ended, once, whichever way it ends."""

    __slots__ = ("asked", "checked", "facts", "outcome", "stage", "started")

    def __init__(self, stage: str, asked: str) -> None:
        self.stage, self.asked, self.outcome = stage, asked, ""
        self.checked: list[str] = []
        self.facts: dict[str, Any] = {}

    def of(self, asked: str, pod: Pod) -> None:
        """Name the pod this is about, once it is known."""
        self.asked = asked
        self.facts = {"pod": pod.identity, "namespace": pod.namespace, "account": pod.account}

    def __enter__(self) -> Self:
        self.started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._log(logging.INFO, f"{self.stage}_{self.outcome}", self.facts)
        elif isinstance(error, Error):
            self.outcome = "refused"
            refusal = {**self.facts, **error.facts, "code": error.code, "reason": error.message}
            self._log(logging.WARNING, f"{self.stage}_refused", refusal)

    def _log(self, level: int, event: str, facts: dict[str, Any]) -> None:
        if _log.isEnabledFor(level):
            hop(
                _log,
                event,
                level=level,
                stage=self.stage,
                asked=self.asked,
                checked=self.checked,
                seconds=time.perf_counter() - self.started,
                outcome=self.outcome,
                **facts,
            )


def _sentence(exc: Error) -> str:
    return f"{exc.message}; {exc.hint}" if exc.hint else exc.message
