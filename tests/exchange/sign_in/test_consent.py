"""The consent page: what it asks for, for whom the answer is stored, and what a token has afterwards."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from podpass.directory import builtin_principals, delegated_permissions
from podpass.directory.resources import GRAPH_APP_ID, MANAGER_APP_ID, VAULT_APP_ID
from podpass.exchange.sign_in import consent_rules
from podpass.exchange.sign_in.consent_rules import RequestedPermission, ResourcePermissions
from podpass.exchange.sign_in.scope import RequestedScope, parse_resource, parse_scope
from tests.exchange.sign_in.browser import Browser, Page, browsing
from tests.exchange.sign_in.test_grants import public_app
from tests.exchange.world import ADMIN_ID, Start, World

REDIRECT = "https://app.test/callback"
USER_READ = "e1fe6dd8-ba31-4d61-89e7-88639da4683d"
IMPERSONATION = {
    MANAGER_APP_ID: "41094075-9dad-400e-a0bd-54e686782033",
    VAULT_APP_ID: "f53da476-18e3-4152-8e01-aec403e6edc0",
}
VAULT = "https://vault.azure.net"


@pytest.fixture
async def world(start: Start) -> World:
    return await start(administrators=(ADMIN_ID,))


@pytest.fixture
async def browser(world: World) -> AsyncIterator[Browser]:
    async with browsing(world) as opened:
        yield opened


def required(*app_ids: str) -> list[dict[str, Any]]:
    return [
        {
            "resourceAppId": app_id,
            "resourceAccess": [{"id": IMPERSONATION[app_id], "type": "Scope"}],
        }
        for app_id in app_ids
    ]


async def sign_in(world: World, browser: Browser, **changes: str | None) -> Page:
    how = {"tenant": world.TENANT, "client_id": world.APPLICATION, "redirect_uri": REDIRECT}
    return await browser.sign_in(await browser.authorize(**{**how, **changes}))


def listed_permissions(page: Page) -> list[str]:
    """Return the permissions that a page lists, with their resources."""
    return [
        part.partition("</code>")[0].removeprefix("<code>") for part in page.text.split("<dd>")[1:]
    ]


async def redeem(world: World, page: Page, scope: str) -> Any:
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    fields = {"grant_type": "authorization_code", "code": page.response["code"]}
    fields |= {"client_id": world.APPLICATION, "redirect_uri": REDIRECT, "scope": scope}
    return await world.post(path, **fields)


async def stored_grants(world: World) -> dict[tuple[str, str], str]:
    found = await world.directory.grants.page(world.TENANT)
    return {(one.principal_id, one.resource_id): one.scope for one in found}


async def test_default_scope_asks_for_every_registered_permission(
    world: World, browser: Browser
) -> None:
    await public_app(world, requiredResourceAccess=required(VAULT_APP_ID, MANAGER_APP_ID))
    page = await sign_in(world, browser, scope=f"{VAULT}/.default")
    assert listed_permissions(page) == [
        "Azure Key Vault: user_impersonation",
        *(f"Microsoft Graph: {name}" for name in ("openid", "profile", "email", "offline_access")),
        "Microsoft Graph: User.Read",
        "Azure Resource Manager: user_impersonation",
    ]
    page = await browser.submit(page, step="accept")
    answer = await redeem(world, page, f"{VAULT}/.default")
    assert answer.claims()["scp"] == "user_impersonation"
    # The registered permissions of all resources have consent now.
    again = await sign_in(world, browser, scope="https://management.azure.com/.default")
    assert again.response["code"]


async def test_named_scope_asks_for_that_permission_only(world: World, browser: Browser) -> None:
    await public_app(world, requiredResourceAccess=required(VAULT_APP_ID, MANAGER_APP_ID))
    page = await sign_in(world, browser, scope="User.Read openid")
    assert {each.partition(": ")[0] for each in listed_permissions(page)} == {"Microsoft Graph"}
    page = await sign_in(world, browser, scope=f"{VAULT}/user_impersonation")
    assert listed_permissions(page)[0] == "Azure Key Vault: user_impersonation"
    assert "Resource Manager" not in page.text


async def test_v1_endpoint_requests_the_permissions_of_the_default_scope(
    world: World, browser: Browser
) -> None:
    await public_app(world, requiredResourceAccess=required(VAULT_APP_ID))
    query = {"client_id": world.APPLICATION, "response_type": "code", "redirect_uri": REDIRECT}
    page = await browser.get(f"/{world.TENANT}/oauth2/authorize", **query, resource=VAULT)
    page = await browser.sign_in(page)
    assert "Azure Key Vault: user_impersonation" in listed_permissions(page)


async def test_administrator_can_consent_for_all_users(world: World, browser: Browser) -> None:
    await public_app(world)
    page = await sign_in(world, browser, scope="User.Read")
    assert "Consent for all users of this directory" in page.text
    await browser.submit(page, step="accept", organization="1")
    graph = builtin_principals.object_id(world.TENANT, GRAPH_APP_ID)
    everything = "openid profile email offline_access User.Read"
    assert await stored_grants(world) == {("", graph): everything}


async def test_prompt_parameter_requests_consent_again(world: World, browser: Browser) -> None:
    await public_app(world)
    page = await sign_in(world, browser, scope="User.Read")
    await browser.submit(page, step="accept")
    assert (await sign_in(world, browser, scope="User.Read")).response["code"]
    for prompt in ("consent", "admin_consent"):
        page = await sign_in(world, browser, scope="User.Read", prompt=prompt)
        assert "Microsoft Graph: User.Read" in listed_permissions(page)


async def test_second_consent_is_added_to_the_first(world: World, browser: Browser) -> None:
    await public_app(world)
    for scope in ("User.Read", "Mail.Read"):
        page = await sign_in(world, browser, scope=scope)
        page = await browser.submit(page, step="accept")
    answer = await redeem(world, page, "Mail.Read")
    # As at Entra, a token has every permission that the application holds in the resource.
    assert answer.claims()["scp"] == "User.Read Mail.Read"


@pytest.mark.parametrize("first", ["accept", "cancel"])
async def test_consent_form_is_accepted_once(world: World, browser: Browser, first: str) -> None:
    """The form has the approval of the user: a second submission would need no password."""
    await public_app(world)
    page = await sign_in(world, browser, scope="User.Read")
    sent = await browser.submit(page, step=first)
    assert ("code" in sent.response) is (first == "accept")
    for grant in await world.directory.grants.page(world.TENANT):
        await world.directory.grants.delete(grant.id)
    again = await browser.submit(page, step="accept")
    assert ("AADSTS50089" in again.error, again.location) == (True, "")
    assert await stored_grants(world) == {}
    fresh = await sign_in(world, browser, scope="User.Read")
    assert (await browser.submit(fresh, step="accept")).response["code"]


async def test_form_without_decision_is_refused(world: World, browser: Browser) -> None:
    await public_app(world)
    page = await sign_in(world, browser, scope="User.Read")
    assert "AADSTS9002313" in (await browser.submit(page, step="sign-in")).error
    assert await stored_grants(world) == {}


# ----------------------------------------------------------------------------------- the decision


def graph(*granted: str, registered: Sequence[str] = ()) -> ResourcePermissions:
    return ResourcePermissions(
        id="g",
        name="Microsoft Graph",
        is_graph=True,
        published=delegated_permissions.of_built_in(GRAPH_APP_ID, "Microsoft Graph"),
        registered=frozenset(registered),
        granted=frozenset(granted),
    )


def names(found: Sequence[RequestedPermission]) -> list[str]:
    return [each.permission.value for each in found]


@pytest.mark.parametrize(
    ("requested", "granted", "permissions"),
    [
        (parse_scope("User.Read"), (), None),
        (parse_scope("User.Read"), ("Mail.Read",), None),
        (parse_scope("User.Read"), ("User.Read",), ("User.Read",)),
        (parse_scope("User.Read openid"), ("User.Read",), ("User.Read",)),
        (parse_scope("User.Read openid"), ("User.Read", "openid"), ("openid", "User.Read")),
        (parse_scope("User.Read"), ("User.Read", "openid"), ("User.Read",)),
        (parse_scope("offline_access openid"), ("openid", "offline_access"), ("openid",)),
        (parse_scope("openid"), (), None),
        (parse_scope("https://graph.microsoft.com/.default"), (), None),
        (parse_scope("https://graph.microsoft.com/.default"), ("Made.Up",), None),
        (parse_resource("https://graph.microsoft.com"), ("Mail.Read",), ("Mail.Read",)),
    ],
)
def test_token_has_the_granted_permissions(
    requested: RequestedScope, granted: tuple[str, ...], permissions: tuple[str, ...] | None
) -> None:
    assert consent_rules.held_permissions(requested, graph(*granted)) == permissions


def test_only_missing_permissions_are_asked_for() -> None:
    found = graph("User.Read", "openid", "profile", "email", registered=["Mail.Read"])
    assert (
        names(consent_rules.needed_permissions(parse_scope("User.Read"), [found], prompt=False))
        == []
    )
    needed = consent_rules.needed_permissions(parse_scope("Mail.Send"), [found], prompt=False)
    assert names(needed) == ["offline_access", "Mail.Send"]
