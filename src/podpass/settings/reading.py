"""Settings out of texts, as flags and variables give them: each by its type, every problem at once."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from podpass.errors import SettingsError
from podpass.settings.flags import parse_switch

Settings = TypeVar("Settings")


def from_texts(
    settings: type[Settings], given: Mapping[str, str], required: Collection[str] = ()
) -> tuple[Settings | None, list[str]]:
    """Make settings of what was given, by field name; None where that cannot be, and every reason.

    Shapes:  a list is written with commas. `required` are fields that have a default which is not for
             this process.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields(settings):  # type: ignore[arg-type]  # a dataclass, which no type says
        flag, text = field.metadata["flag"], given.get(field.name)
        reader = _READERS.get(field.type, _text)
        if text is None:
            if field.default is MISSING or field.name in required:
                problems.append(f"{flag} is required (or {field.metadata['variable']})")
            # Some value, so that the others are looked at too.
            if field.default is MISSING:
                values[field.name] = reader(flag, "")
            continue
        try:
            values[field.name] = reader(flag, text)
        except ValueError as exc:
            problems.append(str(exc))
    try:
        made = settings(**values)
    except SettingsError as exc:
        return None, [*problems, *exc.problems]
    return (None if problems else made), problems


def parse_address(flag: str, text: str) -> tuple[str, int]:
    """Read `host:port`; no host is every interface, port 0 a free one.

    Errors:  ValueError, naming the flag.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{flag} {text!r}: want HOST:PORT, as 127.0.0.1:8443 or [::1]:8443")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 as asked


def _text(_flag: str, text: str) -> str:
    return text


def _whole(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{flag} {text!r}: want a whole number") from None


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{flag} {text!r}: want a number") from None


def _list(_flag: str, text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_READERS: dict[Any, Callable[[str, str], Any]] = {
    str: _text,
    int: _whole,
    float: _number,
    bool: parse_switch,
    Path: lambda _flag, text: Path(text),
    Path | None: lambda _flag, text: Path(text) if text else None,
    tuple[str, ...]: _list,
}
