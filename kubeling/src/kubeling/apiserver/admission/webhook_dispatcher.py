"""The webhook dispatcher: calls admission webhooks over HTTPS by the rules of the real API server.

Mutating webhooks are called sequentially, then all validating webhooks concurrently. The dispatcher
patches the object of a request under admission. If a webhook is unreachable, too slow or returns an invalid
response, its failurePolicy decides whether the request is refused. Of a response, only `allowed`, `status`,
the patch and the warnings are used. Webhooks are ordered by the name of their
configuration, then as listed in it.

Source: Kubernetes, "Dynamic Admission Control".
"""

import asyncio
import base64
import io
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from kubeling.apiserver import decoding, schema, worker
from kubeling.apiserver.admission import service_resolver, webhook_response
from kubeling.apiserver.admission.plugins import CREATE, AdmissionAttributes
from kubeling.apiserver.admission.webhook_response import WebhookFailed
from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.kinds import ADMISSION, Kind, kind_by_name
from kubeling.apiserver.patch import json_patch
from kubeling.apiserver.selectors import matches
from kubeling.apiserver.status import Cause, StatusError
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.errors import Error


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of one configuration."""

    configuration: str
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return the name of the webhook."""
        return str(self.spec["name"])

    @property
    def failure_policy(self) -> str:
        """Return the failurePolicy, Fail if it is not set."""
        return str(self.spec.get("failurePolicy") or "Fail")


def list_webhooks(
    store: ObjectStore, attributes: AdmissionAttributes, configurations: str
) -> list[Webhook]:
    """List the webhooks of a kind of configuration, in order."""
    # Otherwise a webhook could refuse every change of its own configuration.
    if attributes.kind.group == ADMISSION:
        return []
    return [
        Webhook(entry.name, each)
        for entry in store.list_stored(kind_by_name(configurations))
        for each in entry.object().get("webhooks") or ()
    ]


def should_call(store: ObjectStore, webhook: Webhook, attributes: AdmissionAttributes) -> bool:
    """Return whether a webhook's rules and selectors match a request and its current object."""
    rules = webhook.spec.get("rules") or ()
    return any(_rule_matches(rule, attributes) for rule in rules) and _selectors_match(
        store, webhook, attributes
    )


def _rule_matches(rule: Mapping[str, Any], attributes: AdmissionAttributes) -> bool:
    kind = attributes.kind
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") is not kind.namespaced:
        return False
    return (
        _includes(attributes.operation, rule.get("operations"))
        and _includes(kind.group, rule.get("apiGroups"))
        and _includes(kind.version, rule.get("apiVersions"))
        and any(_resource_matches(each, attributes) for each in rule.get("resources") or ())
    )


def _includes(value: str, wanted: Sequence[str] | None) -> bool:
    return "*" in (wanted or ()) or value in (wanted or ())


def _resource_matches(pattern: str, attributes: AdmissionAttributes) -> bool:
    """Match `pods`, `pods/status`, `pods/*`, `*/scale`, `*` (no subresource) or `*/*`."""
    resource, _, subresource = pattern.partition("/")
    return resource in ("*", attributes.kind.plural) and subresource in (
        "*",
        attributes.subresource,
    )


def _selectors_match(store: ObjectStore, webhook: Webhook, attributes: AdmissionAttributes) -> bool:
    selector = webhook.spec.get("objectSelector") or {}
    objects = [each for each in (attributes.obj, attributes.old) if each is not None]
    if not any(matches(selector, _labels(each)) for each in objects):
        return False
    selector = webhook.spec.get("namespaceSelector") or {}
    if not selector or not (attributes.kind.namespaced or attributes.kind.type_name == "Namespace"):
        return True
    if attributes.kind.type_name == "Namespace":
        namespace = attributes.obj if attributes.operation == CREATE else None
        name = attributes.name
    else:
        namespace, name = None, attributes.namespace
    found = namespace or store.get(kind_by_name("Namespace"), "", name)
    return found is not None and matches(selector, _labels(found))


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


def build_review(attributes: AdmissionAttributes, uid: str, version: str) -> Object:
    """Build the AdmissionReview for a webhook."""
    kind = attributes.kind
    sub = attributes.sub_kind
    request_kind = dict(zip(("group", "version", "kind"), sub or _gvk(kind), strict=True))
    resource = {"group": kind.group, "version": kind.version, "resource": kind.plural}
    request: Object = {
        "uid": uid,
        "kind": request_kind,
        "resource": resource,
        "requestKind": request_kind,
        "requestResource": resource,
        "operation": attributes.operation,
        "userInfo": attributes.user.body(),
        "object": with_type_meta(attributes, attributes.obj),
        "oldObject": with_type_meta(attributes, attributes.old),
        "dryRun": attributes.dry_run,
        "options": attributes.options or None,
    }
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    if attributes.name:
        request["name"] = attributes.name
    if attributes.namespace:
        request["namespace"] = attributes.namespace
    return {
        "kind": "AdmissionReview",
        "apiVersion": f"admission.k8s.io/{version}",
        "request": request,
    }


