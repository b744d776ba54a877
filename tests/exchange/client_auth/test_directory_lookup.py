"""Directory lookups of the token service, with a real directory and without HTTP."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from podpass.crypto import jose
from podpass.database import Database
from podpass.directory.model import (
    AppRoleAssignment,
    FederatedCredential,
    Identity,
    IdentityKind,
    Tenant,
)
from podpass.directory.store.directory import Directory
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.assertion import UnverifiedAssertion, UnverifiedClaim
from podpass.exchange.client_auth.match import match
from podpass.exchange.errors.catalogue import AadstsError

TENANT = Tenant(id="11111111-1111-4111-8111-111111111111", display_name="Contoso")
# With letters, so that upper and lower case differ.
CLIENT = "abcdef01-abcd-4bcd-8bcd-abcdefabcdef"
CALLER = "22222222-2222-4222-8222-222222222222"
OTHER = "33333333-3333-4333-8333-333333333333"
A, B = "https://a.example", "https://b.example"
ANY_ROLE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    async with Directory(Database(f"sqlite:///{tmp_path / 'directory.db'}")) as directory:
        await directory.create_tenant(TENANT)
        yield directory


async def add_identities(directory: Directory, **changes: Any) -> Identity:
    values = {
        "tenant_id": TENANT.id,
        "client_id": CLIENT,
        "object_id": CLIENT.replace("a", "b"),
        "name": "web",
        "kind": IdentityKind.APPLICATION,
        **changes,
    }
    await directory.identities.put(Identity(**values))
    identity = await directory.find_identity(TENANT.id, CLIENT)
    assert identity is not None
    return identity


async def expect_refusal(
    directory: Directory, client: str = CLIENT, claim: UnverifiedClaim | None = None
) -> int:
    with pytest.raises(AadstsError) as caught:
        await directory_lookup.find_client(directory, TENANT, client, claim)
    return caught.value.entry.number


def credential(name: str, issuer: str, subject: str, audience: str) -> FederatedCredential:
    return FederatedCredential(name=name, issuer=issuer, subject=subject, audiences=(audience,))


async def test_client_id_is_case_insensitive(directory: Directory) -> None:
    identity = await add_identities(directory)
    for written in (CLIENT, CLIENT.upper()):
        assert await directory_lookup.find_client(directory, TENANT, written) == identity


async def test_unknown_or_disabled_client_is_refused_with_its_code(directory: Directory) -> None:
    assert await expect_refusal(directory) == 700016
    await add_identities(directory, enabled=False)
    assert await expect_refusal(directory) == 7000112
    await add_identities(directory, has_principal=False)
    assert await expect_refusal(directory) == 7000229
    assert await expect_refusal(directory, "web") == 700016


async def test_disabled_client_with_matching_credential_is_refused(directory: Directory) -> None:
    claim = UnverifiedClaim(A, "web", ["aud"])
    trust = (credential("one", A, "web", "aud"),)
    await add_identities(directory, enabled=False, credentials=trust)
    directory._session.clear_caches()
    assert await expect_refusal(directory, claim=claim) == 7000112
    await add_identities(directory, has_principal=False, credentials=trust)
    directory._session.clear_caches()
    assert await expect_refusal(directory, claim=claim) == 7000229
    assert await expect_refusal(directory, OTHER, claim) == 700016
    assert await expect_refusal(directory, "web", claim) == 700016


async def test_lookup_returns_the_matching_credential_or_all(directory: Directory) -> None:
    """The lookup by claim has the same result as a match against all credentials."""
    credentials = (
        credential("one", A, "web", "aud"),
        credential("two", A, "api", "other"),
        credential("three", B, "web", "other"),
        credential("four", B, "Api", "aud"),
    )
    whole = await add_identities(directory, credentials=credentials)
    single = 0
    for issuer, subject, audiences in itertools.product(
        (A, B, A + "/"), ("web", "api", "Api", "none"), (["aud"], ["other"], ["x"], ["x", "aud"])
    ):
        directory._session.clear_caches()
        claim = UnverifiedClaim(issuer, subject, audiences)
        found = await directory_lookup.find_client(directory, TENANT, CLIENT, claim)
        assert (found.object_id, found.resource_id) == (whole.object_id, whole.resource_id)
        assert verdict(claim, found) == verdict(claim, whole)
        single += len(found.credentials) == 1
    assert single == 6, "each of the four by its audience, two by two of these lists"


def verdict(claim: UnverifiedClaim, identity: Identity) -> object:
    token = jose.UnverifiedToken(header={}, claims={}, signed=b"", signature=b"")
    presented = UnverifiedAssertion(
        issuer=claim.issuer,
        subject=claim.subject,
        audiences=tuple(claim.audiences),
        expires=1,
        issued=0,
        not_before=None,
        key_id="k",
        token=token,
    )
    try:
        return match(presented, identity)
    except AadstsError as exc:
        return exc.entry.number, exc.facts


@pytest.mark.parametrize("required", [None, False])
async def test_application_without_assignment_requirement_needs_no_assignment(
    directory: Directory, required: object
) -> None:
    principal = {} if required is None else {"appRoleAssignmentRequired": required}
    application = await add_identities(directory, principal=principal)
    assert not await directory_lookup.is_assignment_missing(directory, application, CALLER)


@pytest.mark.parametrize("damage", ["true", "false", 1, 0, {}])
async def test_corrupt_assignment_flag_grants_nothing(directory: Directory, damage: object) -> None:
    application = await add_identities(directory, principal={"appRoleAssignmentRequired": damage})
    assert await directory_lookup.is_assignment_missing(directory, application, CALLER)


async def test_managed_identity_needs_no_assignment(directory: Directory) -> None:
    identity = await add_identities(
        directory,
        kind=IdentityKind.MANAGED_IDENTITY,
        resource_id="/subscriptions/s/identities/web",
        principal={"appRoleAssignmentRequired": True},
    )
    assert not await directory_lookup.is_assignment_missing(directory, identity, CALLER)


async def test_only_own_assignment_to_the_application_counts(directory: Directory) -> None:
    application = await add_identities(directory, principal={"appRoleAssignmentRequired": True})
    assert await directory_lookup.is_assignment_missing(directory, application, CALLER)
    for principal, resource, missing in (
        (OTHER, application.object_id, True),
        (CALLER, OTHER, True),
        (CALLER, application.object_id, False),
    ):
        await directory.app_roles.put(
            AppRoleAssignment(
                id="",
                principal_id=principal,
                principal_type="ServicePrincipal",
                resource_id=resource,
                app_role_id=ANY_ROLE,
            )
        )
        assert (
            await directory_lookup.is_assignment_missing(directory, application, CALLER) is missing
        )
