"""How a setting is declared and described."""

from dataclasses import MISSING, field, fields
from typing import Any


def setting(
    meaning: str,
    *,
    variable: str = "",
    flag: str = "",
    shown: str = "",
    group: str = "",
    **how: Any,
) -> Any:
    """Declare a setting: what it means, and where it is read from.

    Shapes:  `shown` says a default that is found when it is needed; `group` the heading in a long help;
             `how` is what `dataclasses.field` takes, `default` first of all.
    """
    about = {
        "meaning": meaning,
        "variable": variable,
        "flag": flag,
        "shown": shown,
        "group": group,
    }
    return field(metadata=about, **how)


def authority_flag(flag: str, group: str) -> dict[str, str]:
    """Name a flag of `podpass authority`, and the variable that stands for it."""
    variable = "PODPASS_AUTHORITY_" + flag.removeprefix("--").replace("-", "_").upper()
    return {"flag": flag, "variable": variable, "group": group}


def describe(settings: type[Any]) -> list[dict[str, str]]:
    """List a settings class as rows for the generated page."""
    return [
        {
            "name": f.name,
            "flag": f.metadata["flag"],
            "variable": f.metadata["variable"],
            "default": f.metadata["shown"]
            or ("required" if f.default is MISSING else repr(f.default)),
            "meaning": f.metadata["meaning"],
        }
        for f in fields(settings)
    ]
