"""Where a container's program is looked for, before its volumes are known."""

import os
import shutil
import sys
from pathlib import Path

_PYTHONS = ("python", "python3")


def search_path(path: str) -> str:
    """Put this Python's folder before the instance's own path."""
    return os.pathsep.join([str(Path(sys.executable).parent), path])


def find(program: str, search: str) -> str | None:
    """Find a program as the host names it.

    Shapes:  an absolute path that only exists in images, as /usr/local/bin/python, is looked up by its
             last part; a relative one is the container's own business and stays as it is.
    """
    if "/" in program and (not program.startswith("/") or os.access(program, os.X_OK)):
        return program
    name = Path(program).name
    if found := shutil.which(name, path=search):
        return found
    return sys.executable if name in _PYTHONS else None
