"""Resolve an image to its program: the instance's own list, the built-in images, the documentation's samples.

The list is `images.json`, a JSON object of image names to entry points, each a list of arguments; an object
with `entrypoint` and `command` if the image has a command.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from kubeling.kubelet.images import ImageConfig, ImageNotPresent, ImageUnavailable

from podpass import names
from podpass.errors import Error
from podpass.lab.cluster.samples import catalogue
from podpass.lab.cluster.samples.builds import SampleBuilds
from podpass.lab.cluster.samples.cache import SampleCache
from podpass.lab.cluster.samples.model import Readiness, Sample

IMAGES_FILE = "images.json"
_REFERENCE = "mcr.microsoft.com/oss/azure/workload-identity"
_PODPASS = (sys.executable, "-m", "podpass.cli")
_SIDECAR = ImageConfig(entrypoint=(*_PODPASS, "proxy"), programs={"/proxy": (*_PODPASS, "proxy")})
_SIDECAR_INIT = ImageConfig(entrypoint=(*_PODPASS, "proxy-init"))
_NO_REGISTRY = (
    "podpass has no container registry and pulls no images, so there is no access to check. Name the program"
    " of an image with: podpass image add IMAGE -- COMMAND ARGS..."
)
# Images are never pulled. The program of each of these is on any machine that runs podpass.
BUILT_IN: Mapping[str, ImageConfig] = {
    "busybox": ImageConfig(command=("sh",)),
    "python": ImageConfig(command=(sys.executable,)),
    "registry.k8s.io/pause": ImageConfig(entrypoint=("sleep", "infinity")),
    # The migration sidecar. The webhook injects it under podpass' or azure-workload-identity's image name.
    **dict.fromkeys((names.PROXY_IMAGE, f"{_REFERENCE}/proxy"), _SIDECAR),
    **dict.fromkeys((names.PROXY_INIT_IMAGE, f"{_REFERENCE}/proxy-init"), _SIDECAR_INIT),
    # The first pod of the tutorial only runs, so that the reader can see the changes of the webhook.
    "mcr.microsoft.com/mirror/docker/library/rabbitmq": ImageConfig(command=("sleep", "infinity")),
    # `az aks check-acr` runs this image as a pod and prints the output.
    "mcr.microsoft.com/aks/canipull": ImageConfig(
        entrypoint=(sys.executable, "-c", f"import sys; sys.exit({_NO_REGISTRY!r})")
    ),
}


class ImagesDamaged(Error):
    """The file of images cannot be read."""

    code = "images_damaged"
    hint = "repair or remove the file; then add the images again"


class ImageUnknown(ImageUnavailable, Error):
    """No command is known for an image."""

    code = "image_unknown"

    def __init__(self, image: str, policy: str) -> None:
        super().__init__(
            f'no command is configured for image "{image}", and podpass does not pull images. Set the'
            f" container's command, or run: podpass image add {base_name(image)} -- COMMAND ARGS...",
            reason="ErrImageNeverPull" if policy == "Never" else "ImageUnknown",
            image=image,
        )


class SampleNotReady(ImageUnavailable, Error):
    """An image of the documentation is known, but its program cannot run here yet."""

    code = "sample_not_ready"

    def __init__(self, sample: Sample, readiness: Readiness, policy: str) -> None:
        super().__init__(
            f"podpass has a program for {sample.image}, but {readiness.why}."
            f" To start the container: {readiness.todo}",
            reason="ErrImageNeverPull" if policy == "Never" else "SampleNotReady",
            image=sample.image,
        )


class SampleBuildFailed(ImageUnavailable, Error):
    """The build of a sample failed."""

    code = "sample_build_failed"

    def __init__(self, sample: Sample, cause: Error) -> None:
        hint = f"; {cause.hint}" if cause.hint else ""
        super().__init__(f"{cause.message}{hint}", reason="ErrImagePull", image=sample.image)


@dataclass(frozen=True, slots=True)
class InstanceImages:
    """The images of one instance; a container uses an added image from its next start.

    Without `builds`, a sample that is not built makes its container wait.
    """

    images_file: Path
    samples: SampleCache
    builds: SampleBuilds | None = None

    def resolve(self, image: str, policy: str) -> ImageConfig:
        """Return the program of an image; tags and digests are ignored.

        Raises ImageUnknown, SampleNotReady, ImageNotPresent; the message contains the resolution.
        """
        wanted = base_name(image)
        known = {
            base_name(name): config for name, config in _read_or_empty(self.images_file).items()
        }
        found = known.get(wanted) or BUILT_IN.get(wanted)
        if found:
            return found
        sample = catalogue.find_by_image(wanted)
        if sample is None:
            raise ImageUnknown(image, policy)
        readiness = self.samples.readiness(sample)
        if readiness.ready:
            return ImageConfig(entrypoint=tuple(readiness.command))
        if readiness.buildable and self.builds is not None and policy != "Never":
            steps = "; ".join(step.message for step in sample.steps)
            raise ImageNotPresent(f'Building the program of image "{image}": {steps}', image=image)
        raise SampleNotReady(sample, readiness, policy)

    async def pull(self, image: str) -> str:
        """Build the sample of an image; return the message of the Pulled event.

        Raises ImageUnknown, SampleBuildFailed.
        """
        sample = catalogue.find_by_image(base_name(image))
        if sample is None or self.builds is None:
            raise ImageUnknown(image, "")
        try:
            took = await self.builds.build(sample)
        except Error as exc:
            raise SampleBuildFailed(sample, exc) from exc
        return (
            f'Built the program of image "{image}" in {took.build:.1f}s'
            f" ({took.total:.1f}s including waiting)"
        )


def base_name(image: str) -> str:
    """Return an image name without tag, digest and the prefix of Docker Hub."""
    name = image.partition("@")[0]
    name = re.sub(r":[^:/]*$", "", name)
    return re.sub(r"^(docker\.io/)?(library/)?", "", name)


def read_images(path: Path) -> dict[str, ImageConfig]:
    """Read the images that were added to an instance. Raises ImagesDamaged."""
    try:
        entries = orjson.loads(path.read_bytes())
        return {str(name): _from_entry(entry) for name, entry in entries.items()}
    except FileNotFoundError:
        return {}  # nothing was added yet
    except (OSError, ValueError, AttributeError, TypeError) as exc:
        raise ImagesDamaged(f"{path} is damaged") from exc


def _from_entry(entry: Any) -> ImageConfig:
    if not isinstance(entry, dict):
        return ImageConfig(entrypoint=tuple(map(str, entry)))
    return ImageConfig(
        entrypoint=tuple(map(str, entry.get("entrypoint") or ())),
        command=tuple(map(str, entry.get("command") or ())),
    )


def to_entry(config: ImageConfig) -> object:
    """Return the entry of an image in `images.json`."""
    if not config.command:
        return list(config.entrypoint)
    return {"entrypoint": list(config.entrypoint), "command": list(config.command)}


def _read_or_empty(path: Path) -> dict[str, ImageConfig]:
    try:
        return read_images(path)
    except ImagesDamaged:
        return {}  # `podpass image list` reports the damage; the built-in images still run
