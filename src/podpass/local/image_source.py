"""Resolve an image to its command: the instance's own list, the built-in images, the documentation's samples.

Shapes:  the list is `images.json`, a JSON object of image names to argument lists.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from podpass.errors import Error
from podpass.kubernetes.kubelet.images import ImageUnavailable
from podpass.local.samples import catalogue
from podpass.local.samples.cache import SampleCache
from podpass.local.samples.model import Readiness, Sample

IMAGES_FILE = "images.json"
# Images are never pulled. The program of each of these is on any machine that runs podpass.
BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "busybox": ("sh",),
    "python": (sys.executable,),
    "registry.k8s.io/pause": ("sleep", "infinity"),
    # The first pod of the tutorial only runs, so that the reader can see the changes of the webhook.
    "mcr.microsoft.com/mirror/docker/library/rabbitmq": ("sleep", "infinity"),
}


class ImagesDamaged(Error):
    """The file of images cannot be read."""

    code = "images_damaged"
    hint = "repair or remove the file; then add the images again"


class ImageUnknown(ImageUnavailable):
    """No command is known for an image."""

    code = "image_unknown"

    def __init__(self, image: str, policy: str) -> None:
        super().__init__(
            f'no command is configured for image "{image}", and podpass does not pull images. Set the'
            f" container's command, or run: podpass image add {base_name(image)} -- COMMAND ARGS...",
            reason="ErrImageNeverPull" if policy == "Never" else "ImageUnknown",
            image=image,
        )


class SampleNotReady(ImageUnavailable):
    """An image of the documentation is known, but its program cannot run here yet."""

    code = "sample_not_ready"

    def __init__(self, sample: Sample, readiness: Readiness) -> None:
        super().__init__(
            f"podpass has a program for {sample.image}, but {readiness.why}."
            f" To start the container: {readiness.todo}",
            reason="SampleNotReady",
            image=sample.image,
        )


@dataclass(frozen=True, slots=True)
class InstanceImages:
    """The images of one instance; a container uses an added image from its next start."""

    images_file: Path
    samples: SampleCache

    def command_for(self, image: str, policy: str) -> tuple[str, ...]:
        """Return the command that runs for an image; tags and digests are ignored.

        Errors:  ImageUnknown, SampleNotReady; the message contains the resolution.
        """
        wanted = base_name(image)
        known = {base_name(name): argv for name, argv in _added(self.images_file).items()}
        found = known.get(wanted) or BUILT_IN.get(wanted)
        if found:
            return found
        sample = catalogue.find_by_image(wanted)
        if sample is None:
            raise ImageUnknown(image, policy)
        readiness = self.samples.readiness(sample)
        if not readiness.ready:
            raise SampleNotReady(sample, readiness)
        return tuple(readiness.command)


def base_name(image: str) -> str:
    """Return an image name without tag, digest and the prefix of Docker Hub."""
    name = image.partition("@")[0]
    name = re.sub(r":[^:/]*$", "", name)
    return re.sub(r"^(docker\.io/)?(library/)?", "", name)


def read(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the images that were added to an instance, each with its command.

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
        return {}  # `podpass image list` reports the damage; the built-in images still run
