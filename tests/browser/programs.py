"""The browser of the tests: Chromium of the distribution, driven by Playwright. Run it to install them."""

import importlib.util
import shutil
import sys

from tests import debian

# The program, and the Debian packages that have it, the characters of Chinese texts, and certutil.
PROGRAM = "chromium"
_PACKAGES = ["chromium", "fonts-noto-cjk", "libnss3-tools"]


def missing() -> str:
    """Return what this machine lacks; empty if the tests can run."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed: make test-browser installs it"
    if shutil.which(PROGRAM) is None:
        return "chromium is not on this machine: apt-get install chromium fonts-noto-cjk"
    return ""


def missing_certutil() -> str:
    """Return what this machine lacks to give Chromium a CA; empty if nothing."""
    if shutil.which("certutil") is None:
        return "certutil is not on this machine: apt-get install libnss3-tools"
    return ""


def install() -> None:
    """Install Chromium and certutil where that is possible."""
    if not shutil.which(PROGRAM) or missing_certutil():
        debian.install(_PACKAGES)


if __name__ == "__main__":
    install()
    if problem := missing() or missing_certutil():
        sys.stderr.write(f"SKIPPED: the browser tests: {problem}\n")
