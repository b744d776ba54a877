"""Run every bench and print one table: what, value, peer, ratio; exit code 1 when a row misses its target."""

import importlib
import sys

from bench import rows

MODULES = ("admission", "exchange", "directory", "lookups", "start", "cluster", "plane")


def main() -> int:
    """Print the rows of the modules named on the command line, or of all."""
    print(f"{'what':72} {'value':>22} {'beside':>34} {'ratio':>6}")
    missed = 0
    for name in sys.argv[1:] or MODULES:
        missed += rows.tell(importlib.import_module(f"bench.{name}").run())
    if missed:
        print(f"{missed} rows miss what they have to reach")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
