"""The command line: one file a noun, imported when its command is called.

What a command lists goes to stdout, what it says to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    try:
        from podpass.cli.main import INTERRUPTED, run
    except KeyboardInterrupt:  # in the first tenth of a second, before anything was begun
        sys.exit(130)
    try:
        sys.exit(run(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
