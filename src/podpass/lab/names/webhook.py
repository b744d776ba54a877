"""HTTP edge of the trust webhook. Its decisions are in other modules.

The trust webhook and the identity webhook have separate processes, registrations and CAs. The response to
every request is an AdmissionReview; after an error the review denies the pod with the reason.
"""

import logging
from collections.abc import Awaitable, Callable

from podpass import log
from podpass.account.model import Pod, parse_pod
from podpass.admission.memory_budget import MemoryBudget, Reservation
from podpass.admission.wire import (
    MAX_BODY_BYTES,
    VERSIONS,
    AdmissionRequest,
    build_allow_response,
    build_deny_response,
    parse_review,
)
from podpass.errors import Error
from podpass.http.server import App, Receive, Scope, Send, header, read_body, respond
from podpass.lab.names.injection import MAX_WARNINGS, BundleNames, PodInjection, inject
from podpass.lab.names.pod_dns import PodDns, lead_to_resolver
from podpass.lab.names.trust_objects import WEBHOOK_PATH

_log = logging.getLogger(__name__)
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
_MAX_MESSAGE, _MAX_WARNING = 1024, 512

Publish = Callable[[str], Awaitable[None]]


def create_app(names: BundleNames, publish: Publish, *, dns: PodDns | None = None) -> App:
    """Create the application of the webhook.

    `publish` writes the bundle into a namespace; with `dns`, pods also get the resolver.
    """
    handler = TrustHandler(names, publish, dns)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == WEBHOOK_PATH:
            await respond(send, 200, await handler.answer(scope, receive))
        else:
            await respond(send, 404, b"not found", _TEXT)

    return app


class TrustHandler:
    """Answers admission requests for pods, and for their ephemeral containers."""

    def __init__(self, names: BundleNames, publish: Publish, dns: PodDns | None) -> None:
        self._names, self._publish, self._dns = names, publish, dns
        self._budget = MemoryBudget()

    async def answer(self, scope: Scope, receive: Receive) -> bytes:
        """Return the AdmissionReview that answers a request, valid or not."""
        api_version, uid = VERSIONS[0], ""
        reservation = Reservation(self._budget)
        try:
            body = await read_body(receive, MAX_BODY_BYTES, reservation.reserve)
            review = parse_review(body, header(scope, b"content-type"), any_resource=True)
            api_version, uid = review.api_version, review.uid
            log.correlation_id.set(uid)
            return await self._decide(review)
        except Error as exc:
            api_version = str(exc.facts.get("api_version", api_version))
            uid = str(exc.facts.get("uid", uid))
            _log.warning("trust_refused", extra={"code": exc.code, "reason": exc.message})
            text = f"{exc.message}; {exc.hint}" if exc.hint else exc.message
            return build_deny_response(api_version, uid, exc.status, _shorten(text, _MAX_MESSAGE))
        except Exception:  # noqa: BLE001 an internal error becomes a denial, not a broken connection
            _log.exception("trust_failed")
            message = f"podpass cloud failed; search its log for correlation id {uid}"
            return build_deny_response(api_version, uid, 500, message)
        finally:
            reservation.release()

    async def _decide(self, review: AdmissionRequest) -> bytes:
        if not review.creates_pod:
            return build_allow_response(review.api_version, review.uid)
        pod = parse_pod(review.object, review.namespace)
        injection = self._inject(pod, review)
        if injection.operations and not review.dry_run:
            await self._publish(pod.namespace)
        facts = {
            "namespace": pod.namespace,
            "pod": pod.identity,
            "operations": len(injection.operations),
        }
        _log.info("trust_injected", extra=facts)
        warnings = [_shorten(each, _MAX_WARNING) for each in injection.warnings[:MAX_WARNINGS]]
        return build_allow_response(
            review.api_version, review.uid, injection.operations, warnings=warnings
        )

    def _inject(self, pod: Pod, review: AdmissionRequest) -> PodInjection:
        if review.old_object is not None:
            old = parse_pod(review.old_object, review.namespace)
            return inject(pod, self._names, old=old.spec)
        injection = inject(pod, self._names)
        operations, warnings = lead_to_resolver(pod, self._dns)
        return PodInjection(injection.operations + operations, warnings + injection.warnings)


def _shorten(text: str, limit: int) -> str:
    """Return a text of bounded length on one line; names in it are not validated yet."""
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"
