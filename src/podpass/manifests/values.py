"""The chart's values that matter without it, under the chart's names; a test holds both together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Self

from podpass import __version__, names
from podpass.errors import UsageError

_TRUE_FALSE = ("true", "false")
_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a value has to be, as the chart's `values.schema.json` has it; of a list, each part.

    Shapes:  `between` is for numbers, the others are for texts; `want` says the pattern in words.
    """

    among: Sequence[str] = ()
    between: tuple[int, int] | None = None
    pattern: str = ""
    longest: int | None = None
    want: str = ""


_ANY = Rule()
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_REGISTRY = r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?)(:[0-9]{1,5})?"
_PATH = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"
# Counts are of 32 bits there.
_COUNT = Rule(between=(0, 2**31 - 1))
# What Kubernetes lets an API server wait for a webhook.
_TIMEOUT = Rule(between=(1, 30))


def _value(key: str, default: Any, rule: Rule = _ANY, *, among: Sequence[str] = ()) -> Any:
    rule = Rule(among=among) if among else rule
    return field(default=default, metadata={"key": key, "rule": rule})


class UnknownValue(UsageError):
    """There is no such value here."""

    code = "unknown_value"


class WrongValue(UsageError):
    """A value is not of its kind."""

    code = "wrong_value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Values of the chart; its defaults are the chart's.

    Units:   seconds for what the API server waits.
    """

    tenant_id: str = _value("azureTenantID", MISSING)
    namespace: str = names.SYSTEM_NAMESPACE
    environment: str = _value(
        "azureEnvironment",
        "AzurePublicCloud",
        among=(
            "AzurePublicCloud",
            "AzureCloud",
            "AzureUSGovernmentCloud",
            "AzureUSGovernment",
            "AzureChinaCloud",
            "AzureGermanCloud",
            "AzureStackCloud",
        ),
    )
    replicas: int = _value("replicaCount", 2, _COUNT)
    image_repository: str = _value(
        "image.repository",
        "podpass",
        Rule(
            pattern=f"^({_REGISTRY}/)?{_PATH}(/{_PATH})*$",
            longest=255,
            want="a name of an image, registry included, without tag and digest",
        ),
    )
    image_pull_policy: str = _value(
        "image.pullPolicy", "IfNotPresent", among=("Always", "IfNotPresent", "Never")
    )
    image_release: str = _value(
        "image.release",
        __version__,
        Rule(
            pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$",
            want="a tag: letters, digits, '_', '.' and '-', 128 at most",
        ),
    )
    image_digest: str = _value(
        "image.digest",
        "",
        Rule(
            pattern="^(sha256:[0-9a-f]{64})?$", want="nothing, or sha256: and 64 hexadecimal digits"
        ),
    )
    log_level: str = _value("logLevel", "info", among=("", "info", "debug", "trace", "all"))
    priority_class: str = _value(
        "priorityClassName",
        "system-cluster-critical",
        Rule(
            pattern=rf"^({_LABEL}(\.{_LABEL})*)?$",
            longest=253,
            want="nothing, or the name of a PriorityClass: lower-case letters, digits, '-' and '.'",
        ),
    )
    custom_suffix: str = _value(
        "customTokenEndpoint.annotationSuffix",
        "",
        Rule(
            pattern="^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$",
            longest=59,
            want="the end of an annotation's name: letters, digits, '-', '_' and '.', 59 at most",
        ),
    )
    custom_audience: str = _value("customTokenEndpoint.audience", "")
    token_proxy: str = _value(
        "customTokenEndpoint.azureKubernetesTokenProxy",
        "",
        Rule(pattern="^(https://.+)?$", want="an https:// URL"),
    )
    sni_name: str = _value("customTokenEndpoint.azureKubernetesSniName", "")
    ca_config_map: str = _value("customTokenEndpoint.azureKubernetesCAConfigMapName", "")
    audience: str = _value("audience", "")
    failure_policy: str = _value("failurePolicy", "Fail", among=("Fail", "Ignore"))
    timeout_seconds: int = _value("timeoutSeconds", 10, _TIMEOUT)
    tls_min_version: str = _value("tlsMinVersion", "", among=("", "1.0", "1.1", "1.2", "1.3"))
    proxy_image: str = _value("proxyImage", "")
    proxy_init_image: str = _value("proxyInitImage", "")
    exempt_namespaces: tuple[str, ...] = _value(
        "exemptNamespaces",
        ("kube-system",),
        Rule(
            pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            longest=63,
            want="names of namespaces: lower-case letters, digits and '-', 63 at most",
        ),
    )
    events: bool = _value("events.enabled", True)
    advice: bool = _value("advice.enabled", False)
    advice_timeout_seconds: int = _value("advice.timeoutSeconds", 1, _TIMEOUT)
    cert_manager: bool = _value("certManager.enabled", False)
    network_policy: bool = _value("networkPolicy.enabled", True)
    host_network: bool = _value("hostNetwork", False)

    @classmethod
    def settable(cls) -> list[str]:
        """Name what `from_sets` takes."""
        return sorted(f.metadata["key"] for f in fields(cls) if f.metadata)

    @classmethod
    def from_sets(
        cls, sets: Sequence[str], *, only: Sequence[str] | None = None, **given: str
    ) -> Self:
        """Read `KEY=VALUE` texts; a list is written with commas, and `only` these keys mean something.

        Errors:  UnknownValue, WrongValue.
        """
        known = {f.metadata["key"]: f for f in fields(cls) if f.metadata}
        found: dict[str, Any] = dict(given)
        for text in sets:
            key, equals, value = text.partition("=")
            if not equals:
                raise WrongValue(f"--set {text!r}: want KEY=VALUE")
            if key not in known:
                raise _unknown(key, known)
            if only is not None and key not in only:
                raise UnknownValue(
                    f"--set {key}: means nothing to a policy",
                    hint=f"it has {', '.join(only)}",
                    key=key,
                )
            found[known[key].name] = _read(known[key], value)
        return cls(**found)

    @property
    def exempt(self) -> list[str]:
        """Namespaces whose pods are left alone, the webhook's own first: it must never block itself."""
        return list(dict.fromkeys([self.namespace, *self.exempt_namespaces]))

    @property
    def image(self) -> str:
        """Name the image, by its digest where there is one."""
        if self.image_digest:
            return f"{self.image_repository}@{self.image_digest}"
        return f"{self.image_repository}:{self.image_release}"


