"""Find the program of a container on this machine."""

import os
import shutil
import sys
from pathlib import Path

_PYTHONS = ("python", "python3")


def search_path(path: str) -> str:
    """Return a search path with the folder of this Python before the given path."""
    return os.pathsep.join([str(Path(sys.executable).parent), path])


def find_program(program: str, search: str) -> str | None:
    """Return the path of a program on the host, or None.

    An absolute path that exists only in images, such as /usr/local/bin/python, is searched on the PATH by its
    base name; a relative path is returned unchanged.
    """
    if "/" in program and (not program.startswith("/") or os.access(program, os.X_OK)):
        return program
    name = Path(program).name
    if found := shutil.which(name, path=search):
        return found
    return sys.executable if name in _PYTHONS else None
