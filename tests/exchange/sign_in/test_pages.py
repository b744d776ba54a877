"""The sign-in pages, and attacks on them."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from podpass.directory.resources import GRAPH_APP_ID, MANAGER_APP_ID
from podpass.exchange.sign_in import clients, codes
from tests.exchange.client_auth.test_secrets import create_password
from tests.exchange.sign_in.browser import AZ, LOOPBACK, Browser, browsing
from tests.exchange.sign_in.test_grants import (
    assign_app_role,
    get_code,
    pkce,
    poll_device_code,
    public_app,
    redeem_code,
    start_device_flow,
)
from tests.exchange.world import World
from tests.http.coded_bodies import REFUSED

SECRET = "the-secret-of-the-app"


@pytest.fixture
async def browser(world: World) -> AsyncIterator[Browser]:
    async with browsing(world) as opened:
        yield opened


async def register_web_app(world: World, **document: Any) -> None:
    uris = {"redirectUris": ["https://web.test/signin?app=1", "http://localhost/cb"]}
    await world.change(
        world.APPLICATION,
        passwords=(create_password(SECRET),),
        document={"web": uris, "spa": {"redirectUris": ["https://spa.test/"]}, **document},
    )
    await world.consent(MANAGER_APP_ID, "user_impersonation")
    await world.consent(GRAPH_APP_ID, "User.Read")


def web_app_parameters(world: World, **changes: str | None) -> dict[str, Any]:
    return {
        "tenant": world.TENANT,
        "client_id": world.APPLICATION,
        "redirect_uri": "https://web.test/signin?app=1",
        **changes,
    }


async def test_page_shows_kind_and_id_of_client(world: World, browser: Browser) -> None:
    """Attack: an application has the name of a well-known tool."""
    await register_web_app(world)
    await world.change(world.APPLICATION, name="Microsoft Azure CLI")
    page = await browser.authorize(**web_app_parameters(world))
    about = f"application of this directory, {world.APPLICATION}"
    assert about in page.text
    assert "goes to <code>https://web.test</code>" in page.text
    assert about in (await browser.sign_in(page, password="wrong")).text
    real = await browser.authorize()
    assert f"built-in tool, {AZ}" in real.text
    assert "goes to <code>http://localhost:8400</code>" in real.text
    start = await browser.get("/common/oauth2/deviceauth")
    await world.change(world.APPLICATION, document={"isFallbackPublicClient": True})
    path = f"/{world.TENANT}/oauth2/v2.0/devicecode"
    device = await world.post(path, client_id=world.APPLICATION, scope="openid")
    page = await browser.submit(start, user_code=device.body["user_code"])
    assert about in page.text
    assert "Continue only if you started that program" in page.text


@pytest.mark.parametrize(
    "uri", ["https://web.test/x#y", "https://web.test/ x", "https://web.test/é"]
)
def test_malformed_redirect_matches_nothing(uri: str) -> None:
    assert not clients.matches_redirect(uri, uri)
    assert clients.matches_redirect("https://web.test/x", "https://web.test/x")


@pytest.mark.parametrize("uri", ["javascript:alert(1)", "http://evil.test/cb"])
async def test_unsafe_registered_redirect_gets_no_code(
    world: World, browser: Browser, uri: str
) -> None:
    """Graph refuses such redirect URIs, but the stored document may come from another source."""
    uris = {"redirectUris": ["https://web.test/", uri]}
    await world.change(world.APPLICATION, document={"publicClient": uris})
    page = await browser.authorize(**web_app_parameters(world, redirect_uri=uri))
    assert "AADSTS50011" in page.error


# -------------------------------------------------------------------------------------- codes


async def test_code_is_redeemed_once(world: World, browser: Browser) -> None:
    code = await get_code(browser)
    assert (await redeem_code(world, code)).status == 200
    again = await redeem_code(world, code)
    assert (again.code, again.body["error"]) == (54005, "invalid_grant")


async def test_failed_redemption_invalidates_the_code(world: World, browser: Browser) -> None:
    """Otherwise an attacker could try a stolen code with many verifiers."""
    verifier, challenge = pkce()
    code = await get_code(browser, code_challenge=challenge, code_challenge_method="S256")
    assert (await redeem_code(world, code, code_verifier="x" * 43)).code == 501481
    assert (await redeem_code(world, code, code_verifier=verifier)).code == 54005


async def test_code_expires_after_ten_minutes(world: World, browser: Browser) -> None:
    code = await get_code(browser)
    world.now += codes.CODE_SECONDS
    assert (await redeem_code(world, code)).code == 70008


async def test_code_requires_its_client_redirect_and_tenant(world: World, browser: Browser) -> None:
    other = "1950a258-227b-4e31-a9cf-717495945fc2"
    assert (await redeem_code(world, await get_code(browser), client_id=other)).code == 70000
    moved = await redeem_code(world, await get_code(browser), redirect_uri=LOOPBACK + "/")
    assert (moved.code, moved.status) == (500112, 401)
    elsewhere = f"/{world.OTHER_TENANT}/oauth2/v2.0/token"
    assert (await redeem_code(world, await get_code(browser), elsewhere)).code == 700005
    assert (await redeem_code(world, "made-up")).code == 70000


async def test_code_verifier_must_match_challenge(world: World, browser: Browser) -> None:
    verifier, challenge = pkce()
    code = await get_code(browser, code_challenge=challenge, code_challenge_method="S256")
    assert (await redeem_code(world, code)).code == 501481
    # An attacker removed the challenge from the request; the client still sends its verifier.
    assert (
        await redeem_code(world, await get_code(browser), code_verifier=verifier)
    ).code == 501481


@pytest.mark.parametrize(
    "asked",
    [
        {"code_challenge": "A" * 43, "code_challenge_method": "plain"},
        {"code_challenge": "A" * 43},
        {"code_challenge": "A" * 42, "code_challenge_method": "S256"},
        {"code_challenge": "A" * 42 + "=", "code_challenge_method": "S256"},
        {"code_challenge": "", "code_challenge_method": "plain"},
    ],
)
async def test_only_s256_challenge_is_accepted(browser: Browser, asked: dict[str, str]) -> None:
    page = await browser.authorize(**asked)
    assert page.response["error"] == "invalid_request"
    assert "AADSTS501491" in page.response["error_description"]


async def test_web_application_redeems_codes_with_its_secret(
    world: World, browser: Browser
) -> None:
    await register_web_app(world)
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    how = {"client_id": world.APPLICATION, "redirect_uri": "https://web.test/signin?app=1"}
    page = await browser.sign_in(await browser.authorize(**web_app_parameters(world)))
    assert page.location.startswith("https://web.test/signin?app=1&code=")
    assert (await redeem_code(world, page.response["code"], path, **how)).code == 7000218
    code = await get_code(browser, **web_app_parameters(world))
    wrong = await redeem_code(world, code, path, **how, client_secret="no")
    assert wrong.code == 7000215
    code = await get_code(browser, **web_app_parameters(world))
    answer = await redeem_code(world, code, path, **how, client_secret=SECRET)
    assert answer.status == 200, answer.body
    assert answer.claims()["appidacr"] == "1"


@pytest.mark.parametrize("is_public", [False, True])
async def test_refresh_token_of_an_authenticated_client_requires_its_secret(
    world: World, browser: Browser, is_public: bool
) -> None:
    """Attack: a stolen refresh token, also of an application that is allowed as a public client."""
    await register_web_app(world, isFallbackPublicClient=is_public)
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    redeem = {"client_id": world.APPLICATION, "redirect_uri": "https://web.test/signin?app=1"}
    code = await get_code(browser, **web_app_parameters(world))
    answer = await redeem_code(world, code, path, **redeem, client_secret=SECRET)
    refresh = {
        "grant_type": "refresh_token",
        "client_id": world.APPLICATION,
        "refresh_token": answer.body["refresh_token"],
        "scope": "openid",
    }
    assert (await world.post(path, **refresh)).code == 7000218
    assert (await world.post(path, **refresh, client_secret=SECRET)).status == 200


async def test_secret_with_public_redirect_is_refused(world: World, browser: Browser) -> None:
    await public_app(world)
    await world.change(world.APPLICATION, passwords=(create_password(SECRET),))
    await world.consent(MANAGER_APP_ID, "user_impersonation")
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    how = {"client_id": world.APPLICATION, "redirect_uri": "https://app.test/callback"}
    code = await get_code(browser, tenant=world.TENANT, **how)
    assert (await redeem_code(world, code, path, **how, client_secret=SECRET)).code == 700025
    code = await get_code(browser, tenant=world.TENANT, **how)
    assert (await redeem_code(world, code, path, **how)).status == 200


async def test_single_page_application_requires_code_challenge(
    world: World, browser: Browser
) -> None:
    await register_web_app(world)
    page = await browser.authorize(**web_app_parameters(world, redirect_uri="https://spa.test/"))
    assert "AADSTS9002325" in page.response["error_description"]


# ------------------------------------------------------------------------------------ redirects


@pytest.mark.parametrize(
    "redirect",
    [
        "http://localhost.evil.test/",
        "http://localhost./",
        "http://localhost:80@evil.test/",
        "http://user@localhost/",
        "http://LOCALHOST/",
        "http://localhost:99999",
        "http://localhost:8400/elsewhere",
        "http://localhost:8400#fragment",
        "http://localhost:8400?x=1",
        "http://127.0.0.1:8400",
        "http://[::1]:8400",
        "https://localhost:8400",
        "http://localhost%2eevil.test",
        "http://localhost\\@evil.test",
        "//localhost",
        "javascript:alert(1)//http://localhost",
        "data:text/html,x",
        "http://localhost:8400\r\nSet-Cookie: a=b",
        "urn:ietf:wg:oauth:2.0:oob",
        "http://localhost" + "/" * 3000,
    ],
)
async def test_tool_redirect_must_be_loopback(browser: Browser, redirect: str) -> None:
    page = await browser.authorize(redirect_uri=redirect)
    assert (page.status, page.location) == (400, "")
    assert "AADSTS50011" in page.error


@pytest.mark.parametrize(
    "redirect", ["http://localhost", "http://localhost/", "http://localhost:1/"]
)
async def test_tool_redirect_may_have_any_port(browser: Browser, redirect: str) -> None:
    page = await browser.sign_in(await browser.authorize(redirect_uri=redirect))
    assert page.location.startswith(redirect + "?code=")


@pytest.mark.parametrize(
    "redirect",
    [
        *("https://web.test/signin", "https://web.test/signin?app=1&more=2"),
        *("https://web.test/signin?app=1/", "https://web.test./signin?app=1"),
        *("https://WEB.test/signin?app=1", "https://web.test:443/signin?app=1"),
        *("https://web.test/a/../signin?app=1", "https://evil.test/?https://web.test/signin?app=1"),
        *("http://web.test/signin?app=1", "http://localhost:8400/"),
        *("http://localhost:8400/cb/", "http://127.0.0.1/cb"),
    ],
)
async def test_application_redirect_must_be_registered(
    world: World, browser: Browser, redirect: str
) -> None:
    await register_web_app(world)
    page = await browser.authorize(**web_app_parameters(world, redirect_uri=redirect))
    assert (page.status, page.location) == (400, "")
    assert "AADSTS50011" in page.error
    fine = await browser.authorize(
        **web_app_parameters(world, redirect_uri="http://localhost:9/cb")
    )
    assert fine.status == 200


async def test_application_without_redirects_is_refused(world: World, browser: Browser) -> None:
    page = await browser.authorize(**web_app_parameters(world))
    assert "AADSTS900971" in page.error


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"client_id": "99999999-9999-4999-8999-999999999999"}, 700016),
        ({"client_id": None}, 900144),
        ({"redirect_uri": None}, 900144),
        ({"state": "x" * 5000}, 9002313),
        ({"tenant": "consumers"}, 9001023),
        ({"tenant": "nowhere.test"}, 90002),
    ],
)
async def test_error_before_client_verification_is_shown_on_page(
    browser: Browser, changes: dict[str, Any], number: int
) -> None:
    page = await browser.authorize(**changes)
    assert (page.status, page.location) == (400, "")
    assert f"AADSTS{number}" in page.error


@pytest.mark.parametrize(
    ("changes", "error", "number"),
    [
        ({"response_type": "token"}, "unsupported_response_type", 70005),
        ({"response_type": "code id_token"}, "unsupported_response_type", 70005),
        ({"response_type": None}, "unsupported_response_type", 70005),
        ({"response_mode": "web_message"}, "invalid_request", 70007),
        ({"scope": None}, "invalid_request", 900144),
        ({"scope": "https://a.test/.default https://b.test/.default"}, "invalid_request", 700022),
        ({"scope": "https://a.test/<b>"}, "invalid_scope", 70011),
        ({"prompt": "none"}, "login_required", 50058),
    ],
)
async def test_error_after_client_verification_is_sent_to_client(
    browser: Browser, changes: dict[str, Any], error: str, number: int
) -> None:
    page = await browser.authorize(**changes)
    assert (page.status, page.response["error"]) == (302, error)
    assert f"AADSTS{number}" in page.response["error_description"]
    assert page.response["state"] == "the-state"


@pytest.mark.parametrize(("coding", "body", "status"), REFUSED)
async def test_page_refuses_invalid_compressed_form(
    browser: Browser, coding: str, body: bytes, status: int
) -> None:
    page = await browser.post("/common/login", body, {"Content-Encoding": coding})
    assert (page.status, "AADSTS9002313" in page.text) == (status, True)


async def test_response_uses_requested_response_mode(browser: Browser) -> None:
    page = await browser.sign_in(await browser.authorize(response_mode="fragment"))
    assert page.location.startswith(LOOPBACK + "#code=")
    page = await browser.sign_in(await browser.authorize(response_mode="form_post"))
    assert (page.status, page.action) == (200, LOOPBACK)
    assert page.fields["state"] == "the-state"
    assert page.fields["code"]
    policy = page.headers["Content-Security-Policy"]
    script = re.search("<script>(.*)</script>", page.text)
    assert script is not None
    assert "script-src 'sha256-" in policy
    assert f"form-action 'self' {LOOPBACK}" in policy


async def test_cancel_sends_access_denied_to_client(browser: Browser) -> None:
    page = await browser.sign_in(await browser.authorize(), step="cancel")
    assert (page.response["error"], page.response["state"]) == ("access_denied", "the-state")


async def test_user_of_another_tenant_is_refused(world: World, browser: Browser) -> None:
    page = await browser.sign_in(await browser.authorize(tenant=world.OTHER_TENANT))
    assert "does not exist" in page.error


async def test_application_with_required_assignment_refuses_other_users(
    world: World, browser: Browser
) -> None:
    await register_web_app(world)
    await world.change(world.APPLICATION, principal={"appRoleAssignmentRequired": True})
    page = await browser.sign_in(await browser.authorize(**web_app_parameters(world)))
    assert "is not assigned to the application" in page.error
    await assign_app_role(world, world.ADMIN_ID, "00000000-0000-0000-0000-000000000000")
    assert (await browser.sign_in(page)).status == 302


# --------------------------------------------------------------------------- forms of other sites


async def test_form_without_cookie_of_browser_is_refused(world: World, browser: Browser) -> None:
    page = await browser.authorize()
    async with browsing(world) as other:
        stolen = await other.sign_in(page)
        assert (stolen.status, stolen.location) == (400, "")
        assert "AADSTS165000" in stolen.error
        await other.authorize()
        assert "AADSTS165000" in (await other.sign_in(page)).error
    assert (await browser.sign_in(page)).status == 302


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_form_of_another_site_is_refused(world: World, browser: Browser, site: str) -> None:
    page = await browser.authorize()
    fields = {**page.fields, "username": world.ADMIN, "password": world.PASSWORD}
    sent = await browser.post("/common/login", fields, {"Sec-Fetch-Site": site})
    assert "AADSTS165000" in sent.error
    assert (await browser.post("/common/login", fields, {"Sec-Fetch-Site": "same-origin"})).location


async def test_changed_expired_or_foreign_form_token_is_refused(
    world: World, browser: Browser
) -> None:
    page = await browser.authorize()
    for text in ("", "made-up", page.fields["flow"][:-4] + "AAAA"):
        assert "AADSTS50089" in (await browser.sign_in(page, flow=text)).error
    refresh = (await redeem_code(world, await get_code(browser))).body["refresh_token"]
    assert "AADSTS50089" in (await browser.sign_in(page, flow=refresh)).error
    world.now += 1800
    assert "AADSTS50089" in (await browser.sign_in(page)).error


async def test_form_token_is_not_accepted_as_refresh_token(world: World, browser: Browser) -> None:
    page = await browser.authorize()
    token = page.fields["flow"]
    how = {"grant_type": "refresh_token", "client_id": AZ, "refresh_token": token}
    answer = await world.post("/organizations/oauth2/v2.0/token", **how, scope="openid")
    assert answer.code == 70000


@pytest.mark.parametrize(
    "path", ["/organizations/oauth2/v2.0/authorize", "/common/oauth2/deviceauth"]
)
async def test_pages_cannot_be_framed_and_load_no_resources(browser: Browser, path: str) -> None:
    page = await browser.authorize() if "authorize" in path else await browser.get(path)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'none'" in policy
    assert "base-uri 'none'" in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cache-Control"] == "no-store"
    cookie = page.headers["Set-Cookie"]
    for part in ("__Host-", "; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"):
        assert part in cookie
    assert not re.findall(r"(?:src|href)=", page.text)
    assert "It does not belong to Microsoft" in page.text
    assert 'lang="en"' in page.text
    for identifier in re.findall(r'<input type="(?:text|password)" id="(\w+)"', page.text):
        assert f'<label for="{identifier}">' in page.text


NASTY = "\"'><script>alert(1)</script>&lt;"


async def test_values_of_callers_are_escaped(world: World, browser: Browser) -> None:
    scope = {"id": NASTY, "value": NASTY, "userConsentDisplayName": NASTY}
    scope |= {"userConsentDescription": NASTY}
    await public_app(
        world,
        api={"oauth2PermissionScopes": [scope]},
        requiredResourceAccess=[
            {
                "resourceAppId": world.APPLICATION,
                "resourceAccess": [{"id": NASTY.lower(), "type": "Scope"}],
            }
        ],
    )
    await world.change(world.APPLICATION, name=NASTY)
    how: dict[str, Any] = {
        "tenant": world.TENANT,
        "client_id": world.APPLICATION,
        "redirect_uri": "https://app.test/callback",
        "response_mode": "form_post",
        "state": NASTY,
        "login_hint": NASTY,
        "scope": f"{world.APPLICATION}/.default",
    }
    page = await browser.authorize(**how)
    assert "alert(1)" in page.text
    assert "<script>" not in page.text
    failed = await browser.sign_in(page, username=NASTY)
    assert "<script>" not in failed.text
    asked = await browser.sign_in(failed)
    assert asked.text.count("alert(1)") > 4
    assert "<script>" not in asked.text
    done = await browser.submit(asked, step="accept")
    assert done.text.count("<script>") == 1
    assert done.fields["state"] == NASTY
    refused = await browser.authorize(client_id=NASTY)
    assert "<script>" not in refused.text
    typed = await browser.get("/common/oauth2/deviceauth", user_code=NASTY)
    assert "<script>" not in typed.text


# ------------------------------------------------------------------------------------- devices


async def test_device_code_expires(world: World, browser: Browser) -> None:
    device = await start_device_flow(world)
    world.now += codes.DEVICE_SECONDS
    answer = await poll_device_code(world, device["device_code"])
    assert (answer.code, answer.body["error"]) == (70020, "expired_token")
    page = await browser.get("/common/oauth2/deviceauth")
    page = await browser.submit(page, user_code=device["user_code"])
    assert "expired" in page.error


async def test_pending_device_code_is_not_evicted(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a client requests device codes until the pending code of another client is evicted."""
    monkeypatch.setattr(codes, "MAX_STORED", 3)
    waiting = await start_device_flow(world)
    for _ in range(2):
        await start_device_flow(world)
    path, asked = f"/{world.TENANT}/oauth2/v2.0/devicecode", {"client_id": AZ, "scope": "openid"}
    refused = await world.post(path, **asked)
    assert (refused.code, refused.status) == (90055, 429)
    assert refused.headers["Retry-After"] == "60"
    assert (await poll_device_code(world, waiting["device_code"])).code == 70016
    page = await browser.get("/common/oauth2/deviceauth")
    assert "Azure CLI" in (await browser.submit(page, user_code=waiting["user_code"])).text
    # Expired codes free space.
    world.now += codes.DEVICE_SECONDS
    assert (await world.post(path, **asked)).status == 200
    assert (await poll_device_code(world, waiting["device_code"])).code == 70018


