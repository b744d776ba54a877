"""Install packages with pip, and show on one line what pip does.

`install.py ARGUMENTS` runs `pip install ARGUMENTS`. On a terminal the line changes; elsewhere a line
is printed at most every ten seconds, and when pip begins to install. All output of pip is printed if
it fails.
"""

import re
import subprocess
import sys
import time

_STEP = re.compile(r"\s*(Collecting|Downloading|Building|Installing|Preparing|Using cached) (.*)")
_EVERY_SECONDS = 10.0
_WIDTH = 78


def describe(line: str, collected: int) -> str | None:
    """Parse a line of pip's output; return the progress to show, or None for another line."""
    found = _STEP.match(line)
    if found is None:
        return None
    verb, rest = found.groups()
    if verb == "Installing":
        return f"installing {rest.count(',') + 1} packages"
    name = re.split(r"[\s<>=!~;\[]", rest.rpartition("/")[2])[0]
    packages = "1 package" if collected == 1 else f"{collected} packages"
    return f"{packages} found, {verb.lower()} {name}"


def main() -> int:
    """Run pip; return its exit code."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *sys.argv[1:]]
    lines: list[str] = []
    collected, shown, changes = 0, time.monotonic(), sys.stdout.isatty()
    with subprocess.Popen(
        [*command, "--progress-bar", "off"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            lines.append(line)
            collected += line.startswith("Collecting ")
            progress = describe(line, collected)
            # pip prints nothing while it installs, which takes longest.
            is_due = line.startswith("Installing") or time.monotonic() - shown >= _EVERY_SECONDS
            if progress and (changes or is_due):
                shown = time.monotonic()
                text = f"  {progress}"[:_WIDTH]
                print(
                    f"\r{text:{_WIDTH}}" if changes else text,
                    end="" if changes else "\n",
                    flush=True,
                )
    if changes:
        print(f"\r{'':{_WIDTH}}\r", end="", flush=True)
    if pip.returncode != 0:
        print("".join(lines), end="", file=sys.stderr)
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main())
