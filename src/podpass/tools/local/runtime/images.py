"""What runs for an image: the instance's list of images, and a few that every cluster has."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

from podpass.errors import Error

# Nothing is ever pulled. These are images whose program is on any machine that runs podpass.
BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "busybox": ("sh",),
    "python": (sys.executable,),
    "registry.k8s.io/pause": ("sleep", "infinity"),
}


class ImagesDamaged(Error):
    """The file of images cannot be read."""

    code = "images_damaged"
    hint = "mend it or remove it; then add the images again"


class ImageUnknown(Error):
    """No command is known for an image.

    Shapes:  `reason` is what the container's waiting state says.
    """

    code = "image_unknown"

    def __init__(self, image: str, policy: str) -> None:
        self.reason = "ErrImageNeverPull" if policy == "Never" else "ImageUnknown"
        super().__init__(
            f'nothing is known to run for image "{image}"; podpass pulls no images. Give the container a'
            f" command, or say what to run: podpass image add {base_name(image)} -- COMMAND ARGS...",
            image=image,
        )


def base_name(image: str) -> str:
    """Leave tag, digest and Docker Hub's prefix off an image's name."""
    name = image.partition("@")[0]
    name = re.sub(r":[^:/]*$", "", name)
    return re.sub(r"^(docker\.io/)?(library/)?", "", name)


def find(image: str, images_file: Path, policy: str) -> tuple[str, ...]:
    """Find the command that stands for an image; tags are ignored.

    Errors:  ImageUnknown, which says what to do.
    """
    wanted = base_name(image)
    known = {base_name(name): argv for name, argv in _added(images_file).items()}
    found = known.get(wanted) or BUILT_IN.get(wanted)
    if not found:
        raise ImageUnknown(image, policy)
    return found


def read(path: Path) -> dict[str, tuple[str, ...]]:
    """Read what was added to an instance: image names and the commands that stand for them.

    Errors:  ImagesDamaged.
    """
    try:
        entries = orjson.loads(path.read_bytes())
        return {str(name): tuple(map(str, argv)) for name, argv in entries.items()}
    except FileNotFoundError:
        return {}  # nothing was added yet
    except (OSError, ValueError, AttributeError, TypeError) as exc:
        raise ImagesDamaged(f"{path} is damaged") from exc


def _added(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        return read(path)
    except ImagesDamaged:
        return {}  # `podpass image list` says so; the built-in ones still run