async def test_too_frequent_polls_get_slow_down(world: World) -> None:
    device = await start_device_flow(world)
    assert (await poll_device_code(world, device["device_code"])).body[
        "error"
    ] == "authorization_pending"
    hasty = await poll_device_code(world, device["device_code"])
    assert (hasty.code, hasty.body["error"]) == (50196, "slow_down")
    world.now += 5
    assert (await poll_device_code(world, device["device_code"])).code == 70016


async def test_declined_device_code_gets_authorization_declined(
    world: World, browser: Browser
) -> None:
    device = await start_device_flow(world)
    page = await browser.get("/common/oauth2/deviceauth", user_code=device["user_code"])
    page = await browser.submit(page, user_code=device["user_code"])
    page = await browser.submit(page, step="cancel")
    assert "Cancelled" in page.text
    answer = await poll_device_code(world, device["device_code"])
    assert (answer.code, answer.body["error"]) == (65004, "authorization_declined")
    assert (await poll_device_code(world, device["device_code"])).code == 70018


async def test_device_code_of_another_client_is_refused(world: World) -> None:
    device = await start_device_flow(world)
    other = "1950a258-227b-4e31-a9cf-717495945fc2"
    answer = await poll_device_code(world, device["device_code"], client_id=other)
    assert (answer.code, answer.body["error"]) == (70018, "bad_verification_code")
    assert (await poll_device_code(world, "made-up")).code == 70018
    assert (await poll_device_code(world, device["user_code"])).code == 70018


