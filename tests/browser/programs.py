"""The browser of the tests: Chromium of the distribution, driven by Playwright. Run it to install them."""

import importlib.util
import os
import shutil
import subprocess
import sys

# The program, and the Debian packages that have it and the characters of Chinese texts.
PROGRAM = "chromium"
_PACKAGES = ["chromium", "fonts-noto-cjk"]


def missing() -> str:
    """Return what this machine lacks; empty if the tests can run."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed: make test-browser installs it"
    if shutil.which(PROGRAM) is None:
        return "chromium is not on this machine: apt-get install chromium fonts-noto-cjk"
    return ""


def install() -> None:
    """Install Chromium where that is possible."""
    if shutil.which(PROGRAM) or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *_PACKAGES]):
        subprocess.run(["apt-get", "-qq", *command], check=False, capture_output=True, env=environ)


if __name__ == "__main__":
    install()
    if problem := missing():
        sys.stderr.write(f"SKIPPED: the browser tests: {problem}\n")
