"""Sessions of an administrator of an authority: they end when the user is no administrator any more."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from podpass.console import password_access
from podpass.console.password_access import IsCurrent, PasswordAccess
from podpass.errors import Error
from tests.console.test_sessions import Time


class Administrators:
    """One administrator, whose right a test takes away."""

    def __init__(self) -> None:
        self.is_current: bool | Error = True
        self.checks = 0

    async def check(self, name: str, password: str) -> IsCurrent | None:
        return self._is_current if (name, password) == ("anna", "right") else None

    async def _is_current(self) -> bool:
        self.checks += 1
        if isinstance(self.is_current, Error):
            raise self.is_current
        return self.is_current


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


@pytest.mark.parametrize(
    "end", [False, Error("the password has changed")], ids=["user", "password"]
)
async def test_session_ends_when_the_user_is_no_administrator_any_more(end: bool | Error) -> None:
    time, users = Time(), Administrators()
    access = PasswordAccess("/console", users.check, time)
    assert await _sign_in(access, "wrong") is None
    request = await _sign_in(access, "right")
    assert request is not None
    time.now += password_access._RECHECK_SECONDS
    assert await access.is_signed_in(request)
    users.is_current = end
    time.now += password_access._RECHECK_SECONDS
    assert not await access.is_signed_in(request)
    assert not await access.is_signed_in(request)


async def test_requests_within_seconds_are_checked_once() -> None:
    time, users = Time(), Administrators()
    access = PasswordAccess("/console", users.check, time)
    request = await _sign_in(access, "right")
    assert request is not None
    time.now += password_access._RECHECK_SECONDS
    for _ in range(5):
        assert await access.is_signed_in(request)
    assert users.checks == 1
