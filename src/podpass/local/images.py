"""Add images to an instance, and list every image that can run there."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from podpass.errors import UsageError
from podpass.files import write_private
from podpass.local.datadir import DataDir
from podpass.local.image_source import BUILT_IN, IMAGES_FILE, base_name, read
from podpass.local.samples.cache import SampleCache
from podpass.local.samples.catalogue import SAMPLES
from podpass.local.samples.model import Readiness, Sample


def add_image(data_dir: DataDir, name: str, argv: list[str]) -> None:
    """Add an image or replace it; the next container with this image runs the new command.

    Errors:  UsageError, ImagesDamaged.
    """
    if not name.strip() or any(char.isspace() for char in name):
        raise UsageError(
            f"{name!r} is not a valid image name",
            hint="use the name in the pod: podpass image add NAME -- CMD",
        )
    found = read(data_dir.path(IMAGES_FILE)) | {name: tuple(argv)}
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    write_private(data_dir.path(IMAGES_FILE), text.encode())


def list_images(data_dir: DataDir, samples: SampleCache) -> list[dict[str, Any]]:
    """List added images, built-in images and samples; an added image replaces others of the same name.

    Shapes:  `samples` has the PATH of the caller, which may differ from the PATH of the running instance.
    """
    added = read(data_dir.path(IMAGES_FILE))
    known = {base_name(name) for name in added}
    rows = [_sample(each, samples) for each in SAMPLES if each.image not in known]
    rows += [
        _command(name, argv, "built-in", samples)
        for name, argv in BUILT_IN.items()
        if name not in known
    ]
    rows += [_command(name, argv, "added", samples) for name, argv in added.items()]
    return sorted(rows, key=lambda row: str(row["name"]))


def _command(name: str, argv: Sequence[str], origin: str, samples: SampleCache) -> dict[str, Any]:
    """Return the row of an image with a command, and whether the kubelet finds its program."""
    if argv and samples.has(argv[0]):
        return _row(name, origin, Readiness(command=argv))
    why = f"{argv[0] if argv else 'its command'} is neither next to this Python nor on the PATH"
    todo = f"install it, or: podpass image add {name} -- COMMAND ARGS..."
    return _row(name, origin, Readiness(command=argv, why=why, todo=todo))


def _sample(sample: Sample, samples: SampleCache) -> dict[str, Any]:
    return _row(sample.image, "sample", samples.readiness(sample))


def _row(name: str, origin: str, readiness: Readiness) -> dict[str, Any]:
    return {
        "name": name,
        "origin": origin,
        "command": list(readiness.command),
        "command_line": shlex.join(readiness.command),
        "ready": readiness.ready,
        "why": readiness.why,
        "todo": readiness.todo,
    }
