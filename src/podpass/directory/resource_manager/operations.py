"""Operations that take their time in the real service, and can be asked how they went.

Here each is done when it is answered. Its id says when, so that clients can poll as they do, also an instance
that has been started anew since.
"""

import hashlib
import os
import uuid

from podpass.directory.resource_manager import refusals, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route

_TIME_BYTES, _NOISE_BYTES, _SUM_BYTES = 6, 2, 8
_NOW = ("Retry-After", "1")  # without it az sleeps for half a minute before it asks


class Operations:
    """The operations of a subscription by id, and what is being written at this moment."""

    def __init__(self, subscription_id: str) -> None:
        self._writing: set[str] = set()
        self._place = subscription_id.encode()

    def done(self, now: float) -> str:
        """Give an operation that succeeded its id."""
        head = int(now * 1000).to_bytes(_TIME_BYTES) + os.urandom(_NOISE_BYTES)
        return str(uuid.UUID(bytes=head + self._sum(head)))

    def begin(self, key: str) -> bool:
        """Begin to write something alone; False while another does."""
        if key in self._writing:
            return False
        self._writing.add(key)
        return True

    def end(self, key: str) -> None:
        """End what was begun."""
        self._writing.discard(key)

    def find(self, name: str) -> dict[str, str] | None:
        """Read an id as what became of its operation; None for one that was never given."""
        try:
            given = uuid.UUID(name).bytes
        except ValueError:
            return None
        # No secret: who makes one up is told that nothing succeeded in doing nothing.
        if self._sum(given[:-_SUM_BYTES]) != given[-_SUM_BYTES:]:
            return None
        moment = wire.moment(int.from_bytes(given[:_TIME_BYTES]) / 1000)
        return {"startTime": moment, "endTime": moment}

    def _sum(self, head: bytes) -> bytes:
        return hashlib.sha256(self._place + head).digest()[:_SUM_BYTES]


def by_location(call: Call, below: str) -> tuple[tuple[str, str], ...]:
    """Give the headers with which a client is told to look at `Location` until it answers 200."""
    operation = call.operations.done(call.now)
    return (_NOW, ("Location", _address(call, f"{below}/operationresults/{operation}")))


def by_status(call: Call, below: str) -> tuple[tuple[str, str], ...]:
    """Give the headers with which a client is told to ask for the operation's status."""
    operation = call.operations.done(call.now)
    return (
        _NOW,
        ("Azure-AsyncOperation", _address(call, f"{below}/operations/{operation}")),
        ("Location", _address(call, f"{below}/operationresults/{operation}")),
    )


def _address(call: Call, path: str) -> str:
    return f"{call.origin.base}{path}?api-version={call.query.api_version}"


async def _status(call: Call) -> Answer:
    return Answer(body={"id": call.path, "name": call.name, "status": "Succeeded", **_found(call)})


async def _result(call: Call) -> Answer:
    _found(call)
    return Answer(status=200)


def _found(call: Call) -> dict[str, str]:
    found = call.operations.find(call.name)
    if found is None:
        raise refusals.missing("NotFound", f"There is no operation '{call.name}'.")
    return found


# Whoever knows the id was told it with the answer of the operation itself.
_STATUS = Operation(title="show operation", action=None, run=_status)
_RESULT = Operation(title="show result of operation", action=None, run=_result)
_SUB = "/subscriptions/{subscription}"
_BELOW = (
    _SUB,
    f"{_SUB}/providers/Microsoft.KeyVault/locations/{{location}}",
    f"{_SUB}/providers/Microsoft.ContainerService/locations/{{location}}",
)

ROUTES = (
    *(Route(method="GET", path=f"{b}/operations/{{name}}", operation=_STATUS) for b in _BELOW),
    *(
        Route(method="GET", path=f"{b}/operationresults/{{name}}", operation=_RESULT)
        for b in _BELOW
    ),
)
