"""Fuzz every parser of untrusted input, guided by coverage: `fuzz.py [TARGET ...] --seconds N`.

A run ends after its time. A run with `--runs N` and a seed of 1 or more uses the same bytes again, except for
`http`, which has an event loop. It needs `atheris` (the extra `fuzz`). Inputs that fail are in
.cache/fuzz/TARGET as crash-*: fix the parser and add the bytes to tests/fuzz/corpus/TARGET, which every test
run reads.
"""

import argparse
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
FOUND = ROOT / ".cache" / "fuzz"
LINES = 40  # of stdout and of stderr of a run that found a failure


def run_target(name: str, seconds: int, seed: int, runs: int) -> None:
    """Fuzz one target in this process, which exits at the end."""
    import atheris

    logging.disable()  # one line per refusal would hide the traceback of a failure

    sys.path[0] = str(ROOT)  # not scripts/: this file must not hide a module of the tests
    with atheris.instrument_imports(include=["podpass", "fuzz"]):
        from tests.fuzz.targets import TARGETS
    folder = FOUND / name
    # The corpus of earlier runs would change a repeatable run.
    grown = folder / ("once" if runs else "corpus")
    if runs:
        shutil.rmtree(grown, ignore_errors=True)
    grown.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-runs={runs or -1}",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-verbosity=0",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(grown), str(CORPUS / name)], TARGETS[name])
    atheris.Fuzz()


def fuzz(name: str, options: list[str], wanted: int) -> bool:
    """Fuzz one target in a separate process; print the number of runs, return whether no input failed."""
    done = subprocess.run(
        [sys.executable, __file__, "--here", *options, name],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=False,
    )
    counts = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    runs = int(counts[0].split()[-1]) if counts else 0  # a crash prints no count
    well = done.returncode == 0
    said = "FAILED" if not well else f"of {wanted}, out of time" if runs < wanted else ""
    print(f"{name:12} {runs:>9} runs", said)
    if not well:
        for stream in (done.stdout, done.stderr):
            print("\n".join(stream.splitlines()[-LINES:]))
    return well


def main() -> None:
    """Fuzz each target until its time is over or its runs are done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=30, help="the time limit of each target")
    parser.add_argument(
        "--runs", type=int, default=0, help="the number of runs; 0: no limit except the time"
    )
    parser.add_argument("--seed", type=int, default=0, help="0: another seed in each run")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        run_target(asked.targets[0], asked.seconds, asked.seed, asked.runs)
    options = [f"--{each}={getattr(asked, each)}" for each in ("seconds", "runs", "seed")]
    names = asked.targets or sorted(path.name for path in CORPUS.iterdir())
    bad = [name for name in names if not fuzz(name, options, asked.runs)]
    if bad:
        sys.exit(f"inputs failed in: {', '.join(bad)}; the bytes are in .cache/fuzz")


if __name__ == "__main__":
    main()
