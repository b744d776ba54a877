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
from podpass.directory.resource_manager import errors, identities, locations, paging, wire
from podpass.directory.resource_manager.model import (
    ManagerOperation,
    ManagerResponse,
    OperationContext,
    Route,
)

TYPE = f"{identities.TYPE}/federatedIdentityCredentials"


def to_json(identity: Identity, credential: FederatedCredential) -> dict[str, Any]:
    """Return a credential as a response body."""
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


def parse(context: OperationContext, name: str) -> FederatedCredential:
    """Parse a credential; issuer, subject and audience are stored unchanged, byte by byte.

    Raises ManagerError.
    """
    given = wire.object_member(context.body, "properties")
    if not given:
        raise _bad_request("A federated identity credential must have 'properties'.")
    if given.get("claimsMatchingExpression") is not None:
        raise _bad_request("podpass does not support claimsMatchingExpression; set 'subject'.")
    # The rules check the real maximum lengths; this limit only bounds the size of the input.
    issuer, subject = (wire.text(given, one, limit=4096) for one in ("issuer", "subject"))
    audiences = wire.text_list(given, "audiences")
    if issuer is None or subject is None or audiences is None:
        raise _bad_request(
            "A federated identity credential needs 'issuer', 'subject' and 'audiences'."
        )
    if len(audiences) != 1:
        raise _bad_request(
            "A federated identity credential must have exactly one audience, in most clouds"
            f" api://AzureADTokenExchange; the request has {len(audiences)}."
        )
    return FederatedCredential(name=name, issuer=issuer, subject=subject, audiences=audiences)


@contextmanager
def _exclusive(context: OperationContext, identity: Identity) -> Iterator[None]:
    """Lock the credentials of an identity against concurrent writes, as Azure does.

    Raises ManagerError for the second writer.
    """
    key = (identity.resource_id or "").lower()
    if not context.operations.try_lock(key):
        raise errors.conflict(
            "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
            f"Another federated identity credential of the managed identity '{key}' is being written. Write"
            " the credentials one after the other.",
        )
    try:
        yield
    finally:
        context.operations.unlock(key)


def _check_name(name: str) -> None:
    """Reject an invalid name before the body is parsed, as Azure does."""
    probe = FederatedCredential(name=name, issuer="https://x", subject="x", audiences=("x",))
    for fault in rules.credential_faults(probe):
        raise _bad_request(f"The federated identity credential's name is invalid: {fault.message}.")


async def _require_parent(context: OperationContext) -> Identity:
    found = await identities.find(context, context.params["identity"])
    if found is None:
        raise errors.not_found(
            "ParentResourceNotFound",
            f"There is no managed identity '{context.params['identity']}' in resource group '{context.group}'"
            " for the federated identity credential.",
        )
    return found


def _find_credential(identity: Identity, name: str) -> FederatedCredential | None:
    fitting = (one for one in identity.credentials if one.name.lower() == name.lower())
    return next(fitting, None)


async def _put(context: OperationContext) -> ManagerResponse:
    identity = await _require_parent(context)
    _check_name(context.name)
    require_region(identity)
    old = _find_credential(identity, context.name)
    new = parse(context, old.name if old else context.name)
    with _exclusive(context, identity):
        await asyncio.sleep(context.subscription.write_seconds)
        await _write(context, identity, new)
    return ManagerResponse(status=200 if old else 201, body=to_json(identity, new))


def require_region(identity: Identity) -> None:
    """Reject an identity of a region without federated credentials. Raises ManagerError, MethodNotAllowed."""
    if identity.location in locations.WITHOUT_FEDERATION:
        raise errors.ManagerError(
            405,
            "MethodNotAllowed",
            f"Managed identities in '{identity.location}' cannot have federated identity credentials. Use an"
            " identity in another region.",
        )


async def _write(context: OperationContext, identity: Identity, new: FederatedCredential) -> None:
    try:
        await context.directory.identities.put_credential(
            identity.tenant_id, identity.client_id, new
        )
    except TrustNotUnique as exc:
        # The error names both credentials with this trust; the other credential is the one that this request
        # does not write.
        [other] = {exc.facts["name"], exc.facts["other"]} - {new.name}
        raise _bad_request(
            "Another federated identity credential of this managed identity has this issuer and subject:"
            f" '{other}'."
        ) from exc
    except (InvalidCredential, TooManyCredentials) as exc:
        raise _bad_request(f"{exc.message[:1].upper()}{exc.message[1:]}.") from exc
    except NotFound as exc:
        raise errors.not_found(
            "ParentResourceNotFound", "The managed identity was deleted during the request."
        ) from exc


async def _get(context: OperationContext) -> ManagerResponse:
    identity = await identities.require(context, context.params["identity"])
    credential = _find_credential(identity, context.name)
    if credential is None:
        raise errors.not_found(
            "NotFound",
            f"The managed identity '{identity.name}' has no federated identity credential '{context.name}'.",
        )
    return ManagerResponse(body=to_json(identity, credential))


async def _delete(context: OperationContext) -> ManagerResponse:
    identity = await _require_parent(context)
    old = _find_credential(identity, context.name)
    if old is None:
        return ManagerResponse(status=204)
    with _exclusive(context, identity):
        await asyncio.sleep(context.subscription.write_seconds)
        await context.directory.identities.delete_credential(
            identity.tenant_id, identity.client_id, old.name
        )
    return ManagerResponse(status=200)


async def _list(context: OperationContext) -> ManagerResponse:
    context.query.filter.require_known(frozenset())
    identity = await identities.require(context, context.params["identity"])
    credentials = sorted(identity.credentials, key=lambda one: one.name)

    async def fetch(after: str | None, limit: int) -> list[FederatedCredential]:
        return [one for one in credentials if after is None or one.name > after][:limit]

    found = await paging.collect_page(context, fetch, _page_key)
    return wire.page_response(context, found, lambda one: to_json(identity, one))


def _page_key(credential: FederatedCredential) -> str:
    return credential.name


def _bad_request(message: str) -> errors.ManagerError:
    return errors.bad_request("BadRequest", message)


_ALL = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/"
    f"{identities.TYPE}/{{identity}}/federatedIdentityCredentials"
)
_ONE = f"{_ALL}/{{name}}"

ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        operation=ManagerOperation(title="list credentials", action=f"{TYPE}/read", run=_list),
    ),
    Route(
        method="GET",
        path=_ONE,
        operation=ManagerOperation(title="show credential", action=f"{TYPE}/read", run=_get),
    ),
    Route(
        method="PUT",
        path=_ONE,
        operation=ManagerOperation(
            title="write credential", action=f"{TYPE}/write", run=_put, reads_body=True
        ),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        operation=ManagerOperation(title="delete credential", action=f"{TYPE}/delete", run=_delete),
    ),
)
