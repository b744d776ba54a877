"""Data types of the programs that are built."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program to build.

    `folder` is next to this file and pins the Go module; `package` is the Go package of its main.
    """

    folder: str
    package: str
    ldflags: str = "-s -w"
    # Build tags. The repr, which names a binary's folder, omits them.
    tags: str = field(default="", repr=False)
    # The package has no main: its tests are the program. The repr, which names a binary's folder, omits it.
    is_test: bool = field(default=False, repr=False)
