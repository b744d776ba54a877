"""Who is in the directory while it is under load."""

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import replace

from podpass import names
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    IdentityKind,
    PasswordCredential,
)
from podpass.directory.store.directory import Directory
from tests.soak.lane import TENANT

STABLE = 20
APPLICATION = "44444444-4444-4444-8444-444444444444"
DISABLED = "55555555-5555-4555-8555-555555555555"
WITHOUT_CREDENTIALS = "66666666-6666-4666-8666-666666666666"
ADMINISTRATOR = "77777777-7777-4777-8777-777777777777"
SECRET = "abc8Q~a-secret-that-only-this-directory-knows-1"


def client(number: int) -> str:
    """Name the client id of one of those whom nobody changes."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"client {number}"))


def account(number: int) -> str:
    """Name its ServiceAccount."""
    return f"account-{number}"


def credential(issuer: str, name: str) -> FederatedCredential:
    """Trust an account of the namespace `default`."""
    return FederatedCredential(
        name=f"of-{name}",
        issuer=issuer,
        subject=names.subject("default", name),
        audiences=(names.EXCHANGE_AUDIENCE,),
    )


def identity(client_id: str, name: str, *credentials: FederatedCredential) -> Identity:
    """Make a managed identity."""
    return Identity(
        tenant_id=TENANT.id,
        client_id=client_id,
        object_id=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"object of {client_id}")),
        name=name,
        resource_id=f"/subscriptions/s/resourcegroups/g/providers/x/y/{name}",
        credentials=credentials,
    )


def everybody(issuer: str) -> Iterator[Identity]:
    for number in range(STABLE):
        yield identity(client(number), account(number), credential(issuer, account(number)))
    yield identity(WITHOUT_CREDENTIALS, "trusts-nobody")
    off = identity(DISABLED, "switched-off", credential(issuer, "switched-off"))
    yield replace(off, enabled=False)
    yield Identity(
        tenant_id=TENANT.id,
        client_id=APPLICATION,
        object_id=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"object of {APPLICATION}")),
        name="with-a-secret",
        kind=IdentityKind.APPLICATION,
        passwords=(
            PasswordCredential(
                key_id=APPLICATION,
                display_name="the one",
                hint=SECRET[:3],
                digest=hashlib.sha256(SECRET.encode()).digest(),
                begins=0,
                expires=4e9,
            ),
        ),
    )


async def settle(directory: Directory, issuer: str) -> None:
    """Write them."""
    await directory.create_tenant(TENANT)
    for one in everybody(issuer):
        await directory.identities.put(one)
