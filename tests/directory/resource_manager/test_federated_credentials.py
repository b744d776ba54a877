"""Federated credentials of managed identities: every rule, with the status of Azure."""

import asyncio
from typing import Any

import pytest

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
PARENT = f"{SUB}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"
ALL = f"{PARENT}/federatedIdentityCredentials"
ONE = f"{ALL}/pod"
EXPRESSION = {"value": "claims['sub'] matches 'organization:a:*'", "languageVersion": 1}
PREVIEW = "2025-01-31-preview"
ISSUER = "https://eastus.oic.prod-aks.azure.com/tenant/cluster/"

NO_NAMES = ["ab", "-pod", "_pod", "p.od", "p%20od", "pod=", "x" * 121, "%C3%A4bc"]
NO_HTTPS_URLS = (
    *("issuer.example", "https://", "https:///x", "ftp://x/", "https://good@evil.example/"),
    *("https://[::1", "https://x:99999/", "https://x:0/"),
)


def credential(**changes: Any) -> dict[str, Any]:
    properties = {
        "issuer": ISSUER,
        "subject": "system:serviceaccount:default:web",
        "audiences": ["api://AzureADTokenExchange"],
    }
    kept = {name: value for name, value in (properties | changes).items() if value is not None}
    return {"properties": kept}


@pytest.fixture
async def web(manager: Any) -> dict[str, Any]:
    await manager.group()
    made = await manager.identity()
    assert isinstance(made, dict)
    return made


async def test_credential_is_written_shown_changed_and_deleted(
    manager: Any, web: dict[str, Any]
) -> None:
    status, body, _ = await manager.send("PUT", ONE, credential())
    assert status == 201
    assert body["id"] == f"{web['id']}/federatedIdentityCredentials/pod"
    assert body["type"].endswith("userAssignedIdentities/federatedIdentityCredentials")
    assert body["properties"] == credential()["properties"]
    assert (await manager.send("GET", ONE.upper().replace(SUB.upper(), SUB)))[1] == body
    status, body, _ = await manager.send("PUT", f"{ALL}/POD", credential(subject="other"))
    # Names are case-insensitive: the existing credential is returned with its own spelling.
    assert (status, body["name"], body["properties"]["subject"]) == (200, "pod", "other")
    assert (await manager.send("PUT", ONE, credential(subject="other")))[0] == 200
    status, body, _ = await manager.send("DELETE", ONE)
    assert (status, body) == (200, None)
    assert (await manager.send("DELETE", ONE))[0] == 204
    assert await manager.refused("GET", ONE) == "404 NotFound"


async def test_leading_and_trailing_spaces_are_preserved(manager: Any, web: dict[str, Any]) -> None:
    _, body, _ = await manager.send("PUT", ONE, credential(subject=" a "))
    assert body["properties"]["subject"] == " a "
    found = await manager.directory.find_identity(TENANT, web["properties"]["clientId"])
    assert found.credentials[0].subject == " a "


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"properties": None},
        {"properties": {}},
        credential(issuer=None),
        credential(subject=None),
        credential(audiences=None),
        credential(audiences=[]),
        credential(audiences=["a", "b"]),
        credential(issuer=""),
        credential(issuer="http://issuer.example"),
        credential(issuer="https://" + "x" * 593),
        credential(subject=""),
        credential(subject="x" * 601),
        credential(subject="system:serviceaccount:default:*"),
        credential(subject="a\nb"),
        credential(audiences=["x" * 601]),
        credential(audiences=[""]),
        *(credential(issuer=issuer) for issuer in NO_HTTPS_URLS),
        *(credential(issuer=f"https://x{sign}") for sign in ("\nforged", "\0")),
        *(credential(subject=text) for text in (" ", "a\0")),
        *(credential(audiences=[text]) for text in (" ", "a\nb", "a\0")),
        # A stable version of the API has no expressions.
        credential(subject=None, claimsMatchingExpression=EXPRESSION),
    ],
)
async def test_invalid_managed_identity_credential_is_rejected(manager: Any, body: Any) -> None:
    assert await manager.refused("PUT", ONE, body) == "400 BadRequest"
    assert (await manager.send("GET", ALL))[1]["value"] == []


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    "body",
    [
        {"properties": []},
        credential(issuer=7),
        credential(audiences="a"),
        credential(audiences=[7]),
    ],
)
async def test_credential_members_of_a_wrong_type_are_rejected(manager: Any, body: Any) -> None:
    assert await manager.refused("PUT", ONE, body) == "400 InvalidRequestContent"


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(("written", "other"), [("one", "two"), ("two", "one"), ("new", "one")])
async def test_duplicate_trust_error_names_the_other_credential(
    manager: Any, written: str, other: str
) -> None:
    """The error names the other credential, also if the written credential precedes it in the list."""
    for name in ("one", "two"):
        await manager.send("PUT", f"{ALL}/{name}", credential(subject=name))
    status, body, _ = await manager.send("PUT", f"{ALL}/{written}", credential(subject=other))
    assert (status, body["error"]["code"]) == (400, "BadRequest")
    assert f"'{other}'" in body["error"]["message"]
    assert f"'{written}'" not in body["error"]["message"]


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    "value",
    [{"subject": "x" * 600}, {"issuer": "https://x/".ljust(600, "x")}, {"audiences": ["x" * 600]}],
)
async def test_value_of_600_characters_is_accepted(manager: Any, value: dict[str, Any]) -> None:
    assert (await manager.send("PUT", ONE, credential(**value)))[0] == 201


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("name", NO_NAMES)
async def test_invalid_credential_name_is_rejected(manager: Any, name: str) -> None:
    status, body, _ = await manager.send("PUT", f"{ALL}/{name}", credential())
    assert (status, body["error"]["code"]) == (400, "BadRequest")
    assert "name" in body["error"]["message"]