async def test_user_code_is_accepted_once(world: World, browser: Browser) -> None:
    device = await start_device_flow(world)
    start = await browser.get("/common/oauth2/deviceauth")
    page = await browser.submit(start, user_code=device["user_code"])
    assert "You are signed in" in (await browser.sign_in(page)).text
    again = await browser.submit(start, user_code=device["user_code"])
    assert "unknown" in again.error


async def test_wrong_user_codes_are_limited(world: World, browser: Browser) -> None:
    device = await start_device_flow(world)
    page = await browser.get("/common/oauth2/deviceauth")
    for number in range(codes.MAX_WRONG_CODES):
        wrong = await browser.submit(page, user_code=f"AAAAAAA{number:02d}")
        assert wrong.status == 400
    stopped = await browser.submit(page, user_code=device["user_code"])
    assert (stopped.status, "Too many" in stopped.error) == (429, True)
    world.now += codes.WRONG_CODE_SECONDS
    assert "Azure CLI" in (await browser.submit(page, user_code=device["user_code"])).text


async def test_device_code_for_confidential_application_is_refused(world: World) -> None:
    path = f"/{world.TENANT}/oauth2/v2.0/devicecode"
    answer = await world.post(path, client_id=world.APPLICATION, scope="openid")
    assert (answer.code, answer.status) == (7000218, 401)
    await public_app(world)
    assert (await world.post(path, client_id=world.APPLICATION, scope="openid")).status == 200
    assert (await world.post(path, client_id=world.APPLICATION)).code == 900144
    assert (await world.send(path, method="GET")).code == 900561
    # The scope is stored for 15 minutes, and every client may request a code.
    long = " ".join(f"api://{world.APPLICATION}/p{number}" for number in range(200))
    assert (await world.post(path, client_id=world.APPLICATION, scope=long)).code == 70011


async def test_verification_uri_has_origin_for_browsers(start: Any) -> None:
    world = await start(pages_origin="https://login.windows.net")
    device = await start_device_flow(world)
    assert device["verification_uri"] == "https://login.windows.net/common/oauth2/deviceauth"
    path = f"/{world.TENANT}/v2.0/.well-known/openid-configuration"
    document = (await world.send(path, method="GET")).body
    page = f"https://login.windows.net/{world.TENANT}/oauth2/v2.0/authorize"
    assert document["authorization_endpoint"] == page
    assert document["token_endpoint"].startswith(world.url)


async def test_longest_state_is_returned_unchanged(browser: Browser) -> None:
    state = "\U0001f511" * 1500
    page = await browser.authorize(state=state, response_mode="form_post")
    page = await browser.sign_in(page)
    assert page.fields["state"] == state
