"""Read settings from flags and variables, and parse them by the type of each field; report all problems."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from podpass.errors import SettingsError
from podpass.settings.flags import parse_flags, parse_switch

Settings = TypeVar("Settings")

# As in azure-workload-identity, this address disables a listener.
DISABLED_ADDRESS = "0"
LOG_LEVELS = ("", "info", "debug", "trace", "all")

# Kubernetes sets such variables in each pod for each Service of its namespace: PODPASS_AUTHORITY_SERVICE_HOST
# for the Service podpass-authority, PODPASS_AUTHORITY_ADMIN_PORT for podpass-authority-admin.
_SERVICE_VARIABLE = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)",
    re.ASCII,
)


def read_texts(
    settings: type[Any], environ: Mapping[str, str], argv: Sequence[str], *, prefix: str = ""
) -> tuple[dict[str, str], list[str]]:
    """Return the text of each setting (flag, variable with `prefix`, or variable), and errors in flags."""
    known = {f.metadata["flag"]: f.type is bool for f in fields(settings) if f.metadata["flag"]}
    flags, problems = parse_flags(argv, known)
    found = {}
    for f in fields(settings):
        flag, variable = f.metadata["flag"], f.metadata["variable"]
        if flag in flags:
            found[f.name] = flags[flag]
        elif variable and prefix + variable in environ:
            found[f.name] = environ[prefix + variable]
        elif variable and variable in environ:
            found[f.name] = environ[variable]
    return found, problems


def find_unknown_variables(
    prefix: str,
    settings: Collection[type[Any]],
    environ: Mapping[str, str],
    *,
    others: Collection[str] = (),
) -> list[str]:
    """Return a problem for each variable with this prefix that sets nothing; it is probably misspelt.

    `others` are variables that are read elsewhere. Variables that Kubernetes sets for Services are accepted.
    """
    from difflib import get_close_matches  # imported here: the webhook does not need it

    known = {f.metadata["variable"] for kind in settings for f in fields(kind)} | set(others)
    # The names are compared without the prefix, because it would make all of them similar.
    ends = [name.removeprefix(prefix) for name in sorted(known) if name.startswith(prefix)]
    problems = []
    for name in sorted(set(environ) - known):
        end = name.removeprefix(prefix)
        if not name.startswith(prefix) or _SERVICE_VARIABLE.fullmatch(end):
            continue
        near = get_close_matches(end, ends, n=1)
        fix = f"did you mean {prefix}{near[0]}?" if near else "unset it"
        problems.append(f"{name}: unknown variable; {fix}")
    return problems


def parse_texts(
    settings: type[Settings], given: Mapping[str, str], required: Collection[str] = ()
) -> tuple[Settings | None, list[str]]:
    """Parse the texts of fields into a settings object; return None and the problems if there are any.

    A list is comma-separated. `required` are fields whose default this process must not use.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields(settings):  # type: ignore[arg-type]  # a dataclass; no type expresses that
        flag, text = field.metadata["flag"], given.get(field.name)
        reader = _READERS.get(field.type, _parse_text)
        if text is None:
            if field.default is MISSING or field.name in required:
                problems.append(f"{flag} is required (or {field.metadata['variable']})")
            # A placeholder value, so that the other fields are checked too.
            if field.default is MISSING:
                values[field.name] = reader(flag, "")
            continue
        try:
            values[field.name] = reader(flag, text)
        except ValueError as exc:
            problems.append(str(exc))
    try:
        parsed = settings(**values)
    except SettingsError as exc:
        return None, [*problems, *exc.problems]
    return (None if problems else parsed), problems


def parse_address(flag: str, text: str) -> tuple[str, int]:
    """Parse `host:port`; an empty host means all interfaces, and port 0 selects a free port.

    Raises ValueError, with the flag.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(
            f"{flag} {text!r}: must be HOST:PORT, for example 127.0.0.1:8443 or [::1]:8443"
        )
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 as requested


def _parse_text(_flag: str, text: str) -> str:
    return text


def _parse_integer(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{flag} {text!r}: must be an integer") from None


def _parse_number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{flag} {text!r}: must be a number") from None


def _parse_list(_flag: str, text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_READERS: dict[Any, Callable[[str, str], Any]] = {
    str: _parse_text,
    int: _parse_integer,
    float: _parse_number,
    bool: parse_switch,
    Path: lambda _flag, text: Path(text),
    Path | None: lambda _flag, text: Path(text) if text else None,
    tuple[str, ...]: _parse_list,
}