def _gvk(kind: Kind) -> tuple[str, str, str]:
    return kind.group, kind.version, kind.kind


def with_type_meta(attributes: AdmissionAttributes, obj: Object | None) -> Object | None:
    """Add `kind` and `apiVersion` to an object, as a webhook receives it."""
    if obj is None:
        return None
    group, version, kind = attributes.sub_kind or _gvk(attributes.kind)
    return {"kind": kind, "apiVersion": f"{group}/{version}" if group else version, **obj}


_log = logging.getLogger(__name__)

ServiceOrigins = Mapping[str, str]
"""Origins of Services without pods, by `NAMESPACE/NAME:PORT`; other Services are resolved to a pod."""

_MAX_RESPONSE_BYTES = 3 * 1024 * 1024
_VERSIONS = ("v1", "v1beta1")


class WebhookDispatcher:
    """Calls the webhooks of the stored configurations."""

    def __init__(self, store: ObjectStore, services: ServiceOrigins) -> None:
        self._store = store
        self._services = services
        self._session: Any = None

    async def close(self) -> None:
        """Close the HTTP session."""
        if self._session is not None:
            await self._session.close()
            # asyncio closes a TLS connection one event-loop iteration later.
            await asyncio.sleep(0)
            self._session = None

    async def admit(self, attributes: AdmissionAttributes) -> None:
        """Call all webhooks for an object without built-in plugins. Raises StatusError."""
        await self.mutate(attributes, lambda: None)
        await self.validate(attributes)

    async def mutate(self, attributes: AdmissionAttributes, plugins: Callable[[], None]) -> None:
        """Call every matching mutating webhook.

        After a change the built-in `plugins` run again, and then each webhook with reinvocationPolicy
        IfNeeded whose object was changed after its call. Raises StatusError: denied, or a webhook failed and
        its policy is Fail.
        """
        webhooks = list_webhooks(self._store, attributes, "MutatingWebhookConfiguration")
        last_change = -1
        for at, webhook in enumerate(webhooks):
            if await self._call_mutating(webhook, attributes):
                last_change = at
        if last_change < 0:
            return
        before = orjson.dumps(attributes.obj)
        plugins()
        if orjson.dumps(attributes.obj) != before:
            last_change = len(webhooks)
        for webhook in webhooks[:last_change]:
            if webhook.spec.get("reinvocationPolicy") == "IfNeeded":
                await self._call_mutating(webhook, attributes)

    async def validate(self, attributes: AdmissionAttributes) -> None:
        """Call every matching validating webhook with the object that would be stored.

        All are called concurrently. If several refuse, the error of the first in their order is raised.
        Raises StatusError: denied, or a webhook failed and its policy is Fail.
        """
        webhooks = list_webhooks(self._store, attributes, "ValidatingWebhookConfiguration")
        calls = (self._call_validating(webhook, attributes) for webhook in webhooks)
        for refusal in await asyncio.gather(*calls, return_exceptions=True):
            if refusal is not None:
                raise refusal

    async def _call_validating(self, webhook: Webhook, attributes: AdmissionAttributes) -> None:
        response = await self._call_if_matching(webhook, attributes, mutates=False)
        if response is not None:
            _apply_verdict(webhook, attributes, response)

    async def _call_mutating(self, webhook: Webhook, attributes: AdmissionAttributes) -> bool:
        """Call one mutating webhook; return whether it changed the object."""
        response = await self._call_if_matching(webhook, attributes, mutates=True)
        if response is None:
            return False
        size = worker.size_of(attributes.obj)
        return await worker.run(size, _apply_response, webhook, attributes, response)

    async def _call_if_matching(
        self, webhook: Webhook, attributes: AdmissionAttributes, *, mutates: bool
    ) -> Object | None:
        """Call one webhook; return None if it does not match, or failed and its failurePolicy is Ignore."""
        if not should_call(self._store, webhook, attributes):
            return None
        if attributes.dry_run and webhook.spec.get("sideEffects") not in ("None", "NoneOnDryRun"):
            raise StatusError(
                400,
                "BadRequest",
                f"admission webhook {webhook.name!r} does not support dry run",
            )
        started = time.monotonic()
        try:
            response = await self._call(webhook, attributes, mutates=mutates)
        except WebhookFailed as exc:
            failed = {"cause": exc.message, "policy": webhook.failure_policy}
            _log.warning("webhook_call_failed", extra={"webhook": webhook.name, **failed})
            if webhook.failure_policy == "Ignore":
                return None
            raise _call_error(webhook, exc) from exc
        seconds = time.monotonic() - started
        annotations = sorted(response.get("auditAnnotations") or ())
        facts = {"webhook": webhook.name, "seconds": seconds, "audit_annotations": annotations}
        _log.debug("webhook_called", extra=facts)
        return response

    async def _call(
        self, webhook: Webhook, attributes: AdmissionAttributes, *, mutates: bool
    ) -> Object:
        import aiohttp

        from kubeling.apiserver.admission import webhook_errors

        version = next((v for v in webhook.spec["admissionReviewVersions"] if v in _VERSIONS), "")
        if not version:
            raise WebhookFailed(
                "the webhook accepts no version of AdmissionReview that this cluster supports"
            )
        uid = str(uuid.uuid4())
        body = orjson.dumps(build_review(attributes, uid, version))
        url, server_name = self._address(webhook)
        seconds = webhook.spec.get("timeoutSeconds") or 10
        url = f"{url}{'&' if '?' in url else '?'}timeout={seconds}s"
        request_options = {
            "headers": {"content-type": "application/json", "accept": "application/json"},
            "ssl": service_resolver.tls_context(webhook.spec["clientConfig"].get("caBundle") or ""),
            "server_hostname": server_name,
            "timeout": aiohttp.ClientTimeout(total=seconds),
            "allow_redirects": False,
        }
        try:
            try:
                content = await self._post(url, body, request_options)
            except aiohttp.ServerDisconnectedError:
                # A keep-alive connection from before the webhook's restart; no response was received on it.
                content = await self._post(url, body, request_options)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            name = server_name or urlsplit(url).hostname or ""
            reason = webhook_errors.describe_failure(exc, name)
            raise WebhookFailed(f'Post "{url}": {reason}') from exc
        return webhook_response.parse(content, uid, version, mutates=mutates)

    async def _post(self, url: str, body: bytes, request_options: Mapping[str, Any]) -> bytes:
        # A file object, because aiohttp warns about large bodies that are bytes; a new one for each attempt.
        async with self._open().post(url, data=io.BytesIO(body), **request_options) as response:
            if not 200 <= response.status <= 299:
                from kubeling.apiserver.admission.webhook_errors import describe_status

                raise WebhookFailed(describe_status(response.status))
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > _MAX_RESPONSE_BYTES:
                    raise WebhookFailed("the response is too large")
            return bytes(content)

    def _open(self) -> Any:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._session

    def _address(self, webhook: Webhook) -> tuple[str, str | None]:
        config = webhook.spec["clientConfig"]
        if url := config.get("url"):
            return url, None
        service = config["service"]
        name, namespace = service["name"], service["namespace"]
        port = service.get("port", 443)
        origin = self._services.get(f"{namespace}/{name}:{port}")
        if origin is None:
            origin = f"https://{service_resolver.resolve(self._store, namespace, name, port)}"
        return origin + (service.get("path") or "/"), f"{name}.{namespace}.svc"


