"""Group 19: a resource that is similar to a known one; tokens of the wrong version."""

import pytest

from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
VAULT = "https://vault.azure.net"


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ("https://vault.azure.net", 1002012),
        ("https://vault.azure.net.default", 1002012),
        ("https://vault.azure.net/.DEFAULT", 1002012),
        ("https://vault.azure.net/.default/", 1002012),
        ("https://vault.azure.net/.default#", 1002012),
        ("https://vault.azure.net/.default?x", 1002012),
        ("https://vault.azure.net/%2edefault", 1002012),
        ("https://vault.azure.net/user_impersonation", 1002012),
        ("https://vault.azure.net/.default https://vault.azure.net/x", 70011),
        ("https://vault.azure.net/.default https://storage.azure.com/.default", 700022),
        ("https://vault.azure.net/.default\thttps://storage.azure.com/.default", 700022),
        ("https://vault.azure.net/.default\0", 1002012),
        ("https://vault.azure.net\r\nX: y/.default", 70011),
        ("/.default", 70011),
        (".default", 1002012),
        ("vault/.default", 70011),
        ("https://\u0430/.default", 70011),
        ("https://vault.azure.net\u200b/.default", 70011),
        ("offline_access", 70011),
        ("openid profile", 70011),
        ("https://VAULT.azure.net.evil.test/.default", 500011),
        ("https://evil.test/https://vault.azure.net/.default", 500011),
        ("https://x@vault.azure.net/.default", 500011),
        ("https://vault.azure.net@evil.test/.default", 500011),
        ("http://vault.azure.net/.default", 500011),
        ("https://vault.azure.net:8443/.default", 500011),
        ("https://demo.vault.azure.net/.default", 500011),
        ("https://vault.azure.net/.default/.default", 500011),
        ("https://vault.azure.net///.default", 500011),
        ("https://vault.azure.net/x/.default", 500011),
        ("99999999-9999-4999-8999-999999999999/.default", 500011),
        ("api://33333333-3333-4333-8333-333333333333/.default", 500011),
    ],
)
async def test_scopes_similar_to_a_valid_scope_are_refused(
    shared: World, scope: str, code: int
) -> None:
    answer = await shared.request_token(scope=scope)
    assert answer.code == code
    assert "access_token" not in answer.body


@pytest.mark.parametrize(
    "resource",
    [
        *("https://vault.azure.net/.default", "https://vault.azure.net/x"),
        *("https://vault.azure.net https://storage.azure.com", "https://vault.azure.net\0"),
        *("https://evil.test", "vault.azure.net", "*"),
    ],
)
async def test_resources_similar_to_a_valid_resource_are_refused(
    shared: World, resource: str
) -> None:
    path = f"/{shared.TENANT}/oauth2/token"
    answer = await shared.request_token(path, scope=None, resource=resource)
    assert answer.status == 400
    assert answer.code in {500011, 50001}


@pytest.mark.parametrize("asked", [VAULT, f"{VAULT}/"])
async def test_version_1_token_has_the_requested_spelling_as_audience(
    shared: World, asked: str
) -> None:
    first = await shared.request_token(f"/{shared.TENANT}/oauth2/token", scope=None, resource=asked)
    second = await shared.request_token(scope=f"{asked}/.default")
    for answer in (first, second):
        claims = answer.claims()
        assert (claims["aud"], claims["ver"]) == (asked, "1.0")
        assert claims["iss"] == f"https://sts.windows.net/{shared.TENANT}/"


async def test_token_version_depends_on_the_resource_and_not_on_the_endpoint(shared: World) -> None:
    """A validator of v1 tokens must not receive a v2 token because of the endpoint that was used."""
    app = f"api://{shared.APPLICATION}"
    for path, fields in (
        (f"/{shared.TENANT}/oauth2/token", {"scope": None, "resource": app}),
        (None, {"scope": f"{app}/.default"}),
        (None, {"scope": f"{shared.APPLICATION}/.default"}),
    ):
        claims = (await shared.request_token(path, **fields)).claims()
        assert (claims["aud"], claims["ver"]) == (shared.APPLICATION, "2.0")
        assert "appid" not in claims


async def test_request_with_scope_and_resource_gets_one_resource(shared: World) -> None:
    answer = await shared.request_token(resource="https://storage.azure.com")
    assert answer.code == 901002
    path = f"/{shared.TENANT}/oauth2/token"
    answer = await shared.request_token(
        path, resource=VAULT, scope="https://storage.azure.com/.default"
    )
    assert answer.claims()["aud"] == VAULT
