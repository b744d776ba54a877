"""Every error number of the sign-in of users, each with a real cause over HTTP."""

import dataclasses
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from podpass.exchange.errors.catalogue import USER_ROWS
from podpass.exchange.sign_in import passwords
from tests.exchange.sign_in.browser import Browser, browsing
from tests.exchange.sign_in.test_grants import (
    get_code,
    pkce,
    poll_device_code,
    redeem_code,
    request_by_password,
    request_by_refresh_token,
    start_device_flow,
)
from tests.exchange.sign_in.test_pages import register_web_app, web_app_parameters
from tests.exchange.world import World

Cause = Callable[[World, Browser], Awaitable[int]]


def password(**changes: Any) -> Cause:
    async def cause(world: World, browser: Browser) -> int:
        del browser
        return (await request_by_password(world, **changes)).code

    return cause


def page(**changes: str | None) -> Cause:
    async def cause(world: World, browser: Browser) -> int:
        await register_web_app(world)
        asked = {name: _of(world, value) for name, value in changes.items()}
        shown = await browser.authorize(**asked)
        return extract_number(shown.response.get("error_description") or shown.error)

    return cause


def _of(world: World, value: str | None) -> str | None:
    return (
        web_app_parameters(world).get(value[1:], value)
        if value and value.startswith("$")
        else value
    )


def extract_number(text: str) -> int:
    found = re.match(r"AADSTS(\d+): ", text)
    assert found is not None, text
    return int(found[1])


def code(changes: dict[str, str] | None = None, **asked: str) -> Cause:
    async def cause(world: World, browser: Browser) -> int:
        text = await get_code(browser, **asked)
        return (await redeem_code(world, text, **(changes or {}))).code

    return cause


async def sign_in_at_other_tenant(world: World, browser: Browser) -> int:
    text = await get_code(browser)
    return (await redeem_code(world, text, f"/{world.OTHER_TENANT}/oauth2/v2.0/token")).code


async def redeem_code_twice(world: World, browser: Browser) -> int:
    text = await get_code(browser)
    await redeem_code(world, text)
    return (await redeem_code(world, text)).code


async def redeem_expired_code(world: World, browser: Browser) -> int:
    text = await get_code(browser)
    world.now += 601
    return (await redeem_code(world, text)).code


async def use_expired_refresh_token(world: World, browser: Browser) -> int:
    del browser
    token = (await request_by_password(world)).body["refresh_token"]
    world.now += 90 * 86400
    return (await request_by_refresh_token(world, token)).code


async def change_password(world: World, browser: Browser) -> int:
    """Change the password: an authorization code is then invalid, like a refresh token."""
    text = await get_code(browser)
    user = await world.directory.users.get(world.ADMIN_ID)
    assert user is not None
    changed = dataclasses.replace(user, password=passwords.hash_password("new"))
    await world.directory.users.put(changed)
    return (await redeem_code(world, text)).code


def device(*, polls: int = 1, later: int = 0, code: str | None = None) -> Cause:
    async def cause(world: World, browser: Browser) -> int:
        del browser
        begun = await start_device_flow(world)
        world.now += later
        for _ in range(polls):
            answer = await poll_device_code(world, code or begun["device_code"])
        return answer.code

    return cause


async def poll_declined_code(world: World, browser: Browser) -> int:
    begun = await start_device_flow(world)
    shown = await browser.get("/common/oauth2/deviceauth")
    shown = await browser.submit(shown, user_code=begun["user_code"])
    await browser.submit(shown, step="cancel")
    return (await poll_device_code(world, begun["device_code"])).code


async def submit_expired_page(world: World, browser: Browser) -> int:
    shown = await browser.authorize()
    world.now += 1801
    return extract_number((await browser.sign_in(shown)).error)


async def submit_from_other_browser(world: World, browser: Browser) -> int:
    shown = await browser.authorize()
    async with browsing(world) as other:
        return extract_number((await other.sign_in(shown)).error)


async def sign_in_locked_user(world: World, browser: Browser) -> int:
    del browser
    for _ in range(11):
        answer = await request_by_password(world, password="no")
    return answer.code


