"""The values of the chart that `podpass manifests` accepts, with the chart's names; a test compares both."""

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
class ValueRule:
    """The valid values of a setting, as in the chart's `values.schema.json`; for a list, of each item.

    `between` is for numbers, the others are for texts; `want` describes the pattern in text.
    """

    among: Sequence[str] = ()
    between: tuple[int, int] | None = None
    pattern: str = ""
    max_chars: int | None = None
    want: str = ""


_ANY = ValueRule()
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_REGISTRY = r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?)(:[0-9]{1,5})?"
_PATH = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"
_GUID = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_DOMAIN = r"([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
# Kubernetes stores counts in 32 bits.
_COUNT = ValueRule(between=(0, 2**31 - 1))
# The timeouts that Kubernetes allows for webhooks.
_TIMEOUT = ValueRule(between=(1, 30))


def _declare(key: str, default: Any, rule: ValueRule = _ANY, *, among: Sequence[str] = ()) -> Any:
    rule = ValueRule(among=among) if among else rule
    return field(default=default, metadata={"key": key, "rule": rule})


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestValues:
    """The chart's values, with the chart's defaults.

    Units: timeouts in seconds.
    """

    tenant_id: str = _declare(
        "azureTenantID",
        MISSING,
        ValueRule(
            pattern=f"^({_GUID}|{_DOMAIN})?$",
            max_chars=253,
            want="the tenant's ID (a GUID) or one of its domains",
        ),
    )
    namespace: str = names.SYSTEM_NAMESPACE
    environment: str = _declare(
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
    replicas: int = _declare("replicaCount", 2, _COUNT)
    image_repository: str = _declare(
        "image.repository",
        "",
        ValueRule(
            pattern=f"^(({_REGISTRY}/)?{_PATH}(/{_PATH})*)?$",
            max_chars=255,
            want="an image name with registry, without tag and digest",
        ),
    )
    image_pull_policy: str = _declare(
        "image.pullPolicy", "IfNotPresent", among=("Always", "IfNotPresent", "Never")
    )
    image_release: str = _declare(
        "image.release",
        __version__,
        ValueRule(
            pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$",
            want="a tag: letters, digits, '_', '.' and '-', 128 at most",
        ),
    )
    image_digest: str = _declare(
        "image.digest",
        "",
        ValueRule(
            pattern="^(sha256:[0-9a-f]{64})?$", want="empty, or sha256: and 64 hexadecimal digits"
        ),
    )
    log_level: str = _declare("logLevel", "info", among=("", "info", "debug", "trace", "all"))
    priority_class: str = _declare(
        "priorityClassName",
        "system-cluster-critical",
        ValueRule(
            pattern=rf"^({_LABEL}(\.{_LABEL})*)?$",
            max_chars=253,
            want="empty, or the name of a PriorityClass: lower-case letters, digits, '-' and '.'",
        ),
    )
    custom_suffix: str = _declare(
        "customTokenEndpoint.annotationSuffix",
        "",
        ValueRule(
            pattern="^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$",
            max_chars=59,
            want="the end of an annotation's name: letters, digits, '-', '_' and '.', 59 at most",
        ),
    )
    custom_audience: str = _declare("customTokenEndpoint.audience", "")
    token_proxy: str = _declare(
        "customTokenEndpoint.azureKubernetesTokenProxy",
        "",
        ValueRule(pattern="^(https://.+)?$", want="an https:// URL"),
    )
    sni_name: str = _declare("customTokenEndpoint.azureKubernetesSniName", "")
    ca_config_map: str = _declare("customTokenEndpoint.azureKubernetesCAConfigMapName", "")
    audience: str = _declare("audience", "")
    failure_policy: str = _declare("failurePolicy", "Fail", among=("Fail", "Ignore"))
    timeout_seconds: int = _declare("timeoutSeconds", 10, _TIMEOUT)
    tls_min_version: str = _declare("tlsMinVersion", "", among=("", "1.0", "1.1", "1.2", "1.3"))
    proxy_image: str = _declare("proxyImage", "")
    proxy_init_image: str = _declare("proxyInitImage", "")
    proxy_mode: str = _declare("proxyMode", "iptables", among=("iptables", "env"))
    proxy_init_privileged: bool = _declare("proxyInitPrivileged", True)
    legacy_token_path: bool = _declare("legacyTokenPath", False)
    exempt_namespaces: tuple[str, ...] = _declare(
        "exemptNamespaces",
        ("kube-system",),
        ValueRule(
            pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            max_chars=63,
            want="names of namespaces: lower-case letters, digits and '-', 63 at most",
        ),
    )
    events: bool = _declare("events.enabled", True)
    advice: bool = _declare("advice.enabled", False)
    advice_timeout_seconds: int = _declare("advice.timeoutSeconds", 1, _TIMEOUT)
    cert_manager: bool = _declare("certManager.enabled", False)
    network_policy: bool = _declare("networkPolicy.enabled", True)
    host_network: bool = _declare("hostNetwork", False)

    @classmethod
    def list_keys(cls) -> list[str]:
        """Return the keys that `from_sets` accepts."""
        return sorted(f.metadata["key"] for f in fields(cls) if f.metadata)

    @classmethod
    def from_sets(
        cls, sets: Sequence[str], *, only: Sequence[str] | None = None, **given: str
    ) -> Self:
        """Parse `KEY=VALUE` texts; list items are separated by commas, and `only` limits the accepted keys.

        Raises UnknownValue, WrongValue.
        """
        known = {f.metadata["key"]: f for f in fields(cls) if f.metadata}
        found: dict[str, Any] = dict(given)
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
            found[known[key].name] = _parse(known[key], value)
        values = cls(**found)
        if values.proxy_mode == "env" and not values.proxy_image:
            raise WrongValue(
                "--set proxyMode=env: needs proxyImage, an image of podpass' sidecar",
                key="proxyMode",
            )
        return values

    @property
    def exempt(self) -> list[str]:
        """Return the namespaces that the webhook ignores, its own first: it must never block itself."""
        return list(dict.fromkeys([self.namespace, *self.exempt_namespaces]))

    @property
    def image(self) -> str:
        """Return the image reference, with its digest if there is one. Raises ImageMissing."""
        if not self.image_repository:
            raise ImageMissing("image.repository is required, because there is no public image")
        if self.image_digest:
            return f"{self.image_repository}@{self.image_digest}"
        return f"{self.image_repository}:{self.image_release}"


def _build_unknown_error(key: str, known: Mapping[str, Any]) -> UnknownValue:
    near = get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known values: {', '.join(sorted(known))}"
    return UnknownValue(f"--set {key}: unknown value", hint=f"{hint}; the chart has more", key=key)


def _parse(declared: Field[Any], text: str) -> object:
    """Parse a value by its type and its rule. Raises WrongValue."""
    key, rule = declared.metadata["key"], declared.metadata["rule"]
    value = _convert(declared.type, text)
    parts = value if isinstance(value, tuple) else (value,)
    if value is None or not all(_is_valid(part, rule) for part in parts):
        raise WrongValue(f"--set {key}={text[:80]}: want {_describe(declared.type, rule)}", key=key)
    return value


def _convert(kind: Any, text: str) -> object:
    """Convert a text to a type; return None if it is not valid."""
    if kind is bool:
        return text == "true" if text in _TRUE_FALSE else None
    if kind is int:
        return int(text) if _NUMBER.fullmatch(text) else None
    if kind == tuple[str, ...]:
        return tuple(part for part in text.split(",") if part)
    return text


def _is_valid(value: object, rule: ValueRule) -> bool:
    if isinstance(value, int) and rule.between:
        low, high = rule.between
        return low <= value <= high
    if not isinstance(value, str):
        return True
    return (
        (not rule.among or value in rule.among)
        and (not rule.pattern or re.fullmatch(rule.pattern, value) is not None)
        and (rule.max_chars is None or len(value) <= rule.max_chars)
    )


def _describe(kind: Any, rule: ValueRule) -> str:
    if rule.among:
        return ", ".join(choice or "empty" for choice in rule.among)
    if kind is bool:
        return "true or false"
    if rule.between:
        return "a number from {} to {}".format(*rule.between)
    return rule.want
