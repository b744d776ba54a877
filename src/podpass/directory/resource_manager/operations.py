"""Operations that take their time in the real service, and can be asked how they went.

Here each is done when it is answered; what is kept is that it was, so that clients can poll as they do.
"""

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from podpass.directory.resource_manager import refusals, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route

MAX_KEPT = 10_000
_NOW = ("Retry-After", "1")  # without it az sleeps for half a minute before it asks


class Operations:
    """The latest operations by id, and what is being written at this moment."""

    def __init__(self) -> None:
        self._writing: set[str] = set()
        self._done: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def done(self, now: float) -> str:
        """Keep that an operation succeeded, and give its id."""
        name = str(uuid.uuid4())
        self._done[name] = {"startTime": wire.moment(now), "endTime": wire.moment(now)}
        while len(self._done) > MAX_KEPT:
            self._done.popitem(last=False)
        return name

    def begin(self, key: str) -> bool:
        """Begin to write something alone; False while another does."""
        if key in self._writing:
            return False
        self._writing.add(key)
        return True

    def end(self, key: str) -> None:
        """End what was begun."""
        self._writing.discard(key)

    def find(self, name: str) -> Mapping[str, Any] | None:
        return self._done.get(name.lower())


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


def _found(call: Call) -> Mapping[str, Any]:
    found = call.operations.find(call.name)
    if found is None:
        raise refusals.missing(
            "NotFound", f"There is no operation '{call.name}', or none any more."
        )
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