async def sign_in_unassigned_user(world: World, browser: Browser) -> int:
    del browser
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    await world.change(
        world.APPLICATION,
        document={"isFallbackPublicClient": True},
        principal={"appRoleAssignmentRequired": True},
    )
    return (await request_by_password(world, path, client_id=world.APPLICATION)).code


def consent_page(scope: str) -> Cause:
    """Sign in to an application, as a user who is not an administrator."""

    async def cause(world: World, browser: Browser) -> int:
        await register_web_app(world)
        shown = await browser.authorize(**web_app_parameters(world, scope=scope))
        return extract_number((await browser.sign_in(shown)).error)

    return cause


def without_consent(scope: str) -> Cause:
    async def cause(world: World, browser: Browser) -> int:
        del browser
        path = f"/{world.TENANT}/oauth2/v2.0/token"
        await world.change(world.APPLICATION, document={"isFallbackPublicClient": True})
        how = {"client_id": world.APPLICATION, "scope": scope}
        return (await request_by_password(world, path, **how)).code

    return cause


APP: dict[str, Any] = {"tenant": "$tenant", "client_id": "$client_id"}
CAUSES: list[tuple[int, Cause]] = [
    (50059, password(username="admin")),
    (70005, page(response_type="id_token")),
    (70007, page(response_mode="smoke")),
    (501491, page(code_challenge="short", code_challenge_method="S256")),
    (50194, page(client_id="$client_id", redirect_uri="$redirect_uri")),
    (50011, page(redirect_uri="https://evil.test/")),
    (70000, code({"client_id": "1950a258-227b-4e31-a9cf-717495945fc2"})),
    (700005, sign_in_at_other_tenant),
    (54005, redeem_code_twice),
    (70008, redeem_expired_code),
    (700082, use_expired_refresh_token),
    (50173, change_password),
    (500112, code({"redirect_uri": "http://localhost:1"})),
    (501481, code(code_challenge=pkce()[1], code_challenge_method="S256")),
    (9002325, page(**APP, redirect_uri="https://spa.test/")),
    (70016, device()),
    (50196, device(polls=2)),
    (70018, device(code="made-up")),
    (70020, device(later=901)),
    (65004, poll_declined_code),
    (50089, submit_expired_page),
    (165000, submit_from_other_browser),
    (50058, page(prompt="none")),
    (50034, password(username="unknown@contoso.test")),
    (50053, sign_in_locked_user),
    (50126, password(password="no")),
    (50105, sign_in_unassigned_user),
    (65001, without_consent("User.Read")),
    (650053, without_consent("https://management.azure.com/everything")),
    (650057, consent_page("https://vault.azure.net/.default")),
    (90094, consent_page("Directory.ReadWrite.All")),
]


@pytest.mark.parametrize(("number", "cause"), CAUSES)
async def test_each_cause_returns_its_number(world: World, number: int, cause: Cause) -> None:
    async with browsing(world) as browser:
        assert await cause(world, browser) == number


async def test_application_without_redirects_gets_900971(world: World) -> None:
    async with browsing(world) as browser:
        shown = await browser.authorize(**web_app_parameters(world))
        assert extract_number(shown.error) == 900971


def test_every_sign_in_error_number_has_a_cause() -> None:
    elsewhere = {900971, 90055}
    assert {number for number, _ in CAUSES} | elsewhere == {row.number for row in USER_ROWS}


async def test_passwords_codes_and_tokens_are_not_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with browsing(world) as browser:
        text = await get_code(browser)
        answer = await redeem_code(world, text)
        await redeem_code(world, text)
        begun = await start_device_flow(world)
        await poll_device_code(world, begun["device_code"])
        shown = await browser.get("/common/oauth2/deviceauth")
        shown = await browser.submit(shown, user_code=begun["user_code"])
        await browser.sign_in(shown)
        await browser.sign_in(await browser.authorize(), password="wr0ng-password")
        await request_by_password(world, password="wr0ng-password")
        await request_by_refresh_token(world, answer.body["refresh_token"])
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
