"""The listings of docs/develop/testcontainers.md."""

import re
from pathlib import Path

from tests.node.images import ROOT

_PAGE = ROOT / "docs/develop/testcontainers.md"
_LISTING = re.compile(r"^`([\w.-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def listings() -> dict[str, str]:
    """Return the listings by the file name that the page gives them."""
    return dict(_LISTING.findall(_PAGE.read_text()))


def write_listings(folder: Path, *names: str) -> Path:
    """Write listings of the page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(listings()[name])
    return folder
