"""Delete each rule of trust, one at a time and in a copy, and see its tests fail: `rules.py [WORD ...]`.

The rules are in tests/vectors/rules.toml. A rule whose tests pass without it is one that nobody would miss.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PARTS = ("src", "tests", "examples", "docs", "pyproject.toml", "README.md")
JOBS = 2
Rule = dict[str, Any]


def rules(words: list[str]) -> list[Rule]:
    """List the rules whose description has one of these words, or all of them."""
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
    """Delete a rule in a copy, run its tests, and put it back."""
    file = folder / rule["file"]
    text = file.read_text()
    if text.count(rule["cut"]) != 1:
        return "NOT FOUND"
    file.write_text(text.replace(rule["cut"], rule["put"]))
    try:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            *rule["tests"],
        ]
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    except subprocess.TimeoutExpired:
        return "seen"  # what never ends is noticed too
    finally:
        file.write_text(text)
    return {0: "UNSEEN", 1: "seen"}.get(done.returncode, f"BROKEN {done.stdout[-300:]}")


def main() -> None:
    """Delete each rule, print whether a test saw it, and fail if none did."""
    asked = rules(sys.argv[1:])
    bad = []
    with tempfile.TemporaryDirectory() as base:
        folders = [Path(base) / str(job) for job in range(JOBS)]
        for folder in folders:
            folder.mkdir()
            copy(folder)

        def some(job: int) -> None:
            for rule in asked[job::JOBS]:
                found = verdict(rule, folders[job])
                groups = ",".join(str(number) for number in rule["groups"])
                print(f"{found:9} {groups:6} {rule['what']}", flush=True)
                if found != "seen":
                    bad.append(rule["what"])

        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(some, range(JOBS)))
    print(f"{len(asked) - len(bad)} of {len(asked)} rules: a test fails when they are deleted")
    if bad:
        sys.exit("no test fails without: " + "; ".join(bad))


if __name__ == "__main__":
    main()
