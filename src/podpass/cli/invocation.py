"""How the user calls podpass, so that printed commands work as printed.

After `make demo`, podpass is in `.venv/bin` and not on the PATH.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

_NAME = "podpass"


def environ() -> Mapping[str, str]:
    """Return the environment variables; commands pass them down as an argument."""
    return os.environ  # noqa: TID251 the only place that reads it


def command_name() -> str:
    """Return the command that starts this podpass: its name if it is on the PATH, else its path."""
    own = Path(sys.executable).with_name(_NAME)
    found = shutil.which(_NAME)
    if found is not None and (not own.exists() or Path(found).samefile(own)):
        return _NAME
    called = Path(sys.argv[0])
    if called.name == _NAME and called.exists():
        return shlex.quote(sys.argv[0])
    if own.exists():
        return shlex.quote(_shorten(own))
    return f"{shlex.quote(sys.executable)} -m podpass.cli"


def localize(text: str) -> str:
    """Replace the name podpass in the commands of a message with the command that starts it."""
    marked = f"`{_NAME} "
    return text.replace(marked, f"`{command_name()} ") if marked in text else text


def _shorten(path: Path) -> str:
    """Return a path relative to the working directory if it is below it."""
    try:
        here = Path.cwd()
        return str(path.relative_to(here)) if here != Path("/") else str(path)
    except (ValueError, OSError):
        return str(path)


def escape_controls(text: str) -> str:
    """Return a message without control and direction characters, except for its line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )
