"""HTTP edge of the webhook: `POST /mutate-v1-pod`, `/warn-v1-pod` and `/warn-workload`. It decides nothing.

Raw ASGI, because every labelled pod of a cluster waits for it. The response to every request is an
AdmissionReview, even after an error.
"""

import logging
import re
import time
import uuid
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from podpass import names
from podpass.account.annotations import parse_identity_config
from podpass.account.model import Pod, PodIdentityConfig, ServiceAccount, parse_pod
from podpass.admission.events import RefusalRecorder
from podpass.admission.memory_budget import UNRESERVED_BYTES, MemoryBudget, Reservation
from podpass.admission.metrics_reasons import INTERNAL_ERROR, MetricsRecorder
from podpass.admission.mutate import mutate
from podpass.admission.service_accounts import ServiceAccountReader
from podpass.admission.warn_handler import WarningHandler
from podpass.admission.warnings import list_warnings
from podpass.admission.wire import (
    MAX_BODY_BYTES,
    VERSIONS,
    AdmissionRequest,
    build_allow_response,
    build_deny_response,
    parse_review,
)
from podpass.errors import Error
from podpass.http.server import JSON, App, Receive, Reply, Scope, Send, header, read_body, respond
from podpass.log import DRY_RUN, correlation_id, hop
from podpass.settings import WebhookSettings

_log = logging.getLogger(__name__)
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
_MAX_MESSAGE = 1024
_MAX_AUDITED = 64
_MAX_AUTHORITIES, _MAX_URL = 8, 256


def create_app(
    settings: WebhookSettings,
    accounts: ServiceAccountReader,
    *,
    metrics: MetricsRecorder | None = None,
    events: RefusalRecorder | None = None,
) -> App:
    """Create the application of the webhook.

    `metrics` is called for each response, `events` for each refused pod.
    """
    return _WebhookApp(settings, accounts, metrics, events)