def _apply_verdict(webhook: Webhook, attributes: AdmissionAttributes, response: Object) -> None:
    """Add the warnings of a response, and raise an error if it denies the request."""
    attributes.warnings += response.get("warnings") or ()
    if response["allowed"] is not True:
        raise webhook_response.to_status_error(webhook.name, response.get("status") or {})


def _apply_response(webhook: Webhook, attributes: AdmissionAttributes, response: Object) -> bool:
    """Apply a response with its patch; return whether the object changed."""
    _apply_verdict(webhook, attributes, response)
    if not response.get("patch"):
        return False
    try:
        changed = _apply_patch(attributes, response)
    except (Error, ValueError, KeyError, TypeError) as exc:
        failure = WebhookFailed(f"the webhook's patch cannot be applied: {exc}")
        raise _call_error(webhook, failure) from exc
    differs = changed != attributes.obj
    attributes.obj = changed
    return differs


def _apply_patch(attributes: AdmissionAttributes, response: Object) -> Object:
    """Apply a webhook's JSON Patch, and set defaults in the result."""
    kind = attributes.sub_kind[2] if attributes.sub_kind else attributes.kind
    data = base64.b64decode(response["patch"], validate=True)
    operations, _ = decoding.parse(data, "application/json")
    whole = with_type_meta(attributes, attributes.obj)
    patched = json_patch.json_patch(whole, operations)
    json_patch.check_size(patched)
    report = schema.check(kind, patched)
    if report.type_errors:
        raise WebhookFailed("; ".join(report.type_errors))
    attributes.warnings += [f'unknown field "{path}"' for path in report.unknown]
    changed = defaults.set_defaults(kind, schema.prune(kind, patched))
    changed.pop("kind", None)
    changed.pop("apiVersion", None)
    return changed


def _call_error(webhook: Webhook, reason: WebhookFailed) -> StatusError:
    message = f'failed calling webhook "{webhook.name}": failed to call webhook: {reason.message}'
    return StatusError(
        500, "InternalError", f"Internal error occurred: {message}", causes=[Cause("", message)]
    )
