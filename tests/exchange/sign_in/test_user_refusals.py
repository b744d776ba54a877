"""Every error number of the sign-in of users, each with a real cause over HTTP."""

import dataclasses
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from podpass.exchange.errors.user_errors import USER_ROWS
from podpass.exchange.sign_in import passwords
from tests.exchange.sign_in.browser import Browser, browsing
from tests.exchange.sign_in.test_grants import (
    a_code,
    a_device,
    by_code,
    by_device,
    by_password,
    by_refresh,
    pkce,
)
from tests.exchange.sign_in.test_pages import of_app, web_app

if TYPE_CHECKING:
    from tests.exchange.world import World

Cause = Callable[["World", Browser], Awaitable[int]]


def password(**changes: Any) -> Cause:
    async def cause(world: "World", browser: Browser) -> int:
        del browser
        return (await by_password(world, **changes)).code

    return cause


def page(**changes: str | None) -> Cause:
    async def cause(world: "World", browser: Browser) -> int:
        await web_app(world)
        asked = {name: _of(world, value) for name, value in changes.items()}
        shown = await browser.authorize(**asked)
        return number_in(shown.response.get("error_description") or shown.error)

    return cause


def _of(world: "World", value: str | None) -> str | None:
    return of_app(world).get(value[1:], value) if value and value.startswith("$") else value


def number_in(text: str) -> int:
    found = re.match(r"AADSTS(\d+): ", text)
    assert found is not None, text
    return int(found[1])


def code(changes: dict[str, str] | None = None, **asked: str) -> Cause:
    async def cause(world: "World", browser: Browser) -> int:
        text = await a_code(browser, **asked)
        return (await by_code(world, text, **(changes or {}))).code

    return cause


async def other_tenant(world: "World", browser: Browser) -> int:
    text = await a_code(browser)
    return (await by_code(world, text, f"/{world.OTHER_TENANT}/oauth2/v2.0/token")).code


async def redeemed(world: "World", browser: Browser) -> int:
    text = await a_code(browser)
    await by_code(world, text)
    return (await by_code(world, text)).code


async def late_code(world: "World", browser: Browser) -> int:
    text = await a_code(browser)
    world.now += 601
    return (await by_code(world, text)).code


async def late_token(world: "World", browser: Browser) -> int:
    del browser
    token = (await by_password(world)).body["refresh_token"]
    world.now += 90 * 86400
    return (await by_refresh(world, token)).code


async def new_password(world: "World", browser: Browser) -> int:
    """Change the password: an authorization code is then invalid, like a refresh token."""
    text = await a_code(browser)
    user = await world.directory.users.get(world.ADMIN_ID)
    assert user is not None
    changed = dataclasses.replace(user, password=passwords.hash_password("new"))
    await world.directory.users.put(changed)
    return (await by_code(world, text)).code


def device(*, polls: int = 1, later: int = 0, code: str | None = None) -> Cause:
    async def cause(world: "World", browser: Browser) -> int:
        del browser
        begun = await a_device(world)
        world.now += later
        for _ in range(polls):
            answer = await by_device(world, code or begun["device_code"])
        return answer.code

    return cause


async def declined(world: "World", browser: Browser) -> int:
    begun = await a_device(world)
    shown = await browser.get("/common/oauth2/deviceauth")
    shown = await browser.submit(shown, user_code=begun["user_code"])
    await browser.submit(shown, step="cancel")
    return (await by_device(world, begun["device_code"])).code


async def old_page(world: "World", browser: Browser) -> int:
    shown = await browser.authorize()
    world.now += 1801
    return number_in((await browser.sign_in(shown)).error)


async def other_browser(world: "World", browser: Browser) -> int:
    shown = await browser.authorize()
    async with browsing(world) as other:
        return number_in((await other.sign_in(shown)).error)


async def locked(world: "World", browser: Browser) -> int:
    del browser
    for _ in range(11):
        answer = await by_password(world, password="no")
    return answer.code


async def not_assigned(world: "World", browser: Browser) -> int:
    del browser
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    await world.change(
        world.APPLICATION,
        document={"isFallbackPublicClient": True},
        principal={"appRoleAssignmentRequired": True},
    )
    return (await by_password(world, path, client_id=world.APPLICATION)).code


APP: dict[str, Any] = {"tenant": "$tenant", "client_id": "$client_id"}
CAUSES: list[tuple[int, Cause]] = [
    (50059, password(username="admin")),
    (70005, page(response_type="id_token")),
    (70007, page(response_mode="smoke")),
    (501491, page(code_challenge="short", code_challenge_method="S256")),
    (50194, page(client_id="$client_id", redirect_uri="$redirect_uri")),
    (50011, page(redirect_uri="https://evil.test/")),
    (70000, code({"client_id": "1950a258-227b-4e31-a9cf-717495945fc2"})),
    (700005, other_tenant),
    (54005, redeemed),
    (70008, late_code),
    (700082, late_token),
    (50173, new_password),
    (500112, code({"redirect_uri": "http://localhost:1"})),
    (501481, code(code_challenge=pkce()[1], code_challenge_method="S256")),
    (9002325, page(**APP, redirect_uri="https://spa.test/")),
    (70016, device()),
    (50196, device(polls=2)),
    (70018, device(code="made-up")),
    (70020, device(later=901)),
    (65004, declined),
    (50089, old_page),
    (165000, other_browser),
    (50058, page(prompt="none")),
    (50034, password(username="unknown@contoso.test")),
    (50053, locked),
    (50126, password(password="no")),
    (50105, not_assigned),
]


@pytest.mark.parametrize(("number", "cause"), CAUSES)
async def test_each_cause_returns_its_number(world: "World", number: int, cause: Cause) -> None:
    async with browsing(world) as browser:
        assert await cause(world, browser) == number


async def test_application_without_redirects_gets_900971(world: "World") -> None:
    async with browsing(world) as browser:
        shown = await browser.authorize(**of_app(world))
        assert number_in(shown.error) == 900971


def test_every_sign_in_error_number_has_a_cause() -> None:
    elsewhere = {900971, 90055}
    assert {number for number, _ in CAUSES} | elsewhere == {row.number for row in USER_ROWS}


async def test_passwords_codes_and_tokens_are_not_logged(
    world: "World", caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with browsing(world) as browser:
        text = await a_code(browser)
        answer = await by_code(world, text)
        await by_code(world, text)
        begun = await a_device(world)
        await by_device(world, begun["device_code"])
        shown = await browser.get("/common/oauth2/deviceauth")
        shown = await browser.submit(shown, user_code=begun["user_code"])
        await browser.sign_in(shown)
        await browser.sign_in(await browser.authorize(), password="wr0ng-password")
        await by_password(world, password="wr0ng-password")
        await by_refresh(world, answer.body["refresh_token"])
    log_text = "".join(str(vars(record)) for record in caplog.records)
    for secret in (
        world.PASSWORD,
        "wr0ng-password",
        text,
        begun["device_code"],
        begun["user_code"],
        answer.body["refresh_token"],
        answer.body["access_token"],
        answer.body["id_token"],
    ):
        assert secret not in log_text
    assert "user_signed_in" in log_text
