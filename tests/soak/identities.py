"""The identities in the directory while it is under load."""

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import replace

from podpass import names
from podpass.directory.model import FederatedCredential, Identity, IdentityKind, PasswordCredential
from podpass.directory.store.directory import Directory
from podpass.kubernetes.service_account.names import subject
from tests.soak.lane import TENANT

STABLE = 20
APPLICATION = "44444444-4444-4444-8444-444444444444"
DISABLED = "55555555-5555-4555-8555-555555555555"
WITHOUT_CREDENTIALS = "66666666-6666-4666-8666-666666666666"
ADMINISTRATOR = "77777777-7777-4777-8777-777777777777"
SECRET = "abc8Q~a-secret-that-only-this-directory-knows-1"


def stable_client_id(number: int) -> str:
    """Return the client id of an identity that no test changes."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"client {number}"))


def account_name(number: int) -> str:
    """Return the name of its ServiceAccount."""
    return f"account-{number}"


def credential(issuer: str, name: str) -> FederatedCredential:
    """Return a federated credential for a ServiceAccount in the namespace `default`."""
    return FederatedCredential(
        name=f"of-{name}",
        issuer=issuer,
        subject=subject("default", name),
        audiences=(names.EXCHANGE_AUDIENCE,),
    )


def managed_identity(client_id: str, name: str, *credentials: FederatedCredential) -> Identity:
    """Return a managed identity."""
    return Identity(
        tenant_id=TENANT.id,
        client_id=client_id,
        object_id=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"object of {client_id}")),
        name=name,
        resource_id=f"/subscriptions/s/resourcegroups/g/providers/x/y/{name}",
        credentials=credentials,
    )


def all_identities(issuer: str) -> Iterator[Identity]:
    for number in range(STABLE):
        yield managed_identity(
            stable_client_id(number), account_name(number), credential(issuer, account_name(number))
        )
    yield managed_identity(WITHOUT_CREDENTIALS, "without-credentials")
    off = managed_identity(DISABLED, "switched-off", credential(issuer, "switched-off"))
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


async def create_identities(directory: Directory, issuer: str) -> None:
    """Create the tenant and all identities."""
    await directory.create_tenant(TENANT)
    for one in all_identities(issuer):
        await directory.identities.put(one)
