"""Run all benchmarks and print one table: what, value, peer, ratio; exit with 1 if a target is missed."""

import importlib
import sys

from bench import rows
from tests import process_reaper

MODULES = (
    "admission",
    "proxy",
    "exchange",
    "directory",
    "lookups",
    "start",
    "plugin",
    "keys",
    "cluster",
    "kubeling",
    "plane",
    "cloud",
)


def main() -> int:
    """Print the rows of the modules named on the command line, or of all modules."""
    process_reaper.start_reaper()
    print(f"{'what':72} {'value':>22} {'peer':>34} {'ratio':>6}")
    missed = 0
    for name in sys.argv[1:] or MODULES:
        missed += rows.print_rows(importlib.import_module(f"bench.{name}").run())
    if missed:
        print(f"{missed} rows miss their target")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
