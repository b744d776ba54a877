"""Settings of the local loop."""

from dataclasses import dataclass, fields

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

    def by_flag(self) -> dict[str, object]:
        """Return all settings except the data directory, by flag."""
        return {
            f.metadata["flag"]: getattr(self, f.name) for f in fields(self) if f.name != "data_dir"
        }

    def __post_init__(self) -> None:
        problems = self.list_problems()
        if not 0 <= self.port_base <= 65535 - 16:
            problems.append(f"--port-base {self.port_base}: must be 0 or a port up to {65535 - 16}")
        if self.listen not in LISTEN:
            problems.append(f"--listen {self.listen}: must be {' or '.join(LISTEN)}")
        if self.kubernetes not in KINDS:
            problems.append(f"--kubernetes {self.kubernetes}: must be {' or '.join(KINDS)}")
        if problems:
            raise SettingsError(problems)