def _unknown(key: str, known: Mapping[str, Any]) -> UnknownValue:
    near = get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
    return UnknownValue(
        f"--set {key}: no such value without the chart", hint=f"{hint}; the chart has more", key=key
    )


def _read(declared: Field[Any], text: str) -> object:
    """Read a value by its type and its rule.

    Errors:  WrongValue.
    """
    key, rule = declared.metadata["key"], declared.metadata["rule"]
    value = _typed(declared.type, text)
    parts = value if isinstance(value, tuple) else (value,)
    if value is None or not all(_fits(part, rule) for part in parts):
        raise WrongValue(f"--set {key}={text[:80]}: want {_wanted(declared.type, rule)}", key=key)
    return value


def _typed(kind: Any, text: str) -> object:
    """Give a text as what it says; None where it does not say such a thing."""
    if kind is bool:
        return text == "true" if text in _TRUE_FALSE else None
    if kind is int:
        return int(text) if _NUMBER.fullmatch(text) else None
    if kind == tuple[str, ...]:
        return tuple(part for part in text.split(",") if part)
    return text


def _fits(value: object, rule: Rule) -> bool:
    if isinstance(value, int) and rule.between:
        least, most = rule.between
        return least <= value <= most
    if not isinstance(value, str):
        return True
    return (
        (not rule.among or value in rule.among)
        and (not rule.pattern or re.fullmatch(rule.pattern, value) is not None)
        and (rule.longest is None or len(value) <= rule.longest)
    )


def _wanted(kind: Any, rule: Rule) -> str:
    if rule.among:
        return ", ".join(choice or "nothing" for choice in rule.among)
    if kind is bool:
        return "true or false"
    if rule.between:
        return "a number from {} to {}".format(*rule.between)
    return rule.want
