"""Rules for webhook configurations."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes

Object = Mapping[str, Any]

_REVIEW_VERSIONS = ("v1", "v1beta1")
_VERSION = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def validate_configuration(obj: Object) -> Causes:
    """Check a MutatingWebhookConfiguration or a ValidatingWebhookConfiguration."""
    webhooks = list(rules.indexed(obj.get("webhooks"), "webhooks"))
    for webhook, here in webhooks:
        yield from _validate_webhook(webhook, here)
    yield from rules.unique((webhook.get("name"), f"{here}.name") for webhook, here in webhooks)


def _validate_webhook(webhook: Object, here: str) -> Causes:
    yield from _validate_name(webhook.get("name") or "", f"{here}.name")
    yield from _validate_side_effects(webhook.get("sideEffects"), f"{here}.sideEffects")
    yield from _validate_versions(
        webhook.get("admissionReviewVersions"), f"{here}.admissionReviewVersions"
    )
    yield from rules.between(webhook.get("timeoutSeconds"), 1, 30, f"{here}.timeoutSeconds")
    for part in ("namespaceSelector", "objectSelector"):
        yield from rules.selector(webhook.get(part) or {}, f"{here}.{part}")
    # An ignored condition would call a webhook for requests that the condition excludes.
    conditions, reason = (
        webhook.get("matchConditions"),
        "match conditions (CEL) are not supported by this cluster",
    )
    yield from rules.forbidden(conditions, f"{here}.matchConditions", reason)
    for rule, at in rules.indexed(webhook.get("rules"), f"{here}.rules"):
        yield from _validate_rule(rule, at)
    yield from _validate_client(webhook.get("clientConfig") or {}, f"{here}.clientConfig")


def _validate_name(name: str, here: str) -> Causes:
    yield from rules.required(name, here)
    if name:
        short = not rules.is_subdomain(name) or name.count(".") < 2
        yield from rules.invalid(
            short, here, f"{name!r} is not a domain with at least three labels"
        )


def _validate_side_effects(value: Any, here: str) -> Causes:
    if value is None:
        yield from rules.required(None, here, "must be one of None, NoneOnDryRun")
    else:
        yield from rules.one_of(value, ("None", "NoneOnDryRun"), here)


def _validate_versions(versions: Any, here: str) -> Causes:
    if not versions:
        yield from rules.required(None, here, f"must name one of {', '.join(_REVIEW_VERSIONS)}")
        return
    for at, each in enumerate(versions):
        broken = not _VERSION.fullmatch(each)
        yield from rules.invalid(broken, f"{here}[{at}]", f"{each!r} is not a valid version")
    known = any(each in _REVIEW_VERSIONS for each in versions)
    yield from rules.invalid(not known, here, f"must include {' or '.join(_REVIEW_VERSIONS)}")


def _validate_rule(rule: Object, here: str) -> Causes:
    for part in ("operations", "apiGroups", "apiVersions", "resources"):
        yield from rules.required(rule.get(part), f"{here}.{part}")
    for part in ("operations", "apiGroups", "apiVersions"):
        values = rule.get(part) or ()
        alone = "*" not in values or len(values) == 1
        yield from rules.invalid(not alone, f"{here}.{part}", "* must be the only value")


def _validate_client(config: Object, here: str) -> Causes:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        yield from rules.required(None, here, "exactly one of url and service must be given")
    if url is not None:
        yield from _validate_url(url, f"{here}.url")
    if service is not None:
        for part in ("namespace", "name"):
            yield from rules.required(service.get(part), f"{here}.service.{part}")
        path = service.get("path") or "/"
        reason = "must start with /"
        yield from rules.invalid(not path.startswith("/"), f"{here}.service.path", reason)
        yield from rules.between(service.get("port"), 1, 65535, f"{here}.service.port")


def _validate_url(url: str, here: str) -> Causes:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        yield from rules.invalid(True, here, "is not a valid URL")
        return
    # The API server trusts the response of a webhook, so the webhook must be authenticated.
    yield from rules.invalid(parts.scheme != "https", here, "must be https")
    yield from rules.invalid(not host, here, "must have a host")
    for part in ("username", "password", "query", "fragment"):
        yield from rules.invalid(getattr(parts, part), here, f"must not have a {part}")
