"""Limit the memory for request bodies of all requests together.

A client that reaches the port may open thousands of connections and slowly send three megabytes on each.
Without a limit the kernel would kill the process for its memory, and the API server would refuse every
labelled pod until the restart. Bodies of ordinary pods need no reservation, so they are read even while other
clients use up the budget.
"""

from podpass.errors import Error

UNRESERVED_BYTES = 16 * 1024
MAX_RESERVED_BYTES = 16 * 1024 * 1024


class MemoryBudgetExhausted(Error):
    """The large requests in flight use up the memory budget."""

    code = "memory_budget_exhausted"
    status = 503
    hint = "retry the creation of the pod; if that fails too, find the client that sends large requests"


class MemoryBudget:
    """The bytes that requests may still reserve."""

    def __init__(self, max_bytes: int = MAX_RESERVED_BYTES) -> None:
        self.left = max_bytes


class Reservation:
    """The bytes that one request has reserved; release them after the response."""

    __slots__ = ("_budget", "_reserved")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self._reserved = budget, 0

    def reserve(self, size: int) -> None:
        """Reserve the additional bytes that a body of this size needs. Raises MemoryBudgetExhausted."""
        more = size - UNRESERVED_BYTES - self._reserved
        if more <= 0:
            return
        if more > self._budget.left:
            raise MemoryBudgetExhausted(
                "the webhook has no memory for so large a pod at the moment"
            )
        self._budget.left -= more
        self._reserved += more

    def release(self) -> None:
        """Return all reserved bytes to the budget."""
        self._budget.left += self._reserved
        self._reserved = 0
