"""Settings of the local loop."""

from dataclasses import dataclass
from pathlib import Path

from podpass.errors import SettingsError
from podpass.settings.fields import setting

_MAX_PROPAGATION = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """Settings of `podpass up`, the local loop."""

    data_dir: Path = setting(
        "folder that holds the whole instance",
        flag="--data-dir",
        variable="PODPASS_DATA_DIR",
        shown="$XDG_STATE_HOME/podpass",
    )
    port_base: int = setting(
        "first of the loopback ports; 0 takes free ones, and the same ones the next time it is 0",
        flag="--port-base",
        variable="PODPASS_PORT_BASE",
        default=18440,
    )
    kubernetes: str = setting(
        "which Kubernetes API to run: embedded",
        flag="--kubernetes",
        variable="PODPASS_KUBERNETES",
        default="embedded",
    )

    propagation_seconds: int = setting(
        "seconds until a new federated credential is trusted; the real directory takes up to two minutes",
        flag="--propagation-delay",
        variable="PODPASS_PROPAGATION_DELAY",
        default=0,
    )

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.port_base <= 65535 - 16:
            problems.append(f"--port-base {self.port_base}: want 0 or a port up to {65535 - 16}")
        if self.kubernetes != "embedded":
            problems.append(f"--kubernetes {self.kubernetes}: want embedded")
        if not 0 <= self.propagation_seconds <= _MAX_PROPAGATION:
            delay = f"--propagation-delay {self.propagation_seconds}"
            problems.append(f"{delay}: want seconds from 0 to {_MAX_PROPAGATION}")
        if problems:
            raise SettingsError(problems)
