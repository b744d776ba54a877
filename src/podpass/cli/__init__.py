"""The command line: one module per command, imported when the command is called.

Data goes to stdout, messages go to stderr. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted.
"""

import sys
from collections.abc import Sequence
from pathlib import PurePath

_REFERENCE = "azwi"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its exit code."""
    try:
        from podpass.cli.main import INTERRUPTED, run
    except KeyboardInterrupt:  # during the import; no command has started
        sys.exit(130)
    try:
        if arguments is not None:
            sys.exit(run(arguments))
        sys.exit(run([*_called_command(), *sys.argv[1:]], is_link=bool(_called_command())))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _called_command() -> list[str]:
    """Return the command of this program's name: a link named `azwi` runs `podpass azwi`."""
    called = PurePath(sys.argv[0]).name.removesuffix(".exe")
    return [_REFERENCE] if called == _REFERENCE else []
