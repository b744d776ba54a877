"""Rules for webhook configurations."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes, fields, items, number, required

Object = Mapping[str, Any]

_REVIEW_VERSIONS = ("v1", "v1beta1")
_VERSION = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def _validate_name(name: str | None, here: str) -> Causes:
    yield from required(name, here)
    if name:
        short = not rules.is_subdomain(name) or name.count(".") < 2
        yield from rules.invalid(
            short, here, f"{name!r} is not a domain with at least three labels"
        )


def _validate_side_effects(value: str | None, here: str) -> Causes:
    allowed = ("None", "NoneOnDryRun")
    if value is None:
        yield from required(None, here, f"must be one of {', '.join(allowed)}")
    else:
        yield from rules.one_of(value, allowed, here)


def _validate_versions(versions: Any, here: str) -> Causes:
    if not versions:
        yield from required(None, here, f"must name one of {', '.join(_REVIEW_VERSIONS)}")
        return
    for at, each in enumerate(versions):
        broken = not _VERSION.fullmatch(each)
        yield from rules.invalid(broken, f"{here}[{at}]", f"{each!r} is not a valid version")
    known = any(each in _REVIEW_VERSIONS for each in versions)
    yield from rules.invalid(not known, here, f"must include {' or '.join(_REVIEW_VERSIONS)}")


def _validate_rule(rule: Object, here: str) -> Causes:
    for part in ("operations", "apiGroups", "apiVersions", "resources"):
        yield from required(rule.get(part), f"{here}.{part}")
    for part in ("operations", "apiGroups", "apiVersions"):
        values = rule.get(part) or ()
        alone = "*" not in values or len(values) == 1
        yield from rules.invalid(not alone, f"{here}.{part}", "* must be the only value")


def _validate_client(found: Object | None, here: str) -> Causes:
    config = found or {}
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        yield from required(None, here, "exactly one of url and service must be given")
    if url is not None:
        yield from _validate_url(url, f"{here}.url")
    if service is not None:
        yield from _SERVICE(service, f"{here}.service")


def _validate_path(path: str | None, here: str) -> Causes:
    yield from rules.invalid(path and not path.startswith("/"), here, "must start with /")


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


_SERVICE = fields(namespace=required, name=required, path=_validate_path, port=number(1, 65535))
_WEBHOOK = fields(
    name=_validate_name,
    sideEffects=_validate_side_effects,
    admissionReviewVersions=_validate_versions,
    timeoutSeconds=number(1, 30),
    namespaceSelector=rules.selector,
    objectSelector=rules.selector,
    # An ignored condition would call a webhook for requests that the condition excludes.
    matchConditions=rules.absent("match conditions (CEL) are not supported by this cluster"),
    rules=items(_validate_rule),
    clientConfig=_validate_client,
)
validate_configuration = fields(webhooks=items(_WEBHOOK, "name"))
