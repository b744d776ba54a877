"""Debian packages that tests need."""

import os
import shutil
import subprocess
from collections.abc import Sequence


def install(packages: Sequence[str]) -> None:
    """Install packages where that is possible; none of them starts a service."""
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            apt = ["apt-get", "-qq", *command]
            subprocess.run(apt, check=False, capture_output=True, env=environ)