@pytest.mark.usefixtures("web")
async def test_duplicate_issuer_and_subject_are_rejected(manager: Any) -> None:
    await manager.send("PUT", ONE, credential())
    status, body, _ = await manager.send("PUT", f"{ALL}/second", credential())
    assert (status, body["error"]["code"]) == (400, "BadRequest")
    assert "'pod'" in body["error"]["message"]
    # Subjects are case-sensitive, as in the token exchange.
    other = credential(subject="system:serviceaccount:default:WEB")
    assert (await manager.send("PUT", f"{ALL}/second", other))[0] == 201


@pytest.mark.usefixtures("web")
async def test_credential_over_the_limit_of_20_is_refused(manager: Any) -> None:
    object.__setattr__(manager.subscription, "write_seconds", 0)
    for number in range(20):
        path, body = f"{ALL}/pod-{number}", credential(subject=f"s{number}")
        assert (await manager.send("PUT", path, body))[0] == 201
    status, body, _ = await manager.send("PUT", f"{ALL}/pod-20", credential(subject="s20"))
    assert (status, body["error"]["code"]) == (400, "BadRequest")
    assert "20" in body["error"]["message"]
    assert (await manager.send("PUT", f"{ALL}/pod-19", credential(subject="new")))[0] == 200
    pages = await manager.pages(f"{ALL}?$top=7")
    found = [name for page in pages for name in page]
    assert ([len(page) for page in pages], found) == ([7, 7, 6], sorted(found))


@pytest.mark.parametrize("region", ["malaysiasouth", "New Zealand North"])
async def test_credential_in_an_unsupported_region_is_rejected(manager: Any, region: str) -> None:
    await manager.group()
    await manager.identity(location=region)
    assert await manager.refused("PUT", ONE, credential()) == "405 MethodNotAllowed"
    assert (await manager.send("GET", ALL))[1]["value"] == []


async def test_credential_of_a_missing_identity_is_not_found(manager: Any) -> None:
    await manager.group()
    status, body, _ = await manager.send("PUT", ONE, credential())
    assert (status, body["error"]["code"]) == (404, "ParentResourceNotFound")
    assert (await manager.send("DELETE", ONE))[0] == 404
    for path in (ONE, ALL):
        assert await manager.refused("GET", path) == "404 ResourceNotFound"


async def test_concurrent_credential_write_is_rejected(manager: Any, web: dict[str, Any]) -> None:
    await manager.identity("other")
    elsewhere = ALL.replace("/web/", "/other/")
    paths = [f"{ALL}/pod-1", f"{ALL}/pod-2", f"{elsewhere}/pod-1"]
    asked = (manager.send("PUT", path, credential(subject=f"s{n}")) for n, path in enumerate(paths))
    answers = await asyncio.gather(*asked)
    statuses = [status for status, _, _ in answers]
    assert (sorted(statuses[:2]), statuses[2]) == ([201, 409], 201)
    [refused] = [body for status, body, _ in answers if status == 409]
    code = "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity"
    assert refused["error"]["code"] == code
    assert f"'{web['id'].lower()}'" in refused["error"]["message"]
    # The rejected credential was not stored, and can be written now.
    assert len((await manager.send("GET", ALL))[1]["value"]) == 1
    loser = paths[statuses.index(409)]
    assert (await manager.send("PUT", loser, credential(subject="later")))[0] == 201


@pytest.mark.usefixtures("web")
async def test_failed_write_releases_the_lock(manager: Any) -> None:
    assert (await manager.send("PUT", ONE, credential(subject="*")))[0] == 400
    assert (await manager.send("PUT", ONE, credential()))[0] == 201


async def test_write_to_an_identity_deleted_during_the_request_fails(
    manager: Any, web: dict[str, Any]
) -> None:
    writing = asyncio.create_task(manager.send("PUT", ONE, credential()))
    await asyncio.sleep(0.02)
    await manager.directory.identities.delete(TENANT, web["properties"]["clientId"])
    status, body, _ = await writing
    assert (status, body["error"]["code"]) == (404, "ParentResourceNotFound")


@pytest.mark.usefixtures("web")
async def test_expression_is_written_and_shown_by_a_preview_version(manager: Any) -> None:
    body = credential(
        issuer="https://app.terraform.io", subject=None, claimsMatchingExpression=EXPRESSION
    )
    status, made, _ = await manager.send("PUT", ONE, body, version=PREVIEW)
    assert (status, made["properties"]) == (201, body["properties"])
    assert (await manager.send("GET", ONE, version=PREVIEW))[1] == made
    [listed] = (await manager.send("GET", ALL, version=PREVIEW))[1]["value"]
    assert listed == made
    _, stable, _ = await manager.send("GET", ONE)
    assert not {"subject", "claimsMatchingExpression"} & stable["properties"].keys()


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    "body",
    [
        credential(subject=None, claimsMatchingExpression=EXPRESSION),
        credential(issuer="https://app.terraform.io", claimsMatchingExpression=EXPRESSION),
        credential(subject=None, claimsMatchingExpression={**EXPRESSION, "languageVersion": 2}),
        credential(subject=None, claimsMatchingExpression={"languageVersion": 1}),
    ],
)
async def test_invalid_expression_is_rejected(manager: Any, body: Any) -> None:
    """A cluster as issuer, a subject and an expression, another language, no value."""
    assert await manager.refused("PUT", ONE, body, version=PREVIEW) == "400 BadRequest"
