"""Calls webhooks over HTTPS, in the order and by the rules of the real API server: those that change one
after the other, then those that only judge all at once.

What enters is a request under admission; what leaves is its object, patched. A webhook that cannot be
reached, answers wrongly or too late refuses the request or is passed over, as its failurePolicy says;
its answer is never believed beyond verdict, patch and warnings.
"""

import asyncio
import base64
import binascii
import io
import logging
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from podpass.errors import Error
from podpass.kubernetes.apiserver import decoding, schema
from podpass.kubernetes.apiserver.admission import webhook_matcher, webhook_response
from podpass.kubernetes.apiserver.admission.plugins import Attributes
from podpass.kubernetes.apiserver.admission.webhook_response import WebhookFailed
from podpass.kubernetes.apiserver.defaulting import defaults
from podpass.kubernetes.apiserver.patch import json_patch
from podpass.kubernetes.apiserver.status import Cause, StatusError
from podpass.kubernetes.apiserver.storage.storage import Object, Store

_log = logging.getLogger(__name__)

Services = Mapping[str, str]
"""Origins of services by `NAMESPACE/NAME:PORT`, for there is no network of services here."""

_MAX_ANSWER_BYTES = 3 * 1024 * 1024
_VERSIONS = ("v1", "v1beta1")


class Webhooks:
    """Calls the webhooks that are configured in the store."""

    def __init__(self, store: Store, services: Services) -> None:
        self._store = store
        self._services = services
        self._session: Any = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            # asyncio ends a TLS connection a turn of the loop after it was asked to.
            await asyncio.sleep(0)
            self._session = None

    async def mutate(self, attributes: Attributes, plugins: Callable[[], None]) -> None:
        """Let every webhook that wants a request change its object.

        After a change the built-in `plugins` run again, and then each webhook that asked for it and
        whose object was changed after it saw it.

        Errors:  StatusError: denied, or a webhook failed and its policy is Fail.
        """
        hooks = webhook_matcher.hooks(self._store, attributes, "MutatingWebhookConfiguration")
        changed_last = -1
        for at, hook in enumerate(hooks):
            if await self._change(hook, attributes):
                changed_last = at
        if changed_last < 0:
            return
        before = orjson.dumps(attributes.obj)
        plugins()
        if orjson.dumps(attributes.obj) != before:
            changed_last = len(hooks)
        for hook in hooks[:changed_last]:
            if hook.spec.get("reinvocationPolicy") == "IfNeeded":
                await self._change(hook, attributes)

    async def validate(self, attributes: Attributes) -> None:
        """Let every webhook that wants a request judge its object as it would be stored.

        All are asked at once and all are waited for; the first refusal, in their order, is the answer.

        Errors:  StatusError: denied, or a webhook failed and its policy is Fail.
        """
        hooks = webhook_matcher.hooks(self._store, attributes, "ValidatingWebhookConfiguration")
        asked = (self._judge(hook, attributes) for hook in hooks)
        for refusal in await asyncio.gather(*asked, return_exceptions=True):
            if refusal is not None:
                raise refusal

    async def _judge(self, hook: webhook_matcher.Hook, attributes: Attributes) -> None:
        response = await self._ask(hook, attributes, mutates=False)
        if response is not None:
            _believe(hook, attributes, response)

    async def _change(self, hook: webhook_matcher.Hook, attributes: Attributes) -> bool:
        """Let one webhook change the object, and tell whether it did."""
        response = await self._ask(hook, attributes, mutates=True)
        return response is not None and _take(hook, attributes, response)

    async def _ask(
        self, hook: webhook_matcher.Hook, attributes: Attributes, *, mutates: bool
    ) -> Object | None:
        """Ask one webhook; None where it does not want the request, or failed and may be ignored."""
        if not webhook_matcher.wants(self._store, hook, attributes):
            return None
        if attributes.dry_run and hook.spec.get("sideEffects") not in ("None", "NoneOnDryRun"):
            raise StatusError(
                400,
                "BadRequest",
                f"admission webhook {hook.name!r} does not support dry run",
            )
        began = time.monotonic()
        try:
            response = await self._call(hook, attributes, mutates=mutates)
        except WebhookFailed as exc:
            _log.warning(
                "webhook_failed",
                extra={"webhook": hook.name, "cause": exc.message, "policy": hook.failure_policy},
            )
            if hook.failure_policy == "Ignore":
                return None
            raise _failed(hook, exc) from exc
        took, noted = time.monotonic() - began, sorted(response.get("auditAnnotations") or ())
        facts = {"webhook": hook.name, "seconds": took, "annotated": noted}
        _log.debug("webhook_answered", extra=facts)
        return response

    async def _call(
        self, hook: webhook_matcher.Hook, attributes: Attributes, *, mutates: bool
    ) -> Object:
        import aiohttp

        version = next((v for v in hook.spec["admissionReviewVersions"] if v in _VERSIONS), "")
        if not version:
            raise WebhookFailed(
                "the webhook takes no version of AdmissionReview that is spoken here"
            )
        uid = str(uuid.uuid4())
        body = orjson.dumps(webhook_matcher.review(attributes, uid, version))
        url, server_name = self._address(hook)
        seconds = hook.spec.get("timeoutSeconds") or 10
        url = f"{url}{'&' if '?' in url else '?'}timeout={seconds}s"
        how = {
            "headers": {"content-type": "application/json", "accept": "application/json"},
            "ssl": self._context(hook),
            "server_hostname": server_name,
            "timeout": aiohttp.ClientTimeout(total=seconds),
            "allow_redirects": False,
        }
        try:
            try:
                content = await self._post(url, body, how)
            except aiohttp.ServerDisconnectedError:
                # A connection kept from before the webhook's restart; nothing was answered on it.
                content = await self._post(url, body, how)
        except TimeoutError as exc:
            raise WebhookFailed(f"no answer within {seconds} s (deadline exceeded)") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise WebhookFailed(f"Post {url!r}: {exc}") from exc
        return webhook_response.read(content, uid, version, mutates=mutates)

    async def _post(self, url: str, body: bytes, how: Mapping[str, Any]) -> bytes:
        # A file, for the client warns of large bodies that are none; a new one for each try.
        async with self._open().post(url, data=io.BytesIO(body), **how) as answer:
            if not 200 <= answer.status <= 299:
                raise WebhookFailed(f"the server answered {answer.status}")
            content = bytearray()
            async for chunk in answer.content.iter_any():
                content += chunk
                if len(content) > _MAX_ANSWER_BYTES:
                    raise WebhookFailed("the answer is too large")
            return bytes(content)

    def _open(self) -> Any:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._session

    def _address(self, hook: webhook_matcher.Hook) -> tuple[str, str | None]:
        config = hook.spec["clientConfig"]
        if url := config.get("url"):
            return url, None
        service = config["service"]
        name, namespace = service["name"], service["namespace"]
        key = f"{namespace}/{name}:{service.get('port', 443)}"
        origin = self._services.get(key)
        if origin is None:
            raise WebhookFailed(
                f"service {key} is not reachable here: this cluster has no network of services"
            )
        return origin + (service.get("path") or "/"), f"{name}.{namespace}.svc"

    def _context(self, hook: webhook_matcher.Hook) -> ssl.SSLContext:
        bundle = hook.spec["clientConfig"].get("caBundle") or ""
        if bundle not in self._contexts:
            if len(self._contexts) > 32:  # bundles of configurations that are gone
                self._contexts.clear()
            try:
                pem = base64.b64decode(bundle, validate=False).decode()
                self._contexts[bundle] = ssl.create_default_context(cadata=pem or None)
            except (binascii.Error, ValueError, ssl.SSLError) as exc:
                raise WebhookFailed("the caBundle holds no certificate") from exc
        return self._contexts[bundle]


