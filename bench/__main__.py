"""Run every bench and print one table: what, value, peer, ratio."""

import importlib
import sys

MODULES = ("admission", "exchange", "directory", "start")


def main() -> None:
    """Print the rows of the modules named on the command line, or of all."""
    print(f"{'what':44} {'value':>16} {'beside':>34} {'ratio':>8}")
    for name in sys.argv[1:] or MODULES:
        for row in importlib.import_module(f"bench.{name}").run():
            print(f"{row['name']:44} {row['value']:>16} {row['peer']:>34} {row['ratio']:>8}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
