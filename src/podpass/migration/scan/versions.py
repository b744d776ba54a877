"""Compare versions of all package registries by their release numbers. Pure."""

import re

_RELEASE = re.compile(
    r"[vV=\s]{0,4}(\d{1,9}(?:\.\d{1,9}){0,5})(?!\d)(.{0,64})", re.DOTALL | re.ASCII
)
_POST = re.compile(r"[.-]?(?:post|final|ga|release)[.\d]*(?![a-z])|\+.*", re.IGNORECASE | re.DOTALL)
_LENGTH = 6

Key = tuple[tuple[int, ...], bool]


def version_key(version: str) -> Key | None:
    """Return a sort key with a pre-release before its release; None for an invalid version."""
    found = _RELEASE.fullmatch(version.strip())
    if found is None:
        return None
    numbers = tuple(map(int, found[1].split(".")))
    rest = found[2].strip()
    is_release = not rest or _POST.fullmatch(rest) is not None
    return (*numbers, *(0,) * (_LENGTH - len(numbers))), is_release


def is_at_least(version: str, minimum: str) -> bool | None:
    """Return whether a version is the minimum or newer; None if one of them is not a version."""
    left, right = version_key(version), version_key(minimum)
    return None if left is None or right is None else left >= right
