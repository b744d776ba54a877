"""The chart's values that matter without it, under the chart's names; a test holds both together."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Self

from podpass import __version__, names
from podpass.errors import UsageError

_TRUE_FALSE = ("true", "false")


def _value(key: str, default: Any, *, among: Sequence[str] = ()) -> Any:
    return field(default=default, metadata={"key": key, "among": among})


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
            "AzureUSGovernmentCloud",
            "AzureChinaCloud",
            "AzureGermanCloud",
            "AzureStackCloud",
        ),
    )
    replicas: int = _value("replicaCount", 2)
    image_repository: str = _value("image.repository", "podpass")
    image_pull_policy: str = _value(
        "image.pullPolicy", "IfNotPresent", among=("Always", "IfNotPresent", "Never")
    )
    image_release: str = _value("image.release", __version__)
    image_digest: str = _value("image.digest", "")
    log_level: str = _value("logLevel", "info", among=("", "info", "debug", "trace", "all"))
    priority_class: str = _value("priorityClassName", "system-cluster-critical")
    custom_suffix: str = _value("customTokenEndpoint.annotationSuffix", "")
    custom_audience: str = _value("customTokenEndpoint.audience", "")
    token_proxy: str = _value("customTokenEndpoint.azureKubernetesTokenProxy", "")
    sni_name: str = _value("customTokenEndpoint.azureKubernetesSniName", "")
    ca_config_map: str = _value("customTokenEndpoint.azureKubernetesCAConfigMapName", "")
    audience: str = _value("audience", "")
    failure_policy: str = _value("failurePolicy", "Fail", among=("Fail", "Ignore"))
    timeout_seconds: int = _value("timeoutSeconds", 10)
    tls_min_version: str = _value("tlsMinVersion", "", among=("", "1.0", "1.1", "1.2", "1.3"))
    proxy_image: str = _value("proxyImage", "")
    proxy_init_image: str = _value("proxyInitImage", "")
    exempt_namespaces: tuple[str, ...] = _value("exemptNamespaces", ("kube-system",))
    events: bool = _value("events.enabled", True)
    advice: bool = _value("advice.enabled", False)
    advice_timeout_seconds: int = _value("advice.timeoutSeconds", 1)
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
            declared = known[key]
            found[declared.name] = _read(key, value, declared.type, declared.metadata["among"])
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


def _read(key: str, text: str, kind: Any, among: Sequence[str]) -> object:
    if among and text not in among:
        want = ", ".join(choice or "nothing" for choice in among)
        raise WrongValue(f"--set {key}={text}: want {want}", key=key)
    if kind is bool:
        if text not in _TRUE_FALSE:
            raise WrongValue(f"--set {key}={text}: want true or false", key=key)
        return text == "true"
    if kind is int:
        if not text.isdecimal():
            raise WrongValue(f"--set {key}={text}: want a number", key=key)
        return int(text)
    if kind == tuple[str, ...]:
        return tuple(part for part in text.split(",") if part)
    return text
