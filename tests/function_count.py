"""Counts which functions of podpass a request enters, on every thread."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

_SOURCE = "/src/podpass/"


@dataclass
class FunctionCounter:
    """Records functions while it is active; comprehensions and lambdas belong to their function."""

    entered: set[tuple[str, str]] = field(default_factory=set)
    is_active: bool = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if not self.is_active or event != "call":
            return
        code = frame.f_code
        _, found, path = code.co_filename.rpartition(_SOURCE)
        if found and not code.co_name.startswith("<"):
            self.entered.add((path, code.co_qualname))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Record functions in the block."""
        sys.setprofile(self)
        self.is_active = True
        try:
            yield
        finally:
            self.is_active = False
            sys.setprofile(None)


@contextmanager
def counting() -> Iterator[FunctionCounter]:
    """Install a counter in this thread and in those that start in the block, such as a database's."""
    counter, before = FunctionCounter(), threading.getprofile()
    threading.setprofile(counter)
    try:
        yield counter
    finally:
        threading.setprofile(before)
