"""Image sources: each resolves an image to a program of this machine. No image is downloaded.

`LocalImages` is the default source: a table of images and the commands that run in place of them.

An image has an entry point and a command, as in the OCI image specification: the container's `command`
replaces both, its `args` replace the command.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kubeling.errors import Error


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The program of an image: the entry point, followed by the command or by the container's `args`.

    `programs` are paths that exist only in the image, and the commands that stand for them.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    programs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class ImageUnavailable(Error):
    """No program is available for an image; the kubelet retries later.

    `reason` is the reason of the container's waiting state.
    """

    code = "image_unavailable"

    def __init__(self, message: str, *, reason: str, image: str) -> None:
        self.reason = reason
        super().__init__(message, image=image)


class ImageNotPresent(ImageUnavailable):
    """The program of an image is not on this machine yet; `ImageSource.pull` gets it.

    The message says what `pull` will do.
    """

    code = "image_not_present"

    def __init__(self, message: str, *, image: str) -> None:
        super().__init__(message, reason="ImageNotPresent", image=image)


class ImageSource(Protocol):
    """Resolves images to programs of this machine."""

    def resolve(self, image: str, policy: str) -> ImageConfig:
        """Return the program of an image.

        `image` is as the container names it; `policy` is its `imagePullPolicy`, or empty. Raises
        ImageUnavailable; ImageNotPresent if `pull` can get the program.
        """
        ...

    async def pull(self, image: str) -> str:
        """Get the program of an image; return the message of the Pulled event. Raises ImageUnavailable."""
        ...


BUILT_IN: Mapping[str, ImageConfig] = {
    "busybox": ImageConfig(command=("sh",)),
    "python": ImageConfig(command=(sys.executable,)),
    "registry.k8s.io/pause": ImageConfig(entrypoint=("sleep", "infinity")),
}


class ImageUnknown(ImageUnavailable):
    """No command is known for an image."""

    code = "image_unknown"

    def __init__(self, image: str, policy: str) -> None:
        name = base_name(image)
        super().__init__(
            f'no command is known for image "{image}", and kubeling pulls no images. Set the container\'s'
            f" command, or start the cluster with: kubeling up --image '{name}=COMMAND', or"
            f" Cluster(images={{{name!r}: [...]}})",
            reason="ErrImageNeverPull" if policy == "Never" else "ImageUnknown",
            image=image,
        )


class LocalImages:
    """Resolves the built-in images, and the images of a table: image names and commands with arguments.

    Tags and digests are ignored. A container's `args` are appended to the command of the table.
    """

    def __init__(self, commands: Mapping[str, Sequence[str]] | None = None) -> None:
        added = {
            base_name(image): ImageConfig(entrypoint=tuple(command))
            for image, command in (commands or {}).items()
        }
        self._known = {**BUILT_IN, **added}

    def resolve(self, image: str, policy: str) -> ImageConfig:
        """Return the program of an image. Raises ImageUnknown."""
        if (found := self._known.get(base_name(image))) is None:
            raise ImageUnknown(image, policy)
        return found

    async def pull(self, image: str) -> str:
        """Raise ImageUnknown: `resolve` never requires a pull."""
        raise ImageUnknown(image, "")


def base_name(image: str) -> str:
    """Return an image name without tag, digest and the prefix of Docker Hub."""
    name = image.partition("@")[0]
    name = re.sub(r":[^:/]*$", "", name)
    return re.sub(r"^(docker\.io/)?(library/)?", "", name)
