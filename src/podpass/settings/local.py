"""Settings of the local loop."""

from dataclasses import dataclass, fields
from typing import Any

from podpass.errors import SettingsError
from podpass.settings.azure import AzureSettings
from podpass.settings.fields import setting

LOOPBACK, ALL_ADDRESSES = LISTEN = ("127.0.0.1", "0.0.0.0")  # noqa: S104 chosen by the user only
EMBEDDED, KUBE_APISERVER = KINDS = ("embedded", "kube-apiserver")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings(AzureSettings):
    """Settings of `podpass up`, the local loop."""

    port_base: int = setting(
        "first of the loopback ports; 0 selects free ports, and reuses them on the next start with 0",
        flag="--port-base",
        variable="PODPASS_PORT_BASE",
        default=18440,
    )
    listen: str = setting(
        "address of the gateway, the Kubernetes API, the token service and the control API: 127.0.0.1, or "
        "0.0.0.0 in a container with clients outside",
        flag="--listen",
        variable="PODPASS_LISTEN",
        default=LOOPBACK,
    )
    kubernetes: str = setting(
        "Kubernetes API to run: embedded, or kube-apiserver with etcd from KUBEBUILDER_ASSETS or the PATH",
        flag="--kubernetes",
        variable="PODPASS_KUBERNETES",
        default="embedded",
    )
    no_webhook: bool = setting(
        "leave the built-in webhook out, to install another one: the chart of azure-workload-identity",
        flag="--no-webhook",
        variable="PODPASS_NO_WEBHOOK",
        default=False,
    )
    public_issuer: bool = setting(
        "let anonymous callers of the Kubernetes API read the issuer's discovery document and keys, so that "
        "another token service can trust this cluster",
        flag="--public-issuer",
        variable="PODPASS_PUBLIC_ISSUER",
        default=False,
    )
    token_proxy: str = setting(
        "URL of a custom token endpoint (identity bindings), https://HOST:PORT, for pods with the annotation "
        "azure.workload.identity/use-SUFFIX: true",
        flag="--custom-token-endpoint",
        variable="PODPASS_CUSTOM_TOKEN_ENDPOINT",
        default="",
    )
    custom_suffix: str = setting(
        "SUFFIX of the annotation that selects the custom token endpoint",
        flag="--custom-token-endpoint-annotation-suffix",
        variable="PODPASS_CUSTOM_TOKEN_ENDPOINT_ANNOTATION_SUFFIX",
        default="identity-binding",
    )
    custom_audience: str = setting(
        "audience of the token for the custom token endpoint",
        flag="--custom-token-endpoint-audience",
        variable="PODPASS_CUSTOM_TOKEN_ENDPOINT_AUDIENCE",
        default="api://AKSIdentityBinding",
    )
    sni_name: str = setting(
        "TLS name of the custom token endpoint",
        flag="--custom-token-endpoint-sni-name",
        variable="PODPASS_CUSTOM_TOKEN_ENDPOINT_SNI_NAME",
        default="",
    )
    ca_configmap: str = setting(
        "ConfigMap in the pod's namespace with the CA certificate of the custom token endpoint as ca.crt",
        flag="--custom-token-endpoint-ca-configmap",
        variable="PODPASS_CUSTOM_TOKEN_ENDPOINT_CA_CONFIGMAP",
        default="",
    )

    def by_flag(self) -> dict[str, object]:
        """Return all settings except the data directory, by flag."""
        return {
            f.metadata["flag"]: getattr(self, f.name) for f in fields(self) if f.name != "data_dir"
        }

    def custom_endpoint(self) -> dict[str, Any]:
        """Return the settings of the webhook for the custom token endpoint; empty without one."""
        names = ("token_proxy", "custom_suffix", "custom_audience", "sni_name", "ca_configmap")
        return {name: getattr(self, name) for name in names} if self.token_proxy else {}

    def arguments(self) -> list[str]:
        """Return the command-line arguments of these settings, except the data directory."""
        return [
            flag if value is True else f"{flag}={value}"
            for flag, value in self.by_flag().items()
            if value is not False
        ]

    def __post_init__(self) -> None:
        problems = self.list_problems()
        if not 0 <= self.port_base <= 65535 - 16:
            problems.append(f"--port-base {self.port_base}: must be 0 or a port up to {65535 - 16}")
        if self.listen not in LISTEN:
            problems.append(f"--listen {self.listen}: must be {' or '.join(LISTEN)}")
        if self.kubernetes not in KINDS:
            problems.append(f"--kubernetes {self.kubernetes}: must be {' or '.join(KINDS)}")
        if self.token_proxy and not self.token_proxy.startswith("https://"):
            problems.append(f"--custom-token-endpoint {self.token_proxy}: must be an https URL")
        for flag, text in (
            ("--custom-token-endpoint-sni-name", self.sni_name),
            ("--custom-token-endpoint-ca-configmap", self.ca_configmap),
        ):
            if text and not self.token_proxy:
                problems.append(f"{flag} needs --custom-token-endpoint")
        if self.token_proxy and self.no_webhook:
            problems.append(
                "--custom-token-endpoint is a setting of the webhook: omit --no-webhook"
            )
        if problems:
            raise SettingsError(problems)
