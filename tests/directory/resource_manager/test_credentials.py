"""Federated credentials of managed identities: every rule, with the status that the real service answers."""

import asyncio
from typing import Any

import pytest

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
PARENT = f"{SUB}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"
ALL = f"{PARENT}/federatedIdentityCredentials"
ONE = f"{ALL}/pod"
ISSUER = "https://eastus.oic.prod-aks.azure.com/tenant/cluster/"


def credential(**changes: Any) -> dict[str, Any]:
    properties = {
        "issuer": ISSUER,
        "subject": "system:serviceaccount:default:web",
        "audiences": ["api://AzureADTokenExchange"],
    }
    kept = {name: value for name, value in (properties | changes).items() if value is not None}
    return {"properties": kept}


@pytest.fixture
async def web(world: Any) -> dict[str, Any]:
    await world.group()
    made = await world.identity()
    assert isinstance(made, dict)
    return made


async def test_a_credential_is_written_shown_changed_and_deleted(
    world: Any, web: dict[str, Any]
) -> None:
    status, body, _ = await world.ask("PUT", ONE, credential())
    assert status == 201
    assert body["id"] == f"{web['id']}/federatedIdentityCredentials/pod"
    assert body["type"].endswith("userAssignedIdentities/federatedIdentityCredentials")
    assert body["properties"] == credential()["properties"]
    assert (await world.ask("GET", ONE.upper().replace(SUB.upper(), SUB)))[1] == body
    status, body, _ = await world.ask("PUT", f"{ALL}/POD", credential(subject="other"))
    # Names are compared without case: this is the one that is there, under its own name.
    assert (status, body["name"], body["properties"]["subject"]) == (200, "pod", "other")
    assert (await world.ask("PUT", ONE, credential(subject="other")))[0] == 200
    status, body, _ = await world.ask("DELETE", ONE)
    assert (status, body) == (200, None)
    assert (await world.ask("DELETE", ONE))[0] == 204
    status, body, _ = await world.ask("GET", ONE)
    assert (status, body["error"]["code"]) == (404, "NotFound")


async def test_blanks_at_the_ends_stay(world: Any, web: dict[str, Any]) -> None:
    _, body, _ = await world.ask("PUT", ONE, credential(subject=" a "))
    assert body["properties"]["subject"] == " a "
    found = await world.directory.find_identity(TENANT, web["properties"]["clientId"])
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
        credential(subject=None, claimsMatchingExpression={"value": "x", "languageVersion": 1}),
    ],
)
async def test_a_credential_that_breaks_a_rule_is_refused(world: Any, body: Any) -> None:
    status, answer, _ = await world.ask("PUT", ONE, body)
    assert (status, answer["error"]["code"]) == (400, "BadRequest")
    assert (await world.ask("GET", ALL))[1]["value"] == []


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
async def test_members_of_another_kind_are_refused(world: Any, body: Any) -> None:
    status, answer, _ = await world.ask("PUT", ONE, body)
    assert (status, answer["error"]["code"]) == (400, "InvalidRequestContent")


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(("written", "other"), [("one", "two"), ("two", "one"), ("new", "one")])
async def test_the_credential_that_trusts_the_same_is_named(
    world: Any, written: str, other: str
) -> None:
    """The other one, also when the one that is written stands before it."""
    for name in ("one", "two"):
        await world.ask("PUT", f"{ALL}/{name}", credential(subject=name))
    status, body, _ = await world.ask("PUT", f"{ALL}/{written}", credential(subject=other))
    assert (status, body["error"]["code"]) == (400, "BadRequest")
    assert f"'{other}'" in body["error"]["message"]
    assert f"'{written}'" not in body["error"]["message"]


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    ("field", "length"), [("subject", 600), ("issuer", 600 - len("https://x/"))]
)
async def test_600_characters_are_accepted(world: Any, field: str, length: int) -> None:
    value = "x" * length if field == "subject" else "https://x/" + "x" * length
    assert (await world.ask("PUT", ONE, credential(**{field: value})))[0] == 201


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("name", ["ab", "-pod", "_pod", "p.od", "p%20od", "x" * 121])
async def test_a_name_no_credential_can_have_is_refused(world: Any, name: str) -> None:
    status, body, _ = await world.ask("PUT", f"{ALL}/{name}", credential())
    assert (status, body["error"]["code"]) == (400, "BadRequest")
    assert "name" in body["error"]["message"]


