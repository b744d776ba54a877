"""Federated credentials of managed identities.

Source:  https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from podpass.directory import rules
from podpass.directory.errors import (
    InvalidCredential,
    NotFound,
    TooManyCredentials,
    TrustNotUnique,
)
from podpass.directory.model import FederatedCredential, Identity
from podpass.directory.resource_manager import identities, lists, locations, refusals, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route

TYPE = f"{identities.TYPE}/federatedIdentityCredentials"


def write(identity: Identity, credential: FederatedCredential) -> dict[str, Any]:
    """Write a credential as clients read it."""
    return {
        "id": f"{identity.resource_id}/federatedIdentityCredentials/{credential.name}",
        "name": credential.name,
        "type": TYPE,
        "properties": {
            "issuer": credential.issuer,
            "subject": credential.subject,
            "audiences": list(credential.audiences),
        },
    }


def read(call: Call, name: str) -> FederatedCredential:
    """Read a credential; issuer, subject and audience are kept byte for byte.

    Errors:  ManagerRefusal.
    """
    given = wire.inner(call.body, "properties")
    if not given:
        raise _bad("A federated identity credential's 'properties' are empty.")
    if given.get("claimsMatchingExpression") is not None:
        raise _bad("Expressions that match claims are not in podpass; name the 'subject'.")
    # The rules say at what length each is too long; this only bounds what is read.
    issuer, subject = (wire.text(given, one, limit=4096) for one in ("issuer", "subject"))
    audiences = wire.texts(given, "audiences")
    if issuer is None or subject is None or audiences is None:
        raise _bad("A federated identity credential needs 'issuer', 'subject' and 'audiences'.")
    if len(audiences) != 1:
        raise _bad(
            "A federated identity credential has exactly one audience,"
            f" in most clouds api://AzureADTokenExchange, not {len(audiences)}."
        )
    return FederatedCredential(name=name, issuer=issuer, subject=subject, audiences=audiences)


@contextmanager
def _alone(call: Call, identity: Identity) -> Iterator[None]:
    """Keep other writes away from the credentials of an identity, as the real service does.

    Errors:  ManagerRefusal for the one that comes second.
    """
    key = (identity.resource_id or "").lower()
    if not call.operations.begin(key):
        raise refusals.conflict(
            "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
            f"Another federated identity credential of the managed identity '{key}' is being written; write"
            " them one after the other.",
        )
    try:
        yield
    finally:
        call.operations.end(key)


def _check_name(name: str) -> None:
    """Refuse a name before the body is looked at, as the real service does."""
    probe = FederatedCredential(name=name, issuer="https://x", subject="x", audiences=("x",))
    for fault in rules.credential_faults(probe):
        raise _bad(f"The federated identity credential's name is invalid: {fault.message}.")


async def _parent(call: Call) -> Identity:
    found = await identities.find(call, call.params["identity"])
    if found is None:
        raise refusals.missing(
            "ParentResourceNotFound",
            f"There is no managed identity '{call.params['identity']}' in resource group '{call.group}' that "
            "could hold the federated identity credential.",
        )
    return found


def _existing(identity: Identity, name: str) -> FederatedCredential | None:
    fitting = (one for one in identity.credentials if one.name.lower() == name.lower())
    return next(fitting, None)


async def _put(call: Call) -> Answer:
    identity = await _parent(call)
    _check_name(call.name)
    if identity.location in locations.WITHOUT_FEDERATION:
        raise refusals.ManagerRefusal(
            405,
            "MethodNotAllowed",
            f"Managed identities in '{identity.location}' cannot hold federated identity credentials; take"
            " one in another region.",
        )
    old = _existing(identity, call.name)
    new = read(call, old.name if old else call.name)
    with _alone(call, identity):
        await asyncio.sleep(call.place.write_seconds)
        await _write(call, identity, new)
    return Answer(status=200 if old else 201, body=write(identity, new))


async def _write(call: Call, identity: Identity, new: FederatedCredential) -> None:
    try:
        await call.directory.identities.put_credential(identity.tenant_id, identity.client_id, new)
    except TrustNotUnique as exc:
        # Of the two that collide the first in the list may be the one that is written.
        [other] = {exc.facts["name"], exc.facts["other"]} - {new.name}
        raise _bad(
            "Another federated identity credential of this managed identity trusts this issuer and subject:"
            f" '{other}'."
        ) from exc
    except (InvalidCredential, TooManyCredentials) as exc:
        raise _bad(f"{exc.message[:1].upper()}{exc.message[1:]}.") from exc
    except NotFound as exc:
        raise refusals.missing(
            "ParentResourceNotFound", "The managed identity was deleted meanwhile."
        ) from exc


async def _get(call: Call) -> Answer:
    identity = await identities.found(call, call.params["identity"])
    credential = _existing(identity, call.name)
    if credential is None:
        raise refusals.missing(
            "NotFound",
            f"The managed identity '{identity.name}' has no federated identity credential '{call.name}'.",
        )
    return Answer(body=write(identity, credential))


async def _delete(call: Call) -> Answer:
    identity = await _parent(call)
    old = _existing(identity, call.name)
    if old is None:
        return Answer(status=204)
    with _alone(call, identity):
        await asyncio.sleep(call.place.write_seconds)
        await call.directory.identities.delete_credential(
            identity.tenant_id, identity.client_id, old.name
        )
    return Answer(status=200)


async def _list(call: Call) -> Answer:
    call.query.filter.known(frozenset())
    identity = await identities.found(call, call.params["identity"])
    held = sorted(identity.credentials, key=lambda one: one.name)

    async def fetch(after: str | None, limit: int) -> list[FederatedCredential]:
        return [one for one in held if after is None or one.name > after][:limit]

    found = await lists.gather(call, fetch, _name)
    return wire.page(call, found, lambda one: write(identity, one))


def _name(credential: FederatedCredential) -> str:
    return credential.name


def _bad(message: str) -> refusals.ManagerRefusal:
    return refusals.bad("BadRequest", message)


_ALL = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/"
    f"{identities.TYPE}/{{identity}}/federatedIdentityCredentials"
)
_ONE = f"{_ALL}/{{name}}"

ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        operation=Operation(title="list credentials", action=f"{TYPE}/read", run=_list),
    ),
    Route(
        method="GET",
        path=_ONE,
        operation=Operation(title="show credential", action=f"{TYPE}/read", run=_get),
    ),
    Route(
        method="PUT",
        path=_ONE,
        operation=Operation(
            title="write credential", action=f"{TYPE}/write", run=_put, reads_body=True
        ),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        operation=Operation(title="delete credential", action=f"{TYPE}/delete", run=_delete),
    ),
)
