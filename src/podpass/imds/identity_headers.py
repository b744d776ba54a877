"""The secret header values of App Service's protocol: each one belongs to one identity. Pure."""

import re
from collections.abc import Mapping

from podpass.crypto.secret import Secret
from podpass.errors import SettingsError

MIN_CHARS = 16
_MAX_CHARS = 256
_VALUE = re.compile(rf"[A-Za-z0-9._~-]{{{MIN_CHARS},{_MAX_CHARS}}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


class IdentityHeaders:
    """Finds the identity of a header value."""

    def __init__(self, values: Mapping[str, Secret]) -> None:
        self._values = dict(values)

    def find(self, given: str) -> str | None:
        """Return the key of the identity that a value belongs to, None without one.

        Every value is compared, in constant time, so that the time reveals nothing about the values.
        """
        found = None
        for name, value in self._values.items():
            if value.matches(given):
                found = name
        return found


def parse_headers(text: str, source: str) -> dict[str, Secret]:
    """Parse `NAME=VALUE` entries, which semicolons or line breaks separate.

    Raises SettingsError, without any value.
    """
    found: dict[str, Secret] = {}
    problems = []
    for number, entry in enumerate(filter(str.strip, re.split(r"[;\n]", text)), 1):
        name, _, value = entry.strip().partition("=")
        where = f"{source}, entry {number}"
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            want = f"want NAME=VALUE with at least {MIN_CHARS} letters, digits, '.', '_', '~', '-'"
            problems.append(f"{where}: {want}")
        elif name in found:
            problems.append(f"{where}: the identity {name} has a value already")
        elif any(value == other.reveal() for other in found.values()):
            problems.append(f"{where}: another identity has the same value")
        else:
            found[name] = Secret(value)
    if problems:
        raise SettingsError(problems)
    return found