@pytest.mark.usefixtures("web")
async def test_issuer_and_subject_are_trusted_once(world: Any) -> None:
    await world.ask("PUT", ONE, credential())
    status, body, _ = await world.ask("PUT", f"{ALL}/second", credential())
    assert (status, body["error"]["code"]) == (400, "BadRequest")
    assert "'pod'" in body["error"]["message"]
    # Case tells subjects apart, as it does when they are matched.
    other = credential(subject="system:serviceaccount:default:WEB")
    assert (await world.ask("PUT", f"{ALL}/second", other))[0] == 201


@pytest.mark.usefixtures("web")
async def test_the_twenty_first_credential_is_refused(world: Any) -> None:
    object.__setattr__(world.place, "write_seconds", 0)
    for number in range(20):
        path, body = f"{ALL}/pod-{number}", credential(subject=f"s{number}")
        assert (await world.ask("PUT", path, body))[0] == 201
    status, body, _ = await world.ask("PUT", f"{ALL}/pod-20", credential(subject="s20"))
    assert (status, body["error"]["code"]) == (400, "BadRequest")
    assert "20" in body["error"]["message"]
    assert (await world.ask("PUT", f"{ALL}/pod-19", credential(subject="new")))[0] == 200
    pages = await world.pages(f"{ALL}?$top=7")
    found = [name for page in pages for name in page]
    assert ([len(page) for page in pages], found) == ([7, 7, 6], sorted(found))


@pytest.mark.parametrize("region", ["malaysiasouth", "New Zealand North"])
async def test_in_some_regions_identities_hold_none(world: Any, region: str) -> None:
    await world.group()
    await world.identity(location=region)
    status, body, _ = await world.ask("PUT", ONE, credential())
    assert (status, body["error"]["code"]) == (405, "MethodNotAllowed")
    assert (await world.ask("GET", ALL))[1]["value"] == []


async def test_without_its_identity_there_is_none(world: Any) -> None:
    await world.group()
    status, body, _ = await world.ask("PUT", ONE, credential())
    assert (status, body["error"]["code"]) == (404, "ParentResourceNotFound")
    assert (await world.ask("DELETE", ONE))[0] == 404
    for path in (ONE, ALL):
        status, body, _ = await world.ask("GET", path)
        assert (status, body["error"]["code"]) == (404, "ResourceNotFound")


async def test_two_writes_to_one_identity_at_once_are_one_too_many(
    world: Any, web: dict[str, Any]
) -> None:
    await world.identity("other")
    elsewhere = ALL.replace("/web/", "/other/")
    paths = [f"{ALL}/pod-1", f"{ALL}/pod-2", f"{elsewhere}/pod-1"]
    asked = (world.ask("PUT", path, credential(subject=f"s{n}")) for n, path in enumerate(paths))
    answers = await asyncio.gather(*asked)
    statuses = [status for status, _, _ in answers]
    assert (sorted(statuses[:2]), statuses[2]) == ([201, 409], 201)
    [refused] = [body for status, body, _ in answers if status == 409]
    code = "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity"
    assert refused["error"]["code"] == code
    assert f"'{web['id'].lower()}'" in refused["error"]["message"]
    # The one that was refused left nothing, and can be written now.
    assert len((await world.ask("GET", ALL))[1]["value"]) == 1
    loser = paths[statuses.index(409)]
    assert (await world.ask("PUT", loser, credential(subject="later")))[0] == 201


@pytest.mark.usefixtures("web")
async def test_a_write_that_fails_lets_the_next_one_through(world: Any) -> None:
    assert (await world.ask("PUT", ONE, credential(subject="*")))[0] == 400
    assert (await world.ask("PUT", ONE, credential()))[0] == 201


async def test_an_identity_that_goes_meanwhile_takes_the_write_along(
    world: Any, web: dict[str, Any]
) -> None:
    writing = asyncio.create_task(world.ask("PUT", ONE, credential()))
    await asyncio.sleep(0.02)
    await world.directory.identities.delete(TENANT, web["properties"]["clientId"])
    status, body, _ = await writing
    assert (status, body["error"]["code"]) == (404, "ParentResourceNotFound")
