"""Image sources: each resolves an image to a command of this machine. No image is pulled."""

from typing import Protocol

from podpass.errors import Error


class ImageUnavailable(Error):
    """No command is available for an image; the kubelet retries later.

    Shapes:  `reason` is the reason of the container's waiting state.
    """

    code = "image_unavailable"

    def __init__(self, message: str, *, reason: str, image: str) -> None:
        self.reason = reason
        super().__init__(message, image=image)


class ImageSource(Protocol):
    """Resolves images to commands of this machine."""

    def command_for(self, image: str, policy: str) -> tuple[str, ...]:
        """Return the command that runs for an image.

        Shapes:  `image` as the container names it; `policy` is its `imagePullPolicy`, or empty.
        Errors:  ImageUnavailable.
        """
        ...
