"""Rules for a pod's volumes."""

from collections.abc import Callable, Mapping
from typing import Any

from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes

Object = Mapping[str, Any]

MIN_TOKEN_SECONDS = 600
MAX_TOKEN_SECONDS = 1 << 32
_MAX_MODE = 0o777


def validate_volumes(found: Any, here: str) -> Causes:
    """Check a pod's volumes."""
    items = list(rules.indexed(found, here))
    for volume, at in items:
        yield from rules.label_name(volume.get("name"), f"{at}.name")
        yield from _validate_sources(volume, at)
    yield from rules.unique((volume.get("name"), f"{at}.name") for volume, at in items)


def _validate_sources(volume: Object, here: str) -> Causes:
    given = [name for name in volume if name != "name"]
    for extra in given[1:]:
        yield from rules.forbidden(True, f"{here}.{extra}", "a volume must have only one source")
    for name in given[:1]:
        if rule := _RULES.get(name):
            yield from rule(volume[name], f"{here}.{name}")


def _validate_config_map(source: Object, here: str) -> Causes:
    yield from rules.required(source.get("name"), f"{here}.name")
    yield from _validate_files(source, here)


def _validate_secret(source: Object, here: str) -> Causes:
    yield from rules.required(source.get("secretName"), f"{here}.secretName")
    yield from _validate_files(source, here)


def _validate_files(source: Object, here: str) -> Causes:
    yield from rules.between(source.get("defaultMode"), 0, _MAX_MODE, f"{here}.defaultMode")
    for item, at in rules.indexed(source.get("items"), f"{here}.items"):
        yield from rules.required(item.get("key"), f"{at}.key")
        yield from rules.relative_path(item.get("path"), f"{at}.path")
        yield from rules.between(item.get("mode"), 0, _MAX_MODE, f"{at}.mode")


def _validate_downward(source: Object, here: str) -> Causes:
    yield from rules.between(source.get("defaultMode"), 0, _MAX_MODE, f"{here}.defaultMode")
    for item, at in rules.indexed(source.get("items"), f"{here}.items"):
        yield from rules.relative_path(item.get("path"), f"{at}.path")
        if not (item.get("fieldRef") or item.get("resourceFieldRef")):
            yield from rules.required(None, at, "fieldRef or resourceFieldRef must be given")


def _validate_projected(source: Object, here: str) -> Causes:
    yield from rules.between(source.get("defaultMode"), 0, _MAX_MODE, f"{here}.defaultMode")
    for each, at in rules.indexed(source.get("sources"), f"{here}.sources"):
        given = list(each)
        yield from rules.required(given, at)
        for extra in given[1:]:
            yield from rules.forbidden(
                True, f"{at}.{extra}", "a projection must have only one source"
            )
        for name in given[:1]:
            if rule := _PROJECTIONS.get(name):
                yield from rule(each[name], f"{at}.{name}")


def _validate_named_files(source: Object, here: str) -> Causes:
    yield from rules.required(source.get("name"), f"{here}.name")
    yield from _validate_files(source, here)


def _validate_token(source: Object, here: str) -> Causes:
    seconds, at = source.get("expirationSeconds"), f"{here}.expirationSeconds"
    yield from rules.between(seconds, MIN_TOKEN_SECONDS, MAX_TOKEN_SECONDS, at)
    yield from rules.relative_path(source.get("path"), f"{here}.path")


def _validate_host_path(source: Object, here: str) -> Causes:
    yield from rules.required(source.get("path"), f"{here}.path")
    parts = str(source.get("path") or "").split("/")
    yield from rules.invalid(".." in parts, f"{here}.path", "must not contain ..")


_RULES: Mapping[str, Callable[[Object, str], Causes]] = {
    "configMap": _validate_config_map,
    "downwardAPI": _validate_downward,
    "hostPath": _validate_host_path,
    "projected": _validate_projected,
    "secret": _validate_secret,
}
_PROJECTIONS: Mapping[str, Callable[[Object, str], Causes]] = {
    "configMap": _validate_named_files,
    "downwardAPI": _validate_downward,
    "secret": _validate_named_files,
    "serviceAccountToken": _validate_token,
}
