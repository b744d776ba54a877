"""Which command stands for an image: `images.json`, shared with the runtime.

Shapes:  a JSON object of image names to argument lists.
"""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from podpass.errors import UsageError
from podpass.files import write_private
from podpass.tools.local.datadir import DataDir
from podpass.tools.local.runtime import programs
from podpass.tools.local.runtime.images import BUILT_IN, base_name, read

_FILE = "images.json"


def add(data_dir: DataDir, name: str, argv: list[str]) -> None:
    """Add an image or replace it; the next container that asks for it runs the new command.

    Errors:  UsageError, ImagesDamaged.
    """
    if not name.strip() or any(sign.isspace() for sign in name):
        raise UsageError(
            f"{name!r} is no image name",
            hint="give it as in the pod: podpass image add NAME -- CMD",
        )
    found = read(data_dir.path(_FILE)) | {name: tuple(argv)}
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    write_private(data_dir.path(_FILE), text.encode())


def everything(data_dir: DataDir, path: str) -> list[dict[str, Any]]:
    """List what can run: images that were added, and built-in ones they do not replace.

    Shapes:  `path` is the PATH of whoever asks, which is an instance's own if the same user started it.
    """
    added = read(data_dir.path(_FILE))
    known = {base_name(name) for name in added}
    built_in = {name: argv for name, argv in BUILT_IN.items() if name not in known}
    search = programs.search_path(path)
    rows = [describe(name, argv, "built-in", search) for name, argv in built_in.items()]
    rows += [describe(name, argv, "added", search) for name, argv in added.items()]
    return sorted(rows, key=lambda row: str(row["name"]))


def describe(name: str, argv: Sequence[str], origin: str, search: str) -> dict[str, Any]:
    """Show an image, and whether its program is where the runtime looks for it."""
    found = programs.find(argv[0], search) if argv else None
    return {
        "name": name,
        "origin": origin,
        "command": list(argv),
        "command_line": shlex.join(argv),
        "ready": found is not None,
        "why": ""
        if found
        else f"{argv[0] if argv else 'its command'} is not beside this Python, nor on the PATH",
    }
