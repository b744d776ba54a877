"""Which command stands for an image: `images.json`, shared with the runtime.

Shapes:  a JSON object of image names to argument lists.
"""

import json
import shlex
import shutil
from typing import Any

from podpass.errors import Error, UsageError
from podpass.files import write_private
from podpass.tools.local.datadir import DataDir
from podpass.tools.local.runtime.images import BUILT_IN, base_name

Images = dict[str, list[str]]


class ImagesDamaged(Error):
    """The file of images cannot be read."""

    code = "images_damaged"


def load(data_dir: DataDir) -> Images:
    """Read the images of an instance.

    Errors:  ImagesDamaged.
    """
    path = data_dir.path("images.json")
    try:
        found = json.loads(path.read_bytes())
        return {str(name): [str(word) for word in argv] for name, argv in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as exc:
        raise ImagesDamaged(
            f"{path} is damaged", hint="mend it or remove it; then add the images again"
        ) from exc


def add(data_dir: DataDir, name: str, argv: list[str]) -> None:
    """Add an image or replace it; the next container that asks for it runs the new command.

    Errors:  UsageError, ImagesDamaged.
    """
    if not name.strip() or any(sign.isspace() for sign in name):
        raise UsageError(
            f"{name!r} is no image name",
            hint="give it as in the pod: podpass image add NAME -- CMD",
        )
    found = load(data_dir)
    found[name] = argv
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    write_private(data_dir.path("images.json"), text.encode())


def everything(data_dir: DataDir) -> list[dict[str, Any]]:
    """List what can run: images that were added, and built-in ones they do not replace."""
    added = load(data_dir)
    known = {base_name(name) for name in added}
    built_in = {name: list(argv) for name, argv in BUILT_IN.items() if name not in known}
    rows = [describe(name, argv, "built-in") for name, argv in built_in.items()]
    rows += [describe(name, argv, "added") for name, argv in added.items()]
    return sorted(rows, key=lambda row: str(row["name"]))


def describe(name: str, argv: list[str], origin: str) -> dict[str, Any]:
    """Show an image, and whether its program is on this machine."""
    found = shutil.which(argv[0]) if argv else None
    return {
        "name": name,
        "origin": origin,
        "command": argv,
        "command_line": shlex.join(argv),
        "ready": found is not None,
        "why": "" if found else f"{argv[0] if argv else 'its command'} is not on the PATH",
    }
