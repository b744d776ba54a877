"""Settings of the webhook: the flags, in Go's syntax, and variables of azure-workload-identity."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from podpass import names
from podpass.errors import SettingsError
from podpass.settings.fields import setting
from podpass.settings.flags import parse_switch
from podpass.settings.reading import DISABLED_ADDRESS, LOG_LEVELS, parse_address, read_texts

# The login endpoint of each cloud, by the names of the cloud in lower case.
_LOGIN_ENDPOINTS = {
    "": "https://login.microsoftonline.com/",
    "azurepubliccloud": "https://login.microsoftonline.com/",
    "azurecloud": "https://login.microsoftonline.com/",
    "azureusgovernmentcloud": "https://login.microsoftonline.us/",
    "azureusgovernment": "https://login.microsoftonline.us/",
    "azurechinacloud": "https://login.chinacloudapi.cn/",
    "azuregermancloud": "https://login.microsoftonline.de/",
}
_MAX_DELAY_SECONDS = 300
REFERENCE_PROXY_IMAGE = "mcr.microsoft.com/oss/azure/workload-identity/proxy:v1.6.0"
_PROXY_MODES = ("iptables", "env")
_QUALIFIED_NAME = re.compile(r"[a-z0-9]([-_.a-z0-9]*[a-z0-9])?")


def _find_login_endpoint(cloud: str, environ: Mapping[str, str]) -> str:
    """Return the login endpoint of a cloud; for AzureStackCloud, read it from a file."""
    if cloud.lower() == "azurestackcloud":
        file = Path(environ.get("AZURE_ENVIRONMENT_FILEPATH", ""))
        try:
            endpoint = json.loads(file.read_bytes())["activeDirectoryEndpoint"]
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ValueError(
                f"AZURE_ENVIRONMENT_FILEPATH {str(file)!r}: want a JSON file with activeDirectoryEndpoint"
            ) from exc
        return str(endpoint)
    try:
        return _LOGIN_ENDPOINTS[cloud.lower()]
    except KeyError:
        raise ValueError(
            f"AZURE_ENVIRONMENT {cloud!r}: want AzurePublicCloud, AzureUSGovernmentCloud,"
            " AzureChinaCloud, AzureGermanCloud or AzureStackCloud"
        ) from None


def _parse_delay(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MAX_DELAY_SECONDS:
        raise ValueError(
            f"--shutdown-delay-seconds {text!r}: want seconds, at most {_MAX_DELAY_SECONDS}"
        )
    return seconds


def _parse_selector(text: str) -> dict[str, Any] | None:
    """Parse a label selector; drop members that Kubernetes does not know."""
    if not text.strip():
        return None
    try:
        selector = json.loads(text)
    except ValueError:
        selector = None
    if not isinstance(selector, dict):
        raise ValueError(  # noqa: TRY004 the value of a text is wrong, not its type
            f"AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR {text!r}: want a label selector as a JSON object"
        )
    parts = {name: selector.get(name) for name in ("matchLabels", "matchExpressions")}
    return {name: part for name, part in parts.items() if part}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Settings of the webhook, from flags and variables; `CONFIG_<NAME>` overrides `<NAME>`."""

    tenant_id: str = setting(
        "default tenant ID of ServiceAccounts without a tenant-id annotation; AZURE_TENANT_ID in pods",
        variable="AZURE_TENANT_ID",
    )
    authority_host: str = setting(
        "login endpoint in pods, by the cloud's name: AzurePublicCloud, AzureUSGovernmentCloud,"
        " AzureChinaCloud, AzureGermanCloud, or AzureStackCloud with the file AZURE_ENVIRONMENT_FILEPATH",
        variable="AZURE_ENVIRONMENT",
        default="https://login.microsoftonline.com/",
    )
    audience: str = setting(
        "audience of the projected token", flag="--audience", default=names.EXCHANGE_AUDIENCE
    )
    proxy_image: str = setting(
        "image of the migration sidecar", variable="PROXY_IMAGE", default=REFERENCE_PROXY_IMAGE
    )
    proxy_init_image: str = setting(
        "image of the container that redirects to the sidecar",
        variable="PROXY_INIT_IMAGE",
        default="mcr.microsoft.com/oss/azure/workload-identity/proxy-init:v1.6.0",
    )
    proxy_mode: str = setting(
        "how IMDS requests of a pod reach its sidecar: iptables (an init container redirects them) or env"
        " (Azure SDKs read variables, and no privilege is needed); an annotation overrides it for a pod",
        variable="PROXY_MODE",
        default="iptables",
    )
    proxy_init_privileged: bool = setting(
        "run the init container of the mode iptables as privileged; false: with NET_ADMIN and NET_RAW only",
        variable="PROXY_INIT_PRIVILEGED",
        default=True,
    )
    proxy_on_pod_address: bool = setting(
        "whether the sidecar of the mode env listens on the address of its pod, for pods that share one"
        " loopback interface; set by a local instance, not by a flag",
        default=False,
    )
    legacy_token_path: bool = setting(
        "mount the token also at /var/run/secrets/azure/tokens/azure-identity-token, its path before"
        " azure-workload-identity 1.6.0; an annotation overrides it for a pod",
        variable="LEGACY_TOKEN_PATH",
        default=False,
    )
    native_sidecar: bool = setting(
        "whether the cluster runs sidecars as init containers, as 1.32 and later do; set from the version of"
        " the API server, not by a flag",
        default=True,
    )
    custom_suffix: str = setting(
        "pods annotated azure.workload.identity/use-<suffix> = true use the custom token endpoint",
        flag="--custom-token-endpoint-annotation-suffix",
        default="",
    )
    custom_audience: str = setting(
        "audience of the token for the custom token endpoint",
        flag="--custom-token-endpoint-audience",
        default="",
    )
    token_proxy: str = setting(
        "URL of the custom token endpoint", variable="AZURE_KUBERNETES_TOKEN_PROXY", default=""
    )
    sni_name: str = setting(
        "TLS name of the custom token endpoint", variable="AZURE_KUBERNETES_SNI_NAME", default=""
    )
    ca_data: str = setting(
        "CA certificate of the custom token endpoint, in PEM",
        variable="AZURE_KUBERNETES_CA_DATA",
        default="",
    )
    ca_configmap: str = setting(
        "ConfigMap with the CA certificate of the custom token endpoint under ca.crt",
        variable="AZURE_KUBERNETES_CA_CONFIGMAP_NAME",
        default="",
    )
    ca_signer: str = setting(
        "signer of the ClusterTrustBundle with the CA certificate of the custom token endpoint",
        variable="AZURE_KUBERNETES_CA_CTB_SIGNER_NAME",
        default="",
    )
    ca_selector: Mapping[str, Any] | None = setting(
        "JSON label selector of that ClusterTrustBundle",
        variable="AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR",
        default=None,
    )
    namespace: str = setting(
        "the webhook's own namespace", variable="POD_NAMESPACE", default=names.SYSTEM_NAMESPACE
    )
    cert_dir: str = setting(
        "directory of tls.crt and tls.key", flag="--webhook-cert-dir", default="/certs"
    )
    disable_cert_rotation: bool = setting(
        "do not rotate certificate and caBundle; another program manages them",
        flag="--disable-cert-rotation",
        default=False,
    )
    refusal_events: bool = setting(
        "write an Event on the controller of a refused pod; needs create and patch of events",
        flag="--refusal-events",
        default=True,
    )
    tls_min_version: str = setting(
        "lowest TLS version: 1.0, 1.1, 1.2 or 1.3", flag="--tls-min-version", default="1.3"
    )
    webhook_addr: str = setting(
        "address of the webhook; without a host, all interfaces",
        flag="--webhook-addr",
        default=":9443",
    )
    health_addr: str = setting(
        "address of the probes; 0 turns them off", flag="--health-addr", default=":9440"
    )
    metrics_addr: str = setting(
        "address of the metrics; 0 turns them off", flag="--metrics-addr", default=":8095"
    )
    metrics_backend: str = setting(
        "metrics backend: prometheus", flag="--metrics-backend", default="prometheus"
    )
    log_level: str = setting(
        "log level: info, debug, trace or all; empty for warnings and errors only; also for the sidecar",
        flag="--log-level",
        default="",
    )
    kubeconfig: str = setting(
        "kubeconfig to use outside a cluster; by default the ServiceAccount of the pod",
        flag="--kubeconfig",
        variable="KUBECONFIG",
        default="",
    )
    otlp_endpoint: str = setting(
        "address of a collector, for example http://collector:4318; the webhook sends it a span for each"
        " response by OTLP over HTTP; without it, traces are off",
        flag="--otlp-endpoint",
        variable="OTEL_EXPORTER_OTLP_ENDPOINT",
        default="",
    )
    shutdown_delay_seconds: float = setting(
        "seconds to keep serving after SIGTERM while /readyz fails",
        flag="--shutdown-delay-seconds",
        default=5.0,
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], argv: Sequence[str] = ()) -> Self:
        """Read the settings from flags and environment variables. Raises SettingsError with every problem."""
        raw, problems = read_texts(cls, environ, argv, prefix="CONFIG_")
        values: dict[str, Any] = {"tenant_id": "", **raw}
        converters: dict[str, Callable[[str], object]] = {
            "authority_host": lambda text: _find_login_endpoint(text, environ),
            "audience": lambda text: text or names.EXCHANGE_AUDIENCE,
            "ca_selector": _parse_selector,
            "proxy_init_privileged": lambda text: parse_switch("PROXY_INIT_PRIVILEGED", text),
            "legacy_token_path": lambda text: parse_switch("LEGACY_TOKEN_PATH", text),
            "disable_cert_rotation": lambda text: parse_switch("--disable-cert-rotation", text),
            "refusal_events": lambda text: parse_switch("--refusal-events", text),
            "shutdown_delay_seconds": _parse_delay,
        }
        for name in converters.keys() & raw.keys():
            try:
                values[name] = converters[name](raw[name])
            except ValueError as exc:
                problems.append(str(exc))
                del values[name]
        try:
            settings = cls(**values)
        except SettingsError as exc:
            raise SettingsError(problems + exc.problems) from None
        if problems:
            raise SettingsError(problems)
        return settings

    @property
    def custom_endpoint_annotation(self) -> str | None:
        """Return the annotation that requests the custom token endpoint; None if the webhook has none."""
        return names.USE_CUSTOM_ENDPOINT_PREFIX + self.custom_suffix if self.custom_suffix else None

    def __post_init__(self) -> None:
        problems = [*self._check_custom_endpoint(), *self._check_ca_source()]
        if not self.tenant_id:
            problems.append("AZURE_TENANT_ID is required: set it to the tenant of your identities")
        for flag, value, choices in (
            ("--tls-min-version", self.tls_min_version, ("1.0", "1.1", "1.2", "1.3")),
            ("--metrics-backend", self.metrics_backend.lower(), ("prometheus",)),
            ("--log-level", self.log_level, LOG_LEVELS),
            ("PROXY_MODE", self.proxy_mode, _PROXY_MODES),
        ):
            if value not in choices:
                expected = ", ".join(choice or "empty" for choice in choices)
                problems.append(f"{flag} {value!r}: want {expected}")
        if self.proxy_mode == "env" and self.proxy_image == REFERENCE_PROXY_IMAGE:
            problems.append(
                "PROXY_MODE env needs PROXY_IMAGE: the sidecar of azure-workload-identity does not serve it"
            )
        problems += self._check_addresses()
        if self.otlp_endpoint and not self.otlp_endpoint.startswith(("http://", "https://")):
            problems.append(f"--otlp-endpoint {self.otlp_endpoint!r}: want http:// or https://")
        if problems:
            raise SettingsError(problems)

    def _check_addresses(self) -> Iterator[str]:
        for flag, address, optional in (
            ("--webhook-addr", self.webhook_addr, False),
            ("--health-addr", self.health_addr, True),
            ("--metrics-addr", self.metrics_addr, True),
        ):
            if optional and address == DISABLED_ADDRESS:
                continue
            try:
                parse_address(flag, address)
            except ValueError as exc:
                yield str(exc)

    def _check_custom_endpoint(self) -> Iterator[str]:
        suffix, audience = (
            "--custom-token-endpoint-annotation-suffix",
            "--custom-token-endpoint-audience",
        )
        if bool(self.custom_suffix) != bool(self.custom_audience):
            there, missing = (suffix, audience) if self.custom_suffix else (audience, suffix)
            yield f"{there} needs {missing} too"
        # With one audience for both, a token for the custom endpoint could be exchanged at Entra.
        if self.custom_audience.lower() == names.EXCHANGE_AUDIENCE.lower():
            yield f"{audience} must not be the default audience {names.EXCHANGE_AUDIENCE}"
        key = "use-" + self.custom_suffix.lower()
        if self.custom_suffix and not (len(key) <= 63 and _QUALIFIED_NAME.fullmatch(key)):
            yield (
                f"{suffix} {self.custom_suffix!r}: {names.PREFIX}{key} is not a valid annotation key; want"
                " letters, digits, '-', '_' and '.', ending in a letter or digit, 59 at most"
            )

    def _check_ca_source(self) -> Iterator[str]:
        given = [
            f"AZURE_KUBERNETES_CA_{name}"
            for name, value in (
                ("DATA", self.ca_data),
                ("CONFIGMAP_NAME", self.ca_configmap),
                ("CTB_SIGNER_NAME", self.ca_signer),
            )
            if value
        ]
        if len(given) > 1:
            yield f"{' and '.join(given)} are mutually exclusive: set one"
        if self.ca_selector is not None and not self.ca_signer:
            yield (
                "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR needs AZURE_KUBERNETES_CA_CTB_SIGNER_NAME too"
            )
