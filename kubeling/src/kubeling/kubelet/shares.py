"""Share a limited number of connections or queries among pods. Pure.

A source may take more while it holds at most what is free. So one source alone gets a half, N sources that
take all they can get one part of N + 1 each, and as much stays free for the next source.

Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998).
"""

import contextlib
from collections import Counter
from collections.abc import Iterator


class Shares:
    """What is free of a total, and what each source holds of it."""

    def __init__(self, total: int) -> None:
        self._free, self._held = total, Counter[str]()

    @contextlib.contextmanager
    def hold(self, source: str) -> Iterator[bool]:
        """Hold one for a source until the context ends; yield false if the source has used its share."""
        if self._held[source] + 1 > self._free:
            yield False
            return
        self._held[source] += 1
        self._free -= 1
        try:
            yield True
        finally:
            self._free += 1
            self._held[source] -= 1
            if not self._held[source]:
                del self._held[source]
