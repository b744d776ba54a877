"""One frozen dataclass per process, read once from flags and environment; every problem named at once.

Precedence: flag, variable, default. `docs/settings.md` is made from these classes. A field is made by
`setting`, which holds what the page says: meaning, unit, variable.
"""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from podpass.errors import SettingsError


def setting(meaning: str, *, variable: str = "", flag: str = "", **how: Any) -> Any:
    """Declare a setting: what it means, and where it is read from.

    Shapes:  `how` is what `dataclasses.field` takes, `default` first of all.
    """
    return field(metadata={"meaning": meaning, "variable": variable, "flag": flag}, **how)


def describe(settings: type[Any]) -> list[dict[str, str]]:
    """List a settings class as rows for the generated page."""
    return [
        {
            "name": f.name,
            "flag": f.metadata["flag"],
            "variable": f.metadata["variable"],
            "default": "required" if f.default is MISSING else repr(f.default),
            "meaning": f.metadata["meaning"],
        }
        for f in fields(settings)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """Settings of `podpass up`, the local loop."""

    data_dir: Path = setting(
        "folder that holds the whole instance", flag="--data-dir", variable="PODPASS_DATA_DIR"
    )
    port_base: int = setting(
        "first of the consecutive loopback ports; 0 takes free ones",
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

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.port_base <= 65535 - 16:
            problems.append(f"--port-base {self.port_base}: want 0 or a port up to {65535 - 16}")
        if self.kubernetes != "embedded":
            problems.append(f"--kubernetes {self.kubernetes}: want embedded")
        if problems:
            raise SettingsError(problems)
