"""Faults of an instance. A fault lasts until its `with` block ends, its removal, or the next reset."""

from types import TracebackType
from typing import Any, Self

from podpass.pytest.client import ServiceConnection


class ActiveFault:
    """A fault that was injected; use it as a context, or call `remove`."""

    def __init__(self, control: ServiceConnection, fault_id: int) -> None:
        self._control = control
        self._id = fault_id

    def remove(self) -> None:
        """Remove the fault; it may have ended already."""
        self._control.request("POST", "/tests/recover", {"id": self._id})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


class Faults:
    """Injects faults into the services `authority`, `azure`, `issuer`, `kubernetes`, `vault` and `webhook`.

    `times` is the number of requests that get the fault; without it, all do.
    """

    def __init__(self, control: ServiceConnection) -> None:
        self._control = control

    def away(self, service: str = "authority", *, times: int | None = None) -> ActiveFault:
        """Reset each connection to a service without a response."""
        return self._add(service=service, kind="away", times=times)

    def slow(
        self, seconds: float, service: str = "authority", *, times: int | None = None
    ) -> ActiveFault:
        """Delay each response of a service."""
        return self._add(service=service, kind="slow", seconds=seconds, times=times)

    def aadsts(
        self,
        number: int,
        *,
        client_id: str = "",
        retry_after: int | None = None,
        times: int | None = None,
    ) -> ActiveFault:
        """Refuse token requests with an AADSTS error, of one client or of all."""
        return self._add(
            service="authority",
            kind="aadsts",
            number=number,
            client_id=client_id,
            retry_after=retry_after,
            times=times,
        )

    def status(
        self,
        status: int,
        service: str = "vault",
        *,
        retry_after: int | None = None,
        times: int | None = None,
    ) -> ActiveFault:
        """Answer each request to a service with an HTTP status from 400 to 599."""
        return self._add(
            service=service, kind="status", status=status, retry_after=retry_after, times=times
        )

    def clear(self) -> None:
        """Remove all faults."""
        self._control.request("POST", "/tests/recover", {})

    def _add(self, **fault: Any) -> ActiveFault:
        added = self._control.request("POST", "/tests/fault", fault)
        return ActiveFault(self._control, int(added["id"]))
