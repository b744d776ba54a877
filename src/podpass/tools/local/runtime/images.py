"""What runs for an image: the instance's list, a few that every cluster has, the documentation's samples."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

from podpass.errors import Error
from podpass.tools.local.samples import catalogue
from podpass.tools.local.samples.cache import SampleCache
from podpass.tools.local.samples.model import Readiness, Sample

# Nothing is ever pulled. These are images whose program is on any machine that runs podpass.
BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "busybox": ("sh",),
    "python": (sys.executable,),
    "registry.k8s.io/pause": ("sleep", "infinity"),
    # The tutorial's first pod only has to run, to show what the webhook put into it.
    "mcr.microsoft.com/mirror/docker/library/rabbitmq": ("sleep", "infinity"),
}


class ImagesDamaged(Error):
    """The file of images cannot be read."""

    code = "images_damaged"
    hint = "mend it or remove it; then add the images again"


class ImageUnavailable(Error):
    """Nothing can run for an image.

    Shapes:  `reason` is what the container's waiting state says.
    """

    code = "image_unavailable"
    reason = "ImageUnknown"


class ImageUnknown(ImageUnavailable):
    """No command is known for an image."""

    code = "image_unknown"

    def __init__(self, image: str, policy: str) -> None:
        if policy == "Never":
            self.reason = "ErrImageNeverPull"
        super().__init__(
            f'nothing is known to run for image "{image}"; podpass pulls no images. Give the container a'
            f" command, or say what to run: podpass image add {base_name(image)} -- COMMAND ARGS...",
            image=image,
        )


class SampleNotReady(ImageUnavailable):
    """An image of the documentation is known, but its program cannot run here yet."""

    code = "sample_not_ready"
    reason = "SampleNotReady"

    def __init__(self, sample: Sample, readiness: Readiness) -> None:
        super().__init__(
            f"podpass has a program for {sample.image}, but {readiness.why}."
            f" Do this, and the container starts by itself: {readiness.todo}",
            image=sample.image,
        )


def base_name(image: str) -> str:
    """Leave tag, digest and Docker Hub's prefix off an image's name."""
    name = image.partition("@")[0]
    name = re.sub(r":[^:/]*$", "", name)
    return re.sub(r"^(docker\.io/)?(library/)?", "", name)


def find(image: str, images_file: Path, policy: str, samples: SampleCache) -> tuple[str, ...]:
    """Find the command that stands for an image; tags are ignored.

    Errors:  ImageUnavailable, which says what to do.
    """
    wanted = base_name(image)
    known = {base_name(name): argv for name, argv in _added(images_file).items()}
    found = known.get(wanted) or BUILT_IN.get(wanted)
    if found:
        return found
    sample = catalogue.by_image(wanted)
    if sample is None:
        raise ImageUnknown(image, policy)
    readiness = samples.readiness(sample)
    if not readiness.ready:
        raise SampleNotReady(sample, readiness)
    return tuple(readiness.command)


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
