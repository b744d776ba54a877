"""What is built: a package of a module that is pinned in a folder here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program of one folder.

    Shapes:  `folder` is beside this file; `package` is the Go package of its main.
    """

    folder: str
    package: str
    ldflags: str = "-s -w"