def _believe(hook: webhook_matcher.Hook, attributes: Attributes, response: Object) -> None:
    """Believe warnings and verdict of an answer."""
    attributes.warnings += response.get("warnings") or ()
    if response["allowed"] is not True:
        raise webhook_response.refusal(hook.name, response.get("status") or {})


def _take(hook: webhook_matcher.Hook, attributes: Attributes, response: Object) -> bool:
    """Believe an answer's patch too, and tell whether it changed anything."""
    _believe(hook, attributes, response)
    if not response.get("patch"):
        return False
    try:
        changed = _patched(attributes, response)
    except (Error, ValueError, KeyError, TypeError) as exc:
        failure = WebhookFailed(f"the webhook's patch cannot be applied: {exc}")
        raise _failed(hook, failure) from exc
    differs = changed != attributes.obj
    attributes.obj = changed
    return differs


def _patched(attributes: Attributes, response: Object) -> Object:
    """Apply a webhook's JSON patch, and default what it added."""
    kind = attributes.sub_kind[2] if attributes.sub_kind else attributes.kind
    data = base64.b64decode(response["patch"], validate=True)
    operations, _ = decoding.parse(data, "application/json")
    whole = webhook_matcher.shown(attributes, attributes.obj)
    patched = json_patch.json_patch(whole, operations)
    json_patch.check_size(patched)
    report = schema.check(kind, patched)
    if report.type_errors:
        raise WebhookFailed("; ".join(report.type_errors))
    attributes.warnings += [f'unknown field "{path}"' for path in report.unknown]
    changed = defaults.apply(kind, schema.prune(kind, patched))
    changed.pop("kind", None)
    changed.pop("apiVersion", None)
    return changed


def _failed(hook: webhook_matcher.Hook, why: WebhookFailed) -> StatusError:
    told = f'failed calling webhook "{hook.name}": failed to call webhook: {why.message}'
    return StatusError(
        500, "InternalError", f"Internal error occurred: {told}", causes=[Cause("", told)]
    )
