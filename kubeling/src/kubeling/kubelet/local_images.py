"""The default image source: a table of images and the commands of this machine that stand for them."""

import re
import sys
from collections.abc import Mapping, Sequence

from kubeling.kubelet.images import ImageConfig, ImageUnavailable

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
    """The built-in images, and those of a table: image names to commands with their arguments.

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
