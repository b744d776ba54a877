"""Delete each trust rule, one at a time and in a copy, and check that its tests fail: `rules.py [WORD ...]`.

The rules are in tests/vectors/rules.toml. If the tests of a rule pass without the rule, a test is missing.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PARTS = ("kubeling", "src", "tests", "examples", "docs", "pyproject.toml", "README.md")
JOBS = 2
# A rule's tests may be in the tier of processes; suites that need other programs are excluded.
_NEEDS_ONLY_PYTHON = (
    "not (clients or tutorial or az or peers or postgres or selfhost or kubernetes or soak"
    " or browser)"
)
_KUBELING = "kubeling/"
Rule = dict[str, Any]


def rules(words: list[str]) -> list[Rule]:
    """Return the rules that contain one of these words, or all rules if there are no words."""
    listed: list[Rule] = tomllib.loads((ROOT / "tests/vectors/rules.toml").read_text())["rule"]
    return [rule for rule in listed if not words or any(word in str(rule) for word in words)]


def copy(folder: Path) -> None:
    """Copy what the tests need."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)


def verdict(rule: Rule, folder: Path) -> str:
    """Delete a rule in a copy, run its tests, and restore the rule."""
    file = folder / rule["file"]
    text = file.read_text()
    if text.count(rule["cut"]) != 1:
        return "NOT FOUND"
    file.write_text(text.replace(rule["cut"], rule["put"]))
    # Each distribution has a configuration of its own for pytest.
    own = [test for test in rule["tests"] if not test.startswith(_KUBELING)]
    kubelings = [test.removeprefix(_KUBELING) for test in rule["tests"] if test not in own]
    try:
        for place, tests in ((folder, own), (folder / "kubeling", kubelings)):
            if tests and (found := _run(folder, place, tests)) != "UNSEEN":
                return found
    except subprocess.TimeoutExpired:
        return "seen"  # a test that never ends also detects the deletion
    finally:
        file.write_text(text)
    return "UNSEEN"


def _run(folder: Path, place: Path, tests: list[str]) -> str:
    # All tests of kubeling need only Python; its configuration leaves out those of the tier of processes.
    selected = _NEEDS_ONLY_PYTHON if place == folder else ""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", selected]
    sources = os.pathsep.join(str(folder / part) for part in ("src", "kubeling/src"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=place,
        env={**os.environ, "PYTHONPATH": sources, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return {0: "UNSEEN", 1: "seen"}.get(done.returncode, f"BROKEN {done.stdout[-300:]}")


def changed_files(hours: float) -> set[str]:
    """Return the files that the commits of the last hours before HEAD changed."""
    head = int(_git("show", "-s", "--format=%ct", "HEAD"))
    names = _git("log", f"--since={head - int(hours * 3600)}", "--name-only", "--format=")
    return set(names.splitlines())


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "words", nargs="*", help="only rules whose entry contains one of these words"
    )
    parser.add_argument(
        "--changed", type=float, metavar="HOURS", help="only rules of files changed lately"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no rule after this time"
    )
    return parser.parse_args()


def main() -> None:
    """Delete each rule, print whether a test failed, and exit with an error if none did."""
    options = _arguments()
    asked = rules(options.words)
    if options.changed is not None:
        files = changed_files(options.changed)
        asked = [rule for rule in asked if rule["file"] in files]
        # The order differs from commit to commit, so that several short runs together cover every rule.
        random.Random(_git("rev-parse", "HEAD")).shuffle(asked)
    end = time.monotonic() + options.seconds
    bad: list[str] = []
    tried: list[str] = []
    with tempfile.TemporaryDirectory() as base:
        folders = [Path(base) / str(job) for job in range(JOBS)]
        for folder in folders:
            folder.mkdir()
            copy(folder)

        def run_job(job: int) -> None:
            for rule in asked[job::JOBS]:
                if time.monotonic() > end:
                    return
                found = verdict(rule, folders[job])
                groups = ",".join(str(number) for number in rule["groups"])
                print(f"{found:9} {groups:6} {rule['what']}", flush=True)
                tried.append(rule["what"])
                if found != "seen":
                    bad.append(rule["what"])

        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(run_job, range(JOBS)))
    print(
        f"{len(tried) - len(bad)} of {len(tried)} rules: a test fails when they are deleted;"
        f" {len(asked) - len(tried)} not tried for lack of time"
    )
    if bad:
        sys.exit("no test fails without: " + "; ".join(bad))


if __name__ == "__main__":
    main()
