"""Settings of the local loop."""

from dataclasses import dataclass, fields
from pathlib import Path

from podpass.errors import SettingsError
from podpass.settings.authority import ALGORITHMS
from podpass.settings.fields import setting
from podpass.settings.storage import parse_services

_MAX_PROPAGATION = 3600
LOOPBACK, ALL_ADDRESSES = LISTEN = ("127.0.0.1", "0.0.0.0")  # noqa: S104 chosen by the user only
EMBEDDED, KUBE_APISERVER = KINDS = ("embedded", "kube-apiserver")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """Settings of `podpass up`, the local loop."""

    data_dir: Path = setting(
        "data directory of the instance",
        flag="--data-dir",
        variable="PODPASS_DATA_DIR",
        shown="$XDG_STATE_HOME/podpass",
    )
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

    propagation_seconds: int = setting(
        "seconds until a new federated credential is trusted; in Entra this takes up to two minutes",
        flag="--propagation-delay",
        variable="PODPASS_PROPAGATION_DELAY",
        default=0,
    )

    assertion_algorithms: str = setting(
        "comma-separated signature algorithms that are accepted in pods' tokens; Entra accepts the RSA "
        "algorithms, ES256 and ES384 are an extension",
        flag="--assertion-algorithm",
        variable="PODPASS_ASSERTION_ALGORITHM",
        default="RS256,RS384,RS512",
    )

    azurite: str = setting(
        "address of Azurite's blob service, http://HOST:PORT, with queues and tables on the next two ports, "
        "or blob=URL,queue=URL,table=URL; without it, no storage accounts are served",
        flag="--azurite",
        variable="PODPASS_AZURITE",
        default="",
    )

    def by_flag(self) -> dict[str, object]:
        """Return all settings except the data directory, by flag."""
        return {
            f.metadata["flag"]: getattr(self, f.name) for f in fields(self) if f.name != "data_dir"
        }

    def __post_init__(self) -> None:
        problems: list[str] = []
        try:
            parse_services(self.azurite)
        except SettingsError as exc:
            problems += exc.problems
        if unknown := set(self.assertion_algorithms.split(",")) - set(ALGORITHMS):
            given = f"--assertion-algorithm {self.assertion_algorithms}"
            problems.append(f"{given}: {sorted(unknown)} must be among {', '.join(ALGORITHMS)}")
        if not 0 <= self.port_base <= 65535 - 16:
            problems.append(f"--port-base {self.port_base}: must be 0 or a port up to {65535 - 16}")
        if self.listen not in LISTEN:
            problems.append(f"--listen {self.listen}: must be {' or '.join(LISTEN)}")
        if self.kubernetes not in KINDS:
            problems.append(f"--kubernetes {self.kubernetes}: must be {' or '.join(KINDS)}")
        if not 0 <= self.propagation_seconds <= _MAX_PROPAGATION:
            delay = f"--propagation-delay {self.propagation_seconds}"
            problems.append(f"{delay}: must be 0 to {_MAX_PROPAGATION} seconds")
        if problems:
            raise SettingsError(problems)
