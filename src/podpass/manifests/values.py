"""The values of the chart that `podpass manifests` accepts, with the chart's names, defaults and rules."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Self

from podpass import __version__, names
from podpass.errors import UsageError

_TRUE_FALSE = ("true", "false")
_NUMBER = re.compile(r"[0-9]{1,10}")

# The rule of a value in the chart's schema, with its default.
Rule = Mapping[str, Any]
Object = dict[str, Any]

CONFIG = "azure-wi-webhook-config"
DEPLOYMENT = "azure-wi-webhook-controller-manager"

# The selector of azure-workload-identity's static manifest; the selector of a Deployment is immutable.
SELECTOR = {"azure-workload-identity.io/system": "true"}
LABELS = {**SELECTOR, "app.kubernetes.io/name": "podpass", "app.kubernetes.io/version": __version__}


class UnknownValue(UsageError):
    """`podpass manifests` has no such value."""

    code = "unknown_value"


class WrongValue(UsageError):
    """A value is invalid."""

    code = "wrong_value"


class ImageMissing(UsageError):
    """No image is given; podpass has no public one."""

    code = "image_missing"
    hint = (
        f"build and push it: docker build -f deploy/Dockerfile -t REGISTRY/podpass:{__version__} . && "
        f"docker push REGISTRY/podpass:{__version__}; then add --set image.repository=REGISTRY/podpass"
    )


@cache
def read_rendered_chart() -> dict[str, Any]:
    """Return what `scripts/render_charts.py` made of the chart: the rules of its values, and its objects."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(Path(__file__).with_name("webhook.yaml").read_text(), loader)  # noqa: S506 a safe loader
    found["values"]["image.release"]["default"] = __version__
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestValues:
    """The chart's values by their keys, and the namespace of the release."""

    namespace: str = names.SYSTEM_NAMESPACE
    by_key: Mapping[str, Any]

    @classmethod
    def list_keys(cls) -> list[str]:
        """Return the keys that `from_sets` accepts."""
        return sorted(read_rendered_chart()["values"])

    @classmethod
    def from_sets(
        cls,
        sets: Sequence[str],
        *,
        tenant_id: str,
        namespace: str = names.SYSTEM_NAMESPACE,
        only: Sequence[str] | None = None,
    ) -> Self:
        """Parse `KEY=VALUE` texts; list items are separated by commas, and `only` limits the accepted keys.

        Raises UnknownValue, WrongValue.
        """
        known: Mapping[str, Rule] = read_rendered_chart()["values"]
        found = {key: rule["default"] for key, rule in known.items()} | {"azureTenantID": tenant_id}
        for text in sets:
            key, equals, value = text.partition("=")
            if not equals:
                raise WrongValue(f"--set {text!r}: want KEY=VALUE")
            if key not in known:
                raise _build_unknown_error(key, known)
            if only is not None and key not in only:
                raise UnknownValue(
                    f"--set {key}: has no effect on a policy",
                    hint=f"a policy accepts {', '.join(only)}",
                    key=key,
                )
            found[key] = _parse(key, known[key], value)
        _check_together(found)
        return cls(namespace=namespace, by_key=found)

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key of the chart."""
        return self.by_key[key]


def _check_together(values: Mapping[str, Any]) -> None:
    """Refuse values that need each other, as the chart does. Raises WrongValue."""
    if values["proxyMode"] == "env" and not values["proxyImage"]:
        raise WrongValue(
            "--set proxyMode=env: needs proxyImage, an image of podpass' sidecar", key="proxyMode"
        )
    endpoint = "customTokenEndpoint"
    if bool(values[f"{endpoint}.annotationSuffix"]) != bool(values[f"{endpoint}.audience"]):
        raise WrongValue(
            f"{endpoint}.annotationSuffix and {endpoint}.audience need each other",
            hint="set both or neither",
            key=endpoint,
        )


def _build_unknown_error(key: str, known: Mapping[str, Rule]) -> UnknownValue:
    near = get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known values: {', '.join(sorted(known))}"
    return UnknownValue(f"--set {key}: unknown value", hint=f"{hint}; the chart has more", key=key)


def _parse(key: str, rule: Rule, text: str) -> object:
    """Parse a value by its rule. Raises WrongValue."""
    value = _convert(rule.get("type", "string"), text)
    items = value if isinstance(value, list) else [value]
    if value is None or not all(_is_valid(item, rule) for item in items):
        raise WrongValue(f"--set {key}={text[:80]}: want {_describe(rule)}", key=key)
    return value


def _convert(kind: str, text: str) -> object:
    """Convert a text to a type of JSON schema; return None if it is not valid."""
    match kind:
        case "boolean":
            return text == "true" if text in _TRUE_FALSE else None
        case "integer":
            return int(text) if _NUMBER.fullmatch(text) else None
        case "array":
            return [item for item in text.split(",") if item]
    return text


def _is_valid(value: object, rule: Rule) -> bool:
    if isinstance(value, int):
        return isinstance(value, bool) or rule["minimum"] <= value <= rule["maximum"]
    text = str(value)
    return (
        text in rule.get("enum", (text,))
        and re.fullmatch(rule.get("pattern", ".*"), text, re.DOTALL) is not None
        and len(text) <= rule.get("maxLength", len(text))
    )


def _describe(rule: Rule) -> str:
    if "enum" in rule:
        return ", ".join(choice or "empty" for choice in rule["enum"])
    if rule.get("type") == "boolean":
        return "true or false"
    if "minimum" in rule:
        return "a number from {minimum} to {maximum}".format(**rule)
    return str(rule["description"])
