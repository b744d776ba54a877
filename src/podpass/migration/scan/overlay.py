"""The file system of an image: a layer hides files of the layers below it. Pure."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from podpass.migration.scan.model import Mention

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class Overlay:
    """The mentions of all layers so far, by path.

    Only names that hide a known path are stored, so that the memory depends on the findings and not on the
    image.
    """

    def __init__(self) -> None:
        self._found: dict[str, Sequence[Mention]] = {}
        self._layer: dict[str, Sequence[Mention]] = {}
        # Sorted, to find a folder by the names below it: a set of all parents of deep paths takes gigabytes.
        self._sorted: list[str] = []
        self._hidden: set[str] = set()
        self._hidden_folders: set[str] = set()

    def start_layer(self) -> None:
        """Merge the current layer into the layers below, and start the next layer."""
        if self._hidden or self._hidden_folders:
            self._found = {
                path: each for path, each in self._found.items() if not self._is_hidden(path)
            }
        self._found |= self._layer
        self._sorted = sorted(self._found)
        self._layer, self._hidden, self._hidden_folders = {}, set(), set()

    def add_entry(self, path: str, *, is_folder: bool) -> None:
        """Hide files of lower layers at the path of an entry or of a whiteout's target."""
        folder, _, name = path.rpartition("/")
        if name == _OPAQUE:
            self._hide(folder, is_content=True)
        elif name.startswith(_WHITEOUT) and name != _WHITEOUT:
            hidden = name[len(_WHITEOUT) :]
            self._hide(f"{folder}/{hidden}" if folder else hidden)
        elif not is_folder:
            self._hide(path)
            self._layer.pop(path, None)

    def add_mentions(self, path: str, mentions: Sequence[Mention]) -> None:
        self._layer[path] = mentions

    def mentions(self) -> Iterator[tuple[str, Mention]]:
        """Yield path and mention of all files that are visible in the image."""
        self.start_layer()
        for path, mentions in self._found.items():
            for each in mentions:
                yield path, each

    def _hide(self, path: str, *, is_content: bool = False) -> None:
        """Hide a path and what is below it, or only what is below it."""
        if path in self._found and not is_content:
            self._hidden.add(path)
        if not path or self._is_folder(path):
            self._hidden_folders.add(path)

    def _is_folder(self, path: str) -> bool:
        """Return whether a file below a path was found in the layers below."""
        at = bisect_left(self._sorted, f"{path}/")
        return at < len(self._sorted) and self._sorted[at].startswith(f"{path}/")

    def _is_hidden(self, path: str) -> bool:
        if path in self._hidden:
            return True
        return bool(self._hidden_folders) and any(
            folder in self._hidden_folders for folder in (*_parents(path), "")
        )


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