class _WebhookApp:
    """The ASGI application; `fast_path` answers the reviews of ordinary pods."""

    # A connection reads a body of at most this size before the memory budget is checked.
    fast_path_max_bytes = UNRESERVED_BYTES

    def __init__(
        self,
        settings: WebhookSettings,
        accounts: ServiceAccountReader,
        metrics: MetricsRecorder | None,
        events: RefusalRecorder | None,
    ) -> None:
        budget = MemoryBudget()
        self._admission = AdmissionHandler(settings, accounts, budget, metrics, events)
        self._warnings = WarningHandler(accounts, budget)
        self._workload_warnings = WarningHandler(accounts, budget, workloads=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case names.WEBHOOK_PATH:
                await respond(send, 200, await self._admission.answer(scope, receive))
            case names.ADVICE_PATH:
                await respond(send, 200, await self._warnings.answer(scope, receive))
            case names.WORKLOAD_ADVICE_PATH:
                await respond(send, 200, await self._workload_warnings.answer(scope, receive))
            case _:
                await respond(send, 404, b"not found", _TEXT)

    def fast_path(self, scope: Scope, body: bytes) -> Coroutine[Any, Any, Reply] | None:
        """Answer the review of a pod; decline other paths."""
        return self._reply(scope, body) if scope["path"] == names.WEBHOOK_PATH else None

    async def _reply(self, scope: Scope, body: bytes) -> Reply:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        return Reply(200, (JSON,), await self._admission.answer(scope, receive))


class AdmissionHandler:
    """Answers admission requests for pods."""

    def __init__(
        self,
        settings: WebhookSettings,
        accounts: ServiceAccountReader,
        budget: MemoryBudget,
        metrics: MetricsRecorder | None,
        events: RefusalRecorder | None,
    ) -> None:
        self._settings = settings
        self._budget = budget
        self._accounts = accounts
        self._metrics = metrics
        self._events = events

    async def answer(self, scope: Scope, receive: Receive) -> bytes:
        """Return the response to an AdmissionReview, also to an invalid one."""
        settings, reservation = self._settings, Reservation(self._budget)
        review: AdmissionRequest | None = None
        pod: Pod | None = None
        started, outcome, reason = 0.0, "unchanged", ""
        try:
            body = await read_body(receive, MAX_BODY_BYTES, reservation.reserve)
            started = time.perf_counter()
            review = parse_review(body, header(scope, b"content-type"))
            correlation_id.set(review.uid)
            if not review.creates_pod:
                _log.info("review_ignored", extra={"namespace": review.namespace})
                response = build_allow_response(review.api_version, review.uid)
            else:
                asked, dry_run = "ServiceAccount {pod.namespace}/{pod.account}", review.dry_run
                with StageLogger(_log, "account", asked, dry_run=dry_run) as this:
                    this.pod = pod = parse_pod(review.object, review.namespace)
                    annotations = await self._accounts.read_annotations(pod.namespace, pod.account)
                    account = ServiceAccount(
                        namespace=pod.namespace, name=pod.account, annotations=annotations
                    )
                    this.checked.append("the account exists")
                    config = parse_identity_config(
                        pod,
                        account,
                        tenant_id=settings.tenant_id,
                        custom_endpoint_annotation=settings.custom_endpoint_annotation,
                        proxy_mode=settings.proxy_mode,
                        legacy_path=settings.legacy_token_path,
                    )
                    this.checked.append("annotations are in range")
                    this.facts = {"client_id": config.client_id, "tenant_id": config.tenant_id}
                    this.outcome = "read"

                asked = names.WEBHOOK_PATH + " for {pod}"
                with StageLogger(_log, "admission", asked, pod, dry_run=dry_run) as this:
                    mutation = mutate(pod, config, settings)
                    operations = mutation.operations
                    this.checked.append("no other volume is mounted at the token's path")
                    warnings = list_warnings(
                        pod, account, config, mutation, settings.custom_endpoint_annotation
                    )
                    this.facts["operations"] = len(operations)
                    if warnings:
                        this.facts["warnings"] = warnings
                    if mutation.authorities:
                        this.facts["authorities"] = _describe_authorities(
                            mutation.authorities, settings.authority_host
                        )
                    this.outcome = "mutated" if operations else "unchanged"

                audit = _build_audit_annotations(config) if operations else None
                response = build_allow_response(
                    review.api_version, review.uid, operations, warnings=warnings, audit=audit
                )
                outcome = this.outcome
        except Error as exc:
            # refused: the author of the pod can fix it; failed: only an operator of the cluster can.
            outcome, reason = "refused" if exc.status < 500 else "failed", exc.code
            response = self._deny(exc, review, pod)
        except Exception:  # noqa: BLE001 an internal error becomes a denial, not a broken connection
            outcome, reason = "failed", INTERNAL_ERROR
            response = _deny_internal_error(review, pod)
        finally:
            reservation.release()
        if self._metrics is not None:
            seconds = time.perf_counter() - started if started else 0.0
            self._metrics(outcome, reason, review.namespace if review else "", seconds)
        return response

    def _deny(self, exc: Error, review: AdmissionRequest | None, pod: Pod | None) -> bytes:
        message = _format_message(exc, pod)
        if review is None:
            _log.warning("review_refused", extra={"code": exc.code, "reason": exc.message})
            version = str(exc.facts.get("api_version", VERSIONS[0]))
            return build_deny_response(version, str(exc.facts.get("uid", "")), exc.status, message)
        if self._events is not None and not review.dry_run:
            self._events.refused(review.namespace, review.object, exc.code, message)
        return build_deny_response(review.api_version, review.uid, exc.status, message)


def _deny_internal_error(review: AdmissionRequest | None, pod: Pod | None) -> bytes:
    uid = review.uid if review else ""
    cid = uid or uuid.uuid4().hex
    correlation_id.set(cid)
    _log.exception("admission_failed")
    message = f"podpass failed on {pod or 'this pod'}; search its log for correlation id {cid}"
    return build_deny_response(review.api_version if review else VERSIONS[0], uid, 500, message)


def _describe_authorities(found: Sequence[tuple[str, str]], own: str) -> list[dict[str, str]]:
    """Return the facts about containers with another token service, without a password in the URL."""
    return [
        {"container": name, "given": own, "asked": re.sub("//.*@", "//", url, count=1)[:_MAX_URL]}
        for name, url in found[:_MAX_AUTHORITIES]
    ]


def _build_audit_annotations(config: PodIdentityConfig) -> dict[str, str]:
    """Build the audit annotations of a changed pod: the fact of the change, and the client ID.

    An unchanged pod gets none: on reinvocation the API server keeps the first value of a key and logs a
    warning about each other value.
    """
    annotations = {names.AUDIT_MUTATED: "true"}
    if config.client_id:
        annotations[names.AUDIT_CLIENT_ID] = config.client_id[:_MAX_AUDITED]
    return annotations


def _format_message(exc: Error, pod: Pod | None) -> str:
    """Format pod, error and hint on one line; escape control characters: names are not validated yet."""
    text = f"{exc.message}; {exc.hint}" if exc.hint else exc.message
    if pod is not None and str(pod) not in text:
        text = f"{pod}: {text}"
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"


class StageLogger:
    """Measures one stage and logs its result once, also after an error; use it as a context.

    `asked` describes the request, with members of the pod in braces. It is formatted only if the line is
    logged: by default most lines are not. The line of a dry run says so: no pod was created.
    """

    __slots__ = (
        *("_asked", "_dry_run", "_log", "checked", "facts", "outcome", "pod", "stage", "started"),
    )

    def __init__(
        self,
        log: logging.Logger,
        stage: str,
        asked: str,
        pod: Pod | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        self._log, self._asked, self._dry_run = log, asked, dry_run
        self.stage, self.pod, self.outcome = stage, pod, ""
        self.checked: list[str] = []
        self.facts: dict[str, Any] = {}

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
            self._log_result(logging.INFO, f"{self.stage}_{self.outcome}", self.facts)
        elif isinstance(error, Error):
            self.outcome = "refused"
            refusal = {**self.facts, **error.facts, "code": error.code, "reason": error.message}
            if error.hint:
                refusal["fix"] = error.hint
            self._log_result(logging.WARNING, f"{self.stage}_refused", refusal)
        elif isinstance(error, Exception):
            self.outcome = "internal_error"
            failure = {**self.facts, "reason": "podpass failed; see the traceback in its log"}
            self._log_result(logging.ERROR, f"{self.stage}_failed", failure)

    def _log_result(self, level: int, event: str, facts: dict[str, Any]) -> None:
        if self._log.isEnabledFor(level):
            pod = self.pod
            about: dict[str, object] = {}
            if pod is not None:
                about = {"pod": pod.identity, "namespace": pod.namespace, "account": pod.account}
            if self._dry_run:
                about[DRY_RUN] = True
            hop(
                self._log,
                event,
                level=level,
                stage=self.stage,
                asked=self._asked.format(pod=pod) if pod else "the review's object",
                checked=self.checked,
                seconds=time.perf_counter() - self.started,
                outcome=self.outcome,
                **{**about, **facts},
            )
