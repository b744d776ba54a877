"""Image sources: each resolves an image to a program of this machine. No image is downloaded.

An image has an entry point and a command, as in the OCI image specification: the container's `command`
replaces both, its `args` replace the command.
"""

from collections.abc import Mapping
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
