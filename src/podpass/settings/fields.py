"""Declare and describe settings."""

from dataclasses import MISSING, field, fields
from typing import Any

AUTHORITY_PREFIX, CLOUD_PREFIX = "PODPASS_AUTHORITY_", "PODPASS_CLOUD_"


def setting(
    meaning: str,
    *,
    variable: str = "",
    flag: str = "",
    shown: str = "",
    group: str = "",
    **options: Any,
) -> Any:
    """Declare a setting with its meaning, and the flag and variable that set it.

    `shown` describes a default that is computed at run time; `group` is its heading in the help; `options`
    are arguments of `dataclasses.field`, such as `default`.
    """
    metadata = {
        "meaning": meaning,
        "variable": variable,
        "flag": flag,
        "shown": shown,
        "group": group,
    }
    return field(metadata=metadata, **options)


def authority_flag(flag: str, group: str) -> dict[str, str]:
    """Return a flag of `podpass authority`, its variable and its help group."""
    variable = AUTHORITY_PREFIX + flag.removeprefix("--").replace("-", "_").upper()
    return {"flag": flag, "variable": variable, "group": group}


def describe(settings: type[Any]) -> list[dict[str, str]]:
    """Return the fields of a settings class as rows of the generated page."""
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
