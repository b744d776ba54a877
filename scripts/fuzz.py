"""Let bytes guided by coverage rain on every reader of untrusted input: `fuzz.py [TARGET ...] --seconds N`.

Time decides how far a run gets; one with `--runs N` and a seed of 1 or more reads the same bytes again
(all but `http`, which has an event loop in it). Needs `atheris` (the extra `fuzz`). What is found lies in
.cache/fuzz/TARGET as crash-*: mend the reader, and put the bytes into tests/fuzz/corpus/TARGET, which
every test run reads.
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
LINES = 40  # of each stream of a run that found something


def rain(name: str, seconds: int, seed: int, runs: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    logging.disable()  # a line for each refusal would hide the one traceback that matters

    sys.path[0] = str(ROOT)  # not scripts/: this file must not shadow a module of the tests
    with atheris.instrument_imports(include=["podpass", "fuzz"]):
        from tests.fuzz.targets import TARGETS
    folder = FOUND / name
    # What earlier runs have grown would lead a repeatable one elsewhere.
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
    """Fuzz one target in a process of its own, say how far it came, and whether it found nothing."""
    done = subprocess.run(
        [sys.executable, __file__, "--here", *options, name],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    runs = int(told[0].split()[-1]) if told else 0  # none told of when it crashed
    well = done.returncode == 0
    said = "FAILED" if not well else f"of {wanted}, out of time" if runs < wanted else ""
    print(f"{name:12} {runs:>9} runs", said)
    if not well:
        for stream in (done.stdout, done.stderr):
            print("\n".join(stream.splitlines()[-LINES:]))
    return well


def main() -> None:
    """Fuzz each target, until its time is over or its runs are done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=30, help="each target ends by then")
    parser.add_argument("--runs", type=int, default=0, help="0 has no bound but time")
    parser.add_argument("--seed", type=int, default=0, help="0 takes another one each time")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        rain(asked.targets[0], asked.seconds, asked.seed, asked.runs)
    options = [f"--{each}={getattr(asked, each)}" for each in ("seconds", "runs", "seed")]
    names = asked.targets or sorted(path.name for path in CORPUS.iterdir())
    bad = [name for name in names if not fuzz(name, options, asked.runs)]
    if bad:
        sys.exit(f"found something in: {', '.join(bad)}; the bytes are in .cache/fuzz")


if __name__ == "__main__":
    main()
