"""Share a limited amount among sources: connections, requests or bytes among addresses or principals. Pure.

A source may take more while its usage is smaller than the free amount. One source alone can use a half. N
sources that take all they can use 1/(N + 1) each, and 1/(N + 1) stays free. No share needs a setting.

Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from podpass.errors import Error


class ShareExceeded(Error):
    """A source has used its share."""

    code = "share_exceeded"
    status = 503


class Shares:
    """What is free of a limited amount, and what each source holds of it.

    `what` names the amount in errors, such as "tunnels of the gateway".
    """

    def __init__(self, what: str, total: int) -> None:
        self._what, self._free = what, total
        self._held: dict[str, int] = {}

    @contextmanager
    def hold(self, source: str, amount: int = 1) -> Iterator[Callable[[int], None]]:
        """Hold an amount for a source until the context ends; yield a function that sets a larger amount.

        Raises ShareExceeded, also from the function.
        """
        held = 0

        def increase(to: int) -> None:
            nonlocal held
            self._take(source, to - held)
            held = to

        increase(amount)
        try:
            yield increase
        finally:
            self._take(source, -held)

    def _take(self, source: str, more: int) -> None:
        holds = self._held.get(source, 0) + more
        if more > 0 and holds > self._free:
            raise ShareExceeded(f"{source} has used its share of the {self._what}", source=source)
        self._free -= more
        if holds:
            self._held[source] = holds
        else:
            self._held.pop(source, None)
