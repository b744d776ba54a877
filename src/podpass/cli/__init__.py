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
        sys.exit(run(_called_arguments() if arguments is None else arguments))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _called_arguments() -> list[str]:
    """Return the arguments of this process; a link named `azwi` runs `podpass azwi`."""
    called = PurePath(sys.argv[0]).name.removesuffix(".exe")
    return [_REFERENCE, *sys.argv[1:]] if called == _REFERENCE else sys.argv[1:]
