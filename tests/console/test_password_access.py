"""Sessions of an administrator of an authority: they end when the user is no administrator any more."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from podpass.console import password_access
from podpass.console.password_access import PasswordAccess
from podpass.database import DatabaseFailed
from podpass.errors import Error
from tests.console.test_sessions import Time


class Administrators:
    """The sessions of one administrator, whose right a test takes away."""

    def __init__(self) -> None:
        self.is_current = True
        self.failure: Error | None = None
        self.checks = 0

    async def open(self, name: str, password: str) -> str | None:
        if self.failure is not None:
            raise self.failure
        return "a-session" if (name, password) == ("anna", "right") else None

    async def is_valid(self, session: str) -> bool:
        self.checks += 1
        if self.failure is not None:
            raise self.failure
        return self.is_current and session == "a-session"

    async def end(self, session: str) -> None:
        self.is_current = self.is_current and session != "a-session"


def _receive(body: bytes) -> Any:
    async def parts() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": body, "more_body": False}

    return parts().__anext__


async def _sign_in(access: PasswordAccess, password: str) -> dict[str, Any] | None:
    """Sign in; return a request with the cookie, or None after a refusal."""
    form = urlencode({"username": "anna", "password": password}).encode()
    scope = {"method": "POST", "path": "/console/sign-in", "headers": []}
    answer = await access.enter(scope, _receive(form))
    assert answer is not None
    status, _, headers = answer
    cookie = dict(headers).get(b"set-cookie")
    assert (status == 303) == (cookie is not None)
    if cookie is None:
        return None
    return {"method": "GET", "headers": [(b"cookie", cookie.partition(b";")[0])]}


async def test_session_ends_when_its_user_is_no_longer_an_administrator() -> None:
    time, users = Time(), Administrators()
    access = PasswordAccess("/console", users, time)
    assert await _sign_in(access, "wrong") is None
    request = await _sign_in(access, "right")
    assert request is not None
    assert await access.is_signed_in(request)
    users.is_current = False
    time.now += password_access._RECHECK_SECONDS
    assert not await access.is_signed_in(request)
    assert not await access.is_signed_in(request)


async def test_sign_out_ends_the_session_at_once() -> None:
    access = PasswordAccess("/console", Administrators(), Time())
    request = await _sign_in(access, "right")
    assert request is not None
    assert await access.is_signed_in(request)
    await access.sign_out(request)
    assert not await access.is_signed_in(request)


async def test_database_failure_is_raised_and_ends_no_session() -> None:
    time, users = Time(), Administrators()
    access = PasswordAccess("/console", users, time)
    request = await _sign_in(access, "right")
    assert request is not None
    users.failure = DatabaseFailed("the database is unavailable")
    with pytest.raises(DatabaseFailed):
        await _sign_in(access, "right")
    with pytest.raises(DatabaseFailed):
        await access.is_signed_in(request)
    users.failure = None
    assert await access.is_signed_in(request)


async def test_sign_in_that_raises_an_error_is_refused() -> None:
    users = Administrators()
    users.failure = Error("the user is locked")
    assert await _sign_in(PasswordAccess("/console", users, Time()), "right") is None


async def test_number_of_cached_session_checks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_access, "_MAX_CHECKED", 2)
    users = Administrators()
    users.is_valid = _accept  # type: ignore[method-assign,assignment]
    access = PasswordAccess("/console", users, Time())
    for number in range(5):
        cookie = f"{password_access.COOKIE}=session-{number}".encode()
        assert await access.is_signed_in({"method": "GET", "headers": [(b"cookie", cookie)]})
    assert len(access._checked) == 2


async def _accept(_: str) -> bool:
    return True


async def test_requests_within_seconds_are_checked_once() -> None:
    time, users = Time(), Administrators()
    access = PasswordAccess("/console", users, time)
    request = await _sign_in(access, "right")
    assert request is not None
    for _ in range(5):
        assert await access.is_signed_in(request)
    assert users.checks == 1
