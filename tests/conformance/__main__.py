"""Run Kubernetes' end-to-end tests on an instance: `python -m tests.conformance [--focus TEXT]`.

Exit code 0 if every spec that is not listed in `specs.toml` passed, or if e2e.test cannot be built here.
"""

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.peers.build import CannotBuild, build_program
from bench.peers.controlplane import VERSIONS
from tests.conformance.instance import running
from tests.conformance.report import SpecResult, faults, table
from tests.conformance.runner import E2eTest
from tests.conformance.specs import Selection, is_serial, parse_list, read_spec_list, select


def main() -> int:
    """Run the specs, print the table, and return the exit code."""
    asked = _parse_arguments()
    # A signal ends the instance and the specs, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        program, agnhost = (
            build_program(f"{name}-{VERSIONS[0]}") for name in ("e2e.test", "agnhost")
        )
    except CannotBuild as exc:
        print(f"SKIPPED: Kubernetes' end-to-end tests: {exc}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    spec_list = read_spec_list()
    listed = subprocess.run([program, "-list-tests"], capture_output=True, text=True, check=True)
    specs = parse_list(listed.stdout, spec_list.others)
    causes = () if asked.all else spec_list.causes
    selection = select(specs, causes)
    if asked.focus:
        chosen = tuple(spec for spec in selection.run if any(text in spec for text in asked.focus))
        selection = Selection(run=chosen, not_run={})
    folder = Path(asked.folder or tempfile.mkdtemp(prefix="podpass-conformance-"))
    print(f"{len(selection.run)} specs of {len(specs)}; logs are in {folder}", file=sys.stderr)
    began = time.monotonic()
    results, unsteady = _run(program, agnhost, folder, selection.run, asked.jobs)
    print(table(selection, results, unsteady, spec_list))
    print(f"took {time.monotonic() - began:.0f} seconds", file=sys.stderr)
    found = faults(selection, results, 0 if asked.focus else spec_list.least_passed)
    for fault in found:
        print(fault)
    return 1 if found else 0


def _run(
    program: Path, agnhost: Path, folder: Path, specs: Sequence[str], jobs: int
) -> tuple[dict[str, SpecResult], list[str]]:
    """Run specs in two instances: those that need a cluster of their own one by one, the others together.

    Specs that failed run once more, alone: the specs assume more than two shared cores.
    """
    serial, others = [*filter(is_serial, specs)], [*itertools.filterfalse(is_serial, specs)]
    with ExitStack() as stack:
        alone, together = (
            E2eTest(
                program=program,
                kubeconfig=stack.enter_context(running(folder / name, agnhost)),
                folder=folder / name,
            )
            for name in ("serial", "parallel")
        )
        stack.callback(together.stop)
        stack.callback(alone.stop)
        with ThreadPoolExecutor() as pool:
            first = pool.submit(alone.run, serial, 1)
            try:
                results = together.run(others, jobs) | first.result()
            finally:
                alone.stop()
        failed = [spec for spec in specs if not (spec in results and results[spec].passed)]
        again = alone.run(failed, 1) if failed else {}
    return results | again, [spec for spec, result in again.items() if result.passed]


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--focus", nargs="*", default=(), help="run specs that contain a text")
    parser.add_argument("--all", action="store_true", help="also run the specs of specs.toml")
    parser.add_argument(
        "--jobs", type=int, default=6, help="processes besides those of shared ports and files"
    )
    parser.add_argument("--folder", help="folder for logs; default a new one")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
